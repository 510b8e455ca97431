"""Any chest X-ray file to 8-bit gray, read rightly or rejected by name.

Decoders are lenient: they fill what is missing with gray, clip 16 bits, forget the rotation, and believe a header that
claims a million megapixels. So a file's structure is read here first, in microseconds and without pixels: what it is
by its first bytes (never its extension), how large it says it is, and whether it reaches its own end. Only then OpenCV
or pydicom decode it.

The gray of a colour image is its luma; transparency is ignored. DICOM takes the modality LUT, then the VOI LUT or the
first window (PS3.3 C.11.1, C.11.2), then polarity; without LUT and window the image's own range becomes 0 to 255.
"""

from cxrfast.imaging.gray import MAX_PIXELS, GrayImage, shrink
from cxrfast.imaging.read import plain_gray_codec, read_gray, read_resized

__all__ = ["MAX_PIXELS", "GrayImage", "plain_gray_codec", "read_gray", "read_resized", "shrink"]
