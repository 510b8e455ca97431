"""All randomness of plans, orders, splits, bootstraps and views: a counter hash, not a generator.

A generator hands out numbers in sequence, so what an image gets depends on who asked before. A hash of
(purpose, seed, epoch, key, ...) depends on nothing else: the same on any number of ranks and threads, after any resume,
with any version of NumPy (whose streams are not promised to stay). It costs about 0.2 microseconds a draw, vectorised;
a drawn `default_rng([...])` a sample costs 25 to 80.

The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
OOPSLA 2014).
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

UInt64Array = npt.NDArray[np.uint64]
Part = int | str | npt.NDArray[np.unsignedinteger] | npt.NDArray[np.signedinteger]

_CHUNK = 1 << 14

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)


def hash_text(text: str) -> int:
    """Return 64 bits of BLAKE2b of the text's UTF-8 bytes, as an int in [0, 2**64)."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def hash_keys(keys: Iterable[str]) -> UInt64Array:
    """Return `hash_text` of each key: uint64 (n,)."""
    return np.fromiter((hash_text(key) for key in keys), dtype=np.uint64)


def counter_hash(*parts: Part, after: UInt64Array | None = None) -> UInt64Array:
    """Hash parts in their order into uniform 64-bit words.

    Parts are whole numbers, texts (a purpose, such as "order") or integer arrays; arrays broadcast against each other
    and the result has their common shape (0-d where no part is an array). Negative numbers count modulo 2**64.
    `after` is the hash of parts that come before these: counter_hash(a, b) is counter_hash(b, after=counter_hash(a)).
    """
    with np.errstate(over="ignore"):
        state = np.asarray(_GOLDEN) if after is None else after
        for part in parts:
            state = _mix(state ^ _mix(_words(part) + _GOLDEN))
    return np.asarray(state, dtype=np.uint64)


def hashes_of_range(start: int, stop: int, *parts: int | str) -> UInt64Array:
    """Return `counter_hash(*parts, i)` of each i from `start` to `stop`: uint64 (stop - start,).

    It is worked out a chunk at a time, so that millions take no memory but their own and stay in a CPU's cache.
    """
    words = np.arange(start, stop, dtype=np.uint64)
    for first in range(0, len(words), _CHUNK):
        chunk = words[first : first + _CHUNK]
        chunk[:] = counter_hash(*parts, chunk)
    return words


def uniform(
    *parts: Part, after: UInt64Array | None = None, low: float = 0.0, high: float = 1.0
) -> npt.NDArray[np.float64]:
    """Draw from U(low, high) with 53 random bits: float64 of the parts' common shape, in [low, high)."""
    unit = (counter_hash(*parts, after=after) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.asarray(low + (high - low) * unit, dtype=np.float64)


def integers(bound: int, *parts: Part) -> npt.NDArray[np.int64]:
    """Draw whole numbers from [0, bound), bound <= 2**32: int64 of the parts' common shape."""
    return np.asarray(np.floor(uniform(*parts) * bound), dtype=np.int64)


def permutation(size: int, *parts: int | str) -> npt.NDArray[np.int64]:
    """Return a permutation of range(size): int64 (size,).

    The index rides in the low bits of its hash, so that one sort of plain words gives the order, and equal hashes fall
    in a defined order on every machine.
    """
    low_bits = np.uint64((1 << max(size - 1, 0).bit_length()) - 1)
    words = hashes_of_range(0, size, *parts)
    words &= ~low_bits
    for start in range(0, size, _CHUNK):
        words[start : start + _CHUNK] |= np.arange(start, min(start + _CHUNK, size), dtype=np.uint64)
    words.sort()
    words &= low_bits
    return words.view(np.int64)


def _words(part: Part) -> UInt64Array:
    if isinstance(part, str):
        part = hash_text(part)
    if isinstance(part, int):
        return np.asarray(part % 2**64, dtype=np.uint64)
    return part.astype(np.uint64)


def _mix(words: UInt64Array) -> UInt64Array:
    words = (words ^ (words >> np.uint64(30))) * _MULTIPLY_1
    words = (words ^ (words >> np.uint64(27))) * _MULTIPLY_2
    return np.asarray(words ^ (words >> np.uint64(31)), dtype=np.uint64)
