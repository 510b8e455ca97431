"""JPEG: the segments are walked to the end-of-image marker, and what OpenCV would guess at is refused by name.

The walk costs 2 % of the decode. Without it a cut file is a picture whose lower half is gray. Large images are decoded
at a half, a quarter or an eighth, where that leaves enough pixels for area means to hide it.
"""

import re
import struct
from typing import NamedTuple

from cxrfast.errors import ImageRejected
from cxrfast.imaging.exif import orientation, upright
from cxrfast.imaging.gray import REDUCTIONS, GrayImage, check_size, decode, shrink_reduced

SIGNATURE = b"\xff\xd8\xff"

# A reduced image's longer side is at least this many times the wanted one. Area means of whole pixels cut through the
# reduced ones: at 1.25, one of 235 real originals differs from a full decode by 35.6 dB; at 1.3, none by under 40.
_MARGIN = 1.3

_END = b"\xff\xd9"
# What ends a scan: no stuffed zeros, fill bytes and restarts. JPEG-LS stuffs a bit, so less than 0x80 is data as well.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_END_OF_LS_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]", re.DOTALL)
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_JPEG_LS = 0xF7
_DECODABLE_FRAMES = {0xC0, 0xC1, 0xC2}


class Header(NamedTuple):
    """What a JPEG says of itself: frame marker, bits a sample, sides as stored, and what changes its meaning."""

    frame: int
    bits: int
    height: int
    width: int
    num_components: int
    adobe: bool = False
    orientation: int = 1


def read_jpeg(data: bytes, max_pixels: int) -> GrayImage:
    """Decode a JPEG at full size: uint8 (h, w), upright. Raises ImageRejected."""
    header = _decodable(data, max_pixels)
    return upright(decode(data, _complaint(header)), header.orientation)


def read_jpeg_resized(data: bytes, long_side: int, max_pixels: int) -> tuple[GrayImage, tuple[int, int]]:
    """Decode a JPEG and shrink it: uint8 (h, w), upright, and the (height, width) that it has at full size."""
    header = _decodable(data, max_pixels)
    reduction = _reduction(max(header.height, header.width), long_side)
    reduced = decode(data, _complaint(header), reduction=reduction)
    small = shrink_reduced(reduced, header.height, header.width, reduction, long_side)
    sides = (header.width, header.height) if header.orientation >= 5 else (header.height, header.width)
    return upright(small, header.orientation), sides


def is_plain_gray(data: bytes, max_pixels: int) -> bool:
    """Tell whether any reader sees the same upright 8-bit gray in these bytes. Raises ImageRejected."""
    header = walk_jpeg(data, max_pixels)
    return header.num_components == 1 and header.bits == 8 and header.orientation == 1


def walk_jpeg(data: bytes, max_pixels: int) -> Header:
    """Walk the segments to the end-of-image marker (ITU-T T.81 annex B), judging the size as soon as it is known."""
    at, adobe, turned = 2, False, 0
    frame: Header | None = None
    while True:
        marker, at = _next_marker(data, at)
        if marker == 0xD9:
            break
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:
            continue
        segment = _segment(data, at)
        if marker in _START_OF_FRAME and frame is None and len(segment) >= 6:
            frame = Header(marker, *struct.unpack(">BHHB", segment[:6]))
            check_size(frame.width, frame.height, max_pixels)
        elif marker == 0xEE:
            adobe |= segment.startswith(b"Adobe")
        elif marker == 0xE1 and not turned and segment.startswith(b"Exif\0"):
            turned = orientation(segment[6:])
        at += len(segment) + 2
        if marker == 0xDA:
            at = _end_of_scan(data, at, frame, segment)
    if frame is None:
        raise ImageRejected("truncated", "the JPEG ends before its frame")
    return frame._replace(adobe=adobe, orientation=turned or 1)


def _decodable(data: bytes, max_pixels: int) -> Header:
    header = walk_jpeg(data, max_pixels)
    if header.frame not in _DECODABLE_FRAMES or header.bits != 8:
        kind = f"marker {header.frame:02X}, {header.bits} bits"
        raise ImageRejected("unsupported", f"a JPEG of a rare kind ({kind}); convert it to PNG without loss")
    if header.num_components == 4 and not header.adobe:
        raise ImageRejected("unsupported", "a four-colour JPEG that does not say whether its inks are inverted")
    return header


def _reduction(longer: int, long_side: int) -> int:
    """Return by how much to reduce while decoding, so that enough pixels are left; 1 where the whole is wanted."""
    if long_side <= 0:
        return 1
    return max(number for number in REDUCTIONS if number == 1 or longer >= _MARGIN * long_side * number)


def _complaint(header: Header) -> str:
    return f"the JPEG of {header.width} x {header.height} pixels is damaged"


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the marker at or after `at` and where its segment begins; bytes before it are skipped, as by libjpeg."""
    start = data.find(b"\xff", at)
    while start >= 0 and start + 1 < len(data):
        code = data[start + 1]
        if code not in (0x00, 0xFF):
            return code, start + 2
        start = data.find(b"\xff", start + 1)
    raise _cut(len(data))


def _segment(data: bytes, at: int) -> bytes:
    """Return a segment's content, without the two bytes of its length."""
    length = int.from_bytes(data[at : at + 2], "big")
    segment = data[at + 2 : at + length]
    if at + 2 > len(data) or length < 2 or len(segment) < length - 2:
        raise _cut(len(data))
    return segment


def _end_of_scan(data: bytes, at: int, frame: Header | None, scan: bytes) -> int:
    """Return where the marker after a scan stands.

    A sequential scan of all components is the only one, and entropy-coded bytes cannot hold the end-of-image marker:
    so it is looked for where it nearly always is, at the file's end, and then by a plain search.
    """
    if frame is not None and frame.frame in (0xC0, 0xC1) and scan[:1] == bytes([frame.num_components]):
        end = len(data) - 2 if data.endswith(_END) and len(data) - 2 >= at else data.find(_END, at)
        if end < 0:
            raise _cut(len(data))
        return end
    pattern = _END_OF_LS_SCAN if frame is not None and frame.frame == _JPEG_LS else _END_OF_SCAN
    found = pattern.search(data, at)
    if found is None:
        raise _cut(len(data))
    return found.end() - 2


def _cut(num_bytes: int) -> ImageRejected:
    return ImageRejected("truncated", f"the JPEG stops after {num_bytes} bytes without an end-of-image marker")
