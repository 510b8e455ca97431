"""The door: what a file is by its first bytes, and who reads it."""

from cxrfast.errors import ImageRejected
from cxrfast.imaging import jpeg, png
from cxrfast.imaging.dicom import looks_like_dicom, read_dicom
from cxrfast.imaging.gray import MAX_PIXELS, GrayImage, shrink, stretched

_KNOWN_OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"RIFF": "a WebP or another RIFF file",
    b"\0\0\0\x0cjP  ": "a bare JPEG 2000",
    b"\xff\x4f\xff\x51": "a bare JPEG 2000",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
}


def read_gray(data: bytes, *, max_pixels: int = MAX_PIXELS) -> GrayImage:
    """Decode the bytes of one JPEG, PNG or DICOM file: uint8 (height, width), low values black.

    EXIF orientation is applied. Raises ImageRejected with code `empty`, `truncated`, `not-an-image`, `unsupported` or
    `too-large`; the size is judged from the header, before a pixel is decoded.
    """
    if not data:
        raise ImageRejected("empty", "the file holds 0 bytes")
    if data.startswith(jpeg.SIGNATURE):
        return jpeg.read_jpeg(data, max_pixels)
    if data.startswith(png.SIGNATURE):
        return png.read_png(data, max_pixels)
    if looks_like_dicom(data):
        return read_dicom(data, max_pixels)
    if jpeg.SIGNATURE.startswith(data[:3]) or png.SIGNATURE.startswith(data[:8]):
        raise ImageRejected("truncated", f"only {len(data)} bytes of an image's signature are there")
    for magic, name in _KNOWN_OTHERS.items():
        if data.startswith(magic):
            raise ImageRejected("unsupported", f"it is {name}; convert it to PNG without loss")
    raise ImageRejected("not-an-image", f"it begins with {data[:8]!r}, which is no JPEG, PNG or DICOM")


def read_resized(
    data: bytes, *, long_side: int, stretch: bool = False, max_pixels: int = MAX_PIXELS
) -> tuple[GrayImage, tuple[int, int]]:
    """Decode and shrink to `long_side` pixels (0: full size): uint8 (h, w), and its full (height, width).

    A JPEG is decoded no larger than it needs to be, unless `stretch` asks for the darkest and the brightest pixel of
    the whole image to become 0 and 255 first. Raises ImageRejected as `read_gray` does.
    """
    if data.startswith(jpeg.SIGNATURE) and not stretch:
        return jpeg.read_jpeg_resized(data, long_side, max_pixels)
    gray = read_gray(data, max_pixels=max_pixels)
    height, width = gray.shape
    return shrink(stretched(gray) if stretch else gray, long_side), (height, width)


def plain_gray_codec(data: bytes, *, max_pixels: int = MAX_PIXELS) -> str | None:
    """Return "jpeg" or "png" where the bytes are 8-bit gray already, upright and in that form; else None."""
    for codec, module in (("jpeg", jpeg), ("png", png)):
        if data.startswith(module.SIGNATURE):
            return codec if module.is_plain_gray(data, max_pixels) else None
    return None
