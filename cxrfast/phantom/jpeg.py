"""A radiograph as a JPEG of each kind that releases hold: gray or colour, progressive, Adobe's, turned by EXIF.

OpenCV writes the picture; the two segments that it cannot write are put in behind the first marker, where cameras and
Photoshop put them.
"""

import struct

import cv2

from cxrfast.phantom.radiograph import GrayImage

QUALITY = 92
TURNED = 6  # EXIF: turn a quarter clockwise to see it upright


def encode(
    gray: GrayImage, *, colour: bool = False, progressive: bool = False, adobe: bool = False, turned: bool = False
) -> bytes:
    """Encode uint8 (h, w).

    `colour`: as three equal channels. `adobe`: with an Adobe segment, as Photoshop leaves it. `turned`: stored lying
    on its side, with an EXIF orientation that sets it upright.
    """
    stored = cv2.rotate(gray, cv2.ROTATE_90_COUNTERCLOCKWISE) if turned else gray
    stored = cv2.cvtColor(stored, cv2.COLOR_GRAY2BGR) if colour else stored
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)]
    data = cv2.imencode(".jpg", stored, options)[1].tobytes()
    segments = (_exif(TURNED) if turned else b"") + (_adobe(colour=colour) if adobe else b"")
    return data[:2] + segments + data[2:]


def _exif(orientation: int) -> bytes:
    """Return an APP1 segment with one tag: big-endian TIFF, IFD of one entry (0x0112, SHORT, 1, value)."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    return _segment(0xE1, b"Exif\0\0" + tiff)


def _adobe(*, colour: bool) -> bytes:
    """Return an APP14 segment: version 100, no flags, transform 1 (YCbCr) for colour and 0 for gray."""
    return _segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, int(colour)))


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content
