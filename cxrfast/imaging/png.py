"""PNG: chunks and their checksums are checked up to the last, so a PNG is never read with a flipped bit."""

import struct
import zlib

from cxrfast.errors import ImageRejected
from cxrfast.imaging.gray import GrayImage, check_size, decode

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_png(data: bytes, max_pixels: int) -> GrayImage:
    """Check the chunks and their checksums up to IEND (PNG, third edition, clause 5), then decode."""
    at, kind, num_chunks = len(SIGNATURE), b"", 0
    while kind != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if num_chunks == 0:
            _check_header(data, max_pixels)
        if end > len(data):
            raise ImageRejected("truncated", f"the PNG stops after {len(data)} bytes without its last chunk")
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageRejected("truncated", f"the PNG's {kind!r} chunk at byte {at} does not match its checksum")
        at, num_chunks = end, num_chunks + 1
    return decode(data, "the PNG's chunks are whole but its pixels are not")


def _check_header(data: bytes, max_pixels: int) -> None:
    header = data[len(SIGNATURE) :]
    if len(header) < 25:
        raise ImageRejected("truncated", f"the PNG stops after {len(data)} bytes, inside its header")
    if header[:8] != b"\0\0\0\rIHDR":
        raise ImageRejected("not-an-image", "a PNG signature without a header")
    width, height = struct.unpack(">II", header[8:16])
    check_size(width, height, max_pixels)
