"""The rotation that a camera or scanner noted: tag 0x0112 of a TIFF block, as JPEG and PNG carry it.

Twenty lines of our own instead of the decoder's, because the whole image's sides must be known where only a reduced
one is decoded, and because bytes that need turning must not be copied into a shard.
"""

import struct

import numpy as np

from cxrfast.imaging.gray import GrayImage

_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4


def orientation(tiff: bytes) -> int:
    """Return the orientation, 1 to 8, of a TIFF block's first directory; 1 where there is none or it is damaged."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (num_entries,) = struct.unpack_from(f"{order}H", tiff, start)
    for at in range(start + 2, min(start + 2 + 12 * num_entries, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
        if tag == _ORIENTATION and kind in (_SHORT, _LONG):
            (value,) = struct.unpack_from(f"{order}{'H' if kind == _SHORT else 'I'}", tiff, at + 8)
            return int(value) if 1 <= value <= 8 else 1
    return 1


def upright(gray: GrayImage, orientation: int) -> GrayImage:
    """Return uint8 (h, w) turned and mirrored as the orientation asks; 5 to 8 swap the sides."""
    if orientation == 1:
        return gray
    if orientation >= 5:
        gray = gray.T
    if orientation in (2, 3, 6, 7):
        gray = gray[:, ::-1]
    if orientation in (3, 4, 7, 8):
        gray = gray[::-1]
    return np.ascontiguousarray(gray)
