"""Memory that payloads are read into, used again.

Blocks of many megabytes would be mapped and unmapped for each, at a page fault for every 4 KB, which costs more than
the reading. Blocks in use differ in size, since lanes begin with shorter ones, so a request takes the smallest free
buffer that is large enough, however much larger: else each epoch would push out the last one's.
"""

from bisect import bisect_left
from threading import Lock

import numpy as np

_KEPT = 512_000_000
_STEP = 64 * 1024


class Buffers:
    """Gives buffers of at least so many bytes, and takes them back; keeps up to `kept` bytes that nobody uses."""

    def __init__(self, *, kept: int = _KEPT) -> None:
        self._lock = Lock()
        self._left = kept
        self._sizes: list[int] = []  # ascending, as the free buffers are
        self._free: list[memoryview] = []

    def take(self, nbytes: int) -> memoryview:
        """Return a buffer of at least so many bytes, contents undefined."""
        with self._lock:
            place = bisect_left(self._sizes, nbytes)
            if place < len(self._sizes):
                return self._out(place)
        # A little more than asked for, since the next one may be a little longer.
        memory: memoryview = np.empty(-(-(nbytes + nbytes // 16) // _STEP) * _STEP, dtype=np.uint8).data
        return memory

    def give(self, buffer: memoryview) -> None:
        """Take back a buffer; nobody may look at it any more."""
        with self._lock:
            place = bisect_left(self._sizes, len(buffer))
            self._sizes.insert(place, len(buffer))
            self._free.insert(place, buffer)
            self._left -= len(buffer)
            while self._left < 0:
                self._out(0)

    def clear(self) -> None:
        """Let go of all memory that nobody uses."""
        with self._lock:
            while self._free:
                self._out(0)

    def _out(self, place: int) -> memoryview:
        self._left += self._sizes.pop(place)
        return self._free.pop(place)
