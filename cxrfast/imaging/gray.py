"""What every format shares: the size limit, OpenCV's decoder, and shrinking by area means.

Area means cost twice a bilinear resize of the same image, and are the one filter that neither aliases fine ribs nor
rings at a clip's edge.
"""

import cv2
import numpy as np
import numpy.typing as npt

from cxrfast.errors import ImageRejected

GrayImage = npt.NDArray[np.uint8]

MAX_PIXELS = 40_000_000

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # a broken file is told of by ImageRejected alone


def shrink(gray: GrayImage, long_side: int) -> GrayImage:
    """Resize uint8 (h, w) so that its longer side is `long_side`, by area means; never enlarge; 0 leaves it as it is.

    The other side is rounded to the nearest pixel (halves up), at least 1.
    """
    height, width = gray.shape
    longer = max(height, width)
    if long_side <= 0 or longer <= long_side:
        return gray
    new_height, new_width = (max(1, (2 * side * long_side + longer) // (2 * longer)) for side in (height, width))
    return np.asarray(cv2.resize(gray, (new_width, new_height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageRejected where a header claims no pixels, or more than the limit."""
    if width < 1 or height < 1:
        raise ImageRejected("not-an-image", f"its header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageRejected(
            "too-large",
            f"its header says {width} x {height} pixels, over the limit of {max_pixels}: raise --max-pixels",
        )


def decode(data: bytes, complaint: str) -> GrayImage:
    """Decode JPEG or PNG with OpenCV: luma of colours, EXIF orientation, all 16 bits.

    `complaint` is what ImageRejected says where OpenCV gives up.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ImageRejected("unsupported", f"OpenCV refuses it: {str(error).strip()}") from error
    if image is None:
        raise ImageRejected("truncated", complaint)
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return np.asarray(image, dtype=np.uint8)
