"""Arithmetic on CRC-32 values: checksums of joined bytes without reading them again, and the place of one flipped bit.

A CRC is a remainder of polynomials over GF(2), so both are multiplications by a power of x, which cost microseconds
where another pass over the bytes would cost a second a gigabyte or four. Vectorised, since they are wanted for a
thousand samples at a time.

The polynomial is IEEE 802.3's, as in `zlib.crc32`; values are reflected, so x**0 is the highest bit.
"""

from functools import lru_cache
from zlib import crc32

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Integers = npt.NDArray[np.int64]

LONGEST_SEARCH = 16 * 1024**2
"""In more bytes than these a flipped bit is not looked for: it would take longer than ten seconds."""

_POLYNOMIAL = np.uint32(0xEDB88320)
_ONE = np.uint32(0x80000000)
_X_8 = np.uint32(0x00800000)
_ORDER = 2**32 - 1  # x to this power is 1, since the polynomial is primitive
_STRETCH = 1 << 16


def joined(first: Words, second: Words, second_nbytes: Integers) -> Words:
    """Return the CRCs of n texts of two parts each, from their parts' CRCs and the second parts' lengths: (n,)."""
    return _shifted(first, second_nbytes) ^ second


def flipped_bit(expected: int, found: int, nbytes: int) -> int | None:
    """Return in which of `nbytes` bytes a single flipped bit explains the CRC that was found; None where none does."""
    if nbytes > LONGEST_SEARCH:
        return None
    # A bit flipped k bytes before the end adds its own remainder times x**(8 k), which is undone for every k.
    of_bits = np.array([crc32(bytes([1 << bit])) ^ crc32(b"\0") for bit in range(8)], dtype=np.uint32)
    for start in range(0, nbytes, _STRETCH):
        places = np.arange(start, min(start + _STRETCH, nbytes), dtype=np.int64)
        there = _shifted(np.full(len(places), expected ^ found, dtype=np.uint32), _ORDER - (nbytes - 1 - places))
        hits = np.flatnonzero(np.isin(there, of_bits))
        if len(hits):
            return int(places[hits[0]])
    return None


def _shifted(values: Words, nbytes: Integers) -> Words:
    """Return what n CRCs become when so many zero bytes follow, less the start value's share: (n,)."""
    result = values
    for level, powers in enumerate(_powers()):
        digits = (nbytes >> (8 * level)) & 0xFF
        if digits.any():
            result = _times(result, powers[digits])
    return result


@lru_cache(maxsize=1)
def _powers() -> tuple[Words, ...]:
    """Return x**(8 * 256**level * digit) for four levels and each digit, (256,) a level."""
    base, levels = np.array([_X_8]), []
    for _ in range(4):
        powers = np.full(256, _ONE, dtype=np.uint32)
        for bit in range(8):
            has = (np.arange(256) >> bit) & 1 == 1
            powers[has] = _times(powers[has], np.broadcast_to(base, int(has.sum())))
            base = _times(base, base)
        levels.append(powers)
    return tuple(levels)


def _times(a: Words, b: Words) -> Words:
    """Multiply polynomials modulo the polynomial of the CRC, pair by pair."""
    product = np.zeros(len(a), dtype=np.uint32)
    for bit in range(31, -1, -1):
        product ^= b * ((a >> np.uint32(bit)) & np.uint32(1))
        b = (b >> np.uint32(1)) ^ (_POLYNOMIAL * (b & np.uint32(1)))
    return product
