"""JPEG: the segments are walked to the end-of-image marker, and what OpenCV would guess at is refused by name.

The walk takes 2 % of the decode's time. Without it a cut file is a picture whose lower half is gray.
"""

import re
import struct

from cxrfast.errors import ImageRejected
from cxrfast.imaging.gray import GrayImage, check_size, decode

SIGNATURE = b"\xff\xd8\xff"

# Markers that may stand between a scan's bytes: stuffed zeros, fill bytes and restarts.
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_DECODABLE_FRAMES = {0xC0, 0xC1, 0xC2}


def read_jpeg(data: bytes, max_pixels: int) -> GrayImage:
    """Decode a JPEG: uint8 (h, w), upright. Raises ImageRejected."""
    frame, precision, height, width, num_components, adobe = walk_jpeg(data, max_pixels)
    if frame not in _DECODABLE_FRAMES or precision != 8:
        kind = f"marker {frame:02X}, {precision} bits"
        raise ImageRejected("unsupported", f"a JPEG of a rare kind ({kind}); convert it to PNG without loss")
    if num_components == 4 and not adobe:
        raise ImageRejected("unsupported", "a four-colour JPEG that does not say whether its inks are inverted")
    return decode(data, f"the JPEG of {width} x {height} pixels is damaged")


def walk_jpeg(data: bytes, max_pixels: int) -> tuple[int, int, int, int, int, bool]:
    """Walk the segments to the end-of-image marker (ITU-T T.81 annex B).

    Returns frame marker, bits, height, width, components, and whether an Adobe segment is there.
    """
    at, frame, adobe = 2, None, False
    while True:
        marker, at = _next_marker(data, at)
        if marker == 0xD9:
            break
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:
            continue
        if at + 2 > len(data):
            raise _cut_jpeg(len(data))
        length = int.from_bytes(data[at : at + 2], "big")
        segment = data[at + 2 : at + length]
        if len(segment) < length - 2 or length < 2:
            raise _cut_jpeg(len(data))
        if marker in _START_OF_FRAME and frame is None and len(segment) >= 6:
            frame = (marker, *struct.unpack(">BHHB", segment[:6]))
            check_size(frame[3], frame[2], max_pixels)
        adobe |= marker == 0xEE and segment.startswith(b"Adobe")
        at += length
        if marker == 0xDA:
            at = _end_of_scan(data, at, is_only=_is_whole(frame, segment))
    if frame is None:
        raise ImageRejected("truncated", "the JPEG ends before its frame")
    return (*frame, adobe)


def _is_whole(frame: tuple[int, int, int, int, int] | None, scan: bytes) -> bool:
    """Tell whether a scan holds all components of a sequential frame."""
    return frame is not None and frame[0] in (0xC0, 0xC1) and scan[:1] == bytes([frame[4]])


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the marker at or after `at` and where its segment begins; bytes before it are skipped, as by libjpeg."""
    start = data.find(b"\xff", at)
    while start >= 0 and start + 1 < len(data):
        code = data[start + 1]
        if code not in (0x00, 0xFF):
            return code, start + 2
        start = data.find(b"\xff", start + 1)
    raise _cut_jpeg(len(data))


def _end_of_scan(data: bytes, at: int, *, is_only: bool) -> int:
    """Return where the marker after a scan stands.

    A sequential scan of all components is the only one, so a plain search for the end-of-image marker serves, 15 times
    as fast: entropy-coded bytes cannot hold it.
    """
    if is_only:
        end = data.find(b"\xff\xd9", at)
        if end < 0:
            raise _cut_jpeg(len(data))
        return end
    found = _END_OF_SCAN.search(data, at)
    if found is None:
        raise _cut_jpeg(len(data))
    return found.end() - 2


def _cut_jpeg(num_bytes: int) -> ImageRejected:
    return ImageRejected("truncated", f"the JPEG stops after {num_bytes} bytes without an end-of-image marker")
