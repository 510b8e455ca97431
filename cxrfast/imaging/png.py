"""PNG: chunks and their checksums are checked up to the last, so a PNG is never read with a flipped bit."""

import struct
import zlib
from typing import NamedTuple

from cxrfast.errors import ImageRejected
from cxrfast.imaging.exif import orientation, upright
from cxrfast.imaging.gray import GrayImage, check_size, decode

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_GRAY = 0  # the colour type of gray without transparency


class Header(NamedTuple):
    """What a PNG says of itself: bits a sample, colour type, orientation."""

    bits: int
    colour_type: int
    orientation: int


def read_png(data: bytes, max_pixels: int) -> GrayImage:
    """Decode a PNG: uint8 (h, w), upright. Raises ImageRejected."""
    header = _walk(data, max_pixels)
    return upright(decode(data, "the PNG's chunks are whole but its pixels are not"), header.orientation)


def is_plain_gray(data: bytes, max_pixels: int) -> bool:
    """Tell whether any reader sees the same upright 8-bit gray in these bytes. Raises ImageRejected."""
    return _walk(data, max_pixels) == (8, _GRAY, 1)


def _walk(data: bytes, max_pixels: int) -> Header:
    """Check the chunks and their checksums up to IEND (PNG, third edition, clause 5)."""
    bits, colour_type = _read_header(data, max_pixels)
    at, kind, turned = len(SIGNATURE), b"", 1
    while kind != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            raise ImageRejected("truncated", f"the PNG stops after {len(data)} bytes without its last chunk")
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageRejected("truncated", f"the PNG's {kind!r} chunk at byte {at} does not match its checksum")
        if kind == b"acTL":
            raise ImageRejected("unsupported", "an animated PNG; save the one image that is wanted")
        if kind == b"eXIf":  # some writers put JPEG's prefix before the TIFF block, and readers forgive it
            turned = orientation(data[at + 8 : end - 4].removeprefix(b"Exif\0\0"))
        at = end
    return Header(bits, colour_type, turned)


def _read_header(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Return bits a sample and colour type; the size is judged."""
    header = data[len(SIGNATURE) : len(SIGNATURE) + 25]
    if len(header) < 25:
        raise ImageRejected("truncated", f"the PNG stops after {len(data)} bytes, inside its header")
    if header[:8] != b"\0\0\0\rIHDR":
        raise ImageRejected("not-an-image", "a PNG signature without a header")
    width, height, bits, colour_type = struct.unpack(">IIBB", header[8:18])
    check_size(width, height, max_pixels)
    return bits, colour_type
