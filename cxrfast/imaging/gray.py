"""What every format shares: the size limit, OpenCV's decoder, stretching, and shrinking by area means.

Area means cost several times a bilinear resize, and are the one filter that neither aliases fine ribs nor rings at the
edge of a clip.
"""

import cv2
import numpy as np
import numpy.typing as npt

from cxrfast.errors import ImageRejected

GrayImage = npt.NDArray[np.uint8]

MAX_PIXELS = 40_000_000

# OpenCV's name of each DCT scale that it offers (libjpeg's own has all eighths).
_REDUCED = {
    1: cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
REDUCTIONS = tuple(_REDUCED)

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # a broken file is told of by ImageRejected alone


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise ImageRejected where a header claims no pixels, or more than the limit."""
    if width < 1 or height < 1:
        raise ImageRejected("not-an-image", f"its header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageRejected(
            "too-large",
            f"its header says {width} x {height} pixels, over the limit of {max_pixels}: raise --max-pixels",
        )


def decode(data: bytes, complaint: str, *, reduction: int = 1) -> GrayImage:
    """Decode JPEG or PNG with OpenCV: luma of colours, all 16 bits, as stored and not turned: uint8 (h, w).

    `reduction`: of a JPEG, one of REDUCTIONS; the sides are divided by it and rounded up. `complaint` is what
    ImageRejected says where OpenCV gives up.
    """
    flags = _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise ImageRejected("unsupported", f"OpenCV refuses it: {str(error).strip()}") from error
    if image is None:
        raise ImageRejected("truncated", complaint)
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)  # rounds, and 257 is odd, so there are no ties
    return np.asarray(image, dtype=np.uint8)


def stretched(gray: GrayImage) -> GrayImage:
    """Map the image's own minimum to 0 and its maximum to 255, rounded; a flat image stays as it is."""
    low, high = int(gray.min()), int(gray.max())
    if low == high:
        return gray
    levels = (np.arange(256) - low) * (255 / (high - low))
    return np.asarray(cv2.LUT(gray, np.rint(np.clip(levels, 0, 255)).astype(np.uint8)), dtype=np.uint8)


def shrink(gray: GrayImage, long_side: int) -> GrayImage:
    """Resize uint8 (h, w) so that its longer side is `long_side`, by area means; never enlarge; 0 leaves it as it is.

    The other side is rounded to the nearest pixel (halves up), at least 1.
    """
    height, width = gray.shape
    new_height, new_width = shrunk(height, width, long_side)
    if (new_height, new_width) == (height, width):
        return gray
    return np.asarray(cv2.resize(gray, (new_width, new_height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def shrink_reduced(reduced: GrayImage, height: int, width: int, reduction: int, long_side: int) -> GrayImage:
    """Shrink what a reduced decode gave of (height, width) pixels to what `shrink` would make of the whole."""
    if reduction == 1:
        return shrink(reduced, long_side)
    new_height, new_width = shrunk(height, width, long_side)
    # The last reduced row and column may lie half outside the image, so the scales are those of its true sides.
    across, down = new_width * reduction / width, new_height * reduction / height
    image = cv2.resize(reduced, None, fx=across, fy=down, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[:new_height, :new_width], dtype=np.uint8)


def shrunk(height: int, width: int, long_side: int) -> tuple[int, int]:
    """Return the (height, width) that `shrink` gives an image."""
    longer = max(height, width)
    if long_side <= 0 or longer <= long_side:
        return height, width
    new_height, new_width = (max(1, (2 * side * long_side + longer) // (2 * longer)) for side in (height, width))
    return new_height, new_width
