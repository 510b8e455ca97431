"""Memory that payloads are read into, used again.

Blocks of a few megabytes would be mapped and unmapped for each, at a page fault for every 4 KB. All blocks of an epoch
are of about one size, so a few kept ones serve it whole.
"""

from collections import deque
from threading import Lock

import numpy as np

_KEPT = 8
_STEP = 64 * 1024


class Buffers:
    """Gives buffers of at least so many bytes, and takes them back; keeps a few that nobody uses."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._free: deque[memoryview] = deque(maxlen=_KEPT)

    def take(self, nbytes: int) -> memoryview:
        """Return a buffer of at least so many bytes, contents undefined."""
        with self._lock:
            for buffer in self._free:
                if nbytes <= len(buffer) <= 2 * nbytes + _STEP:
                    self._free = deque((other for other in self._free if other is not buffer), maxlen=_KEPT)
                    return buffer
        # A little more than asked for, since the next one may be a little longer.
        memory: memoryview = np.empty(-(-(nbytes + nbytes // 16) // _STEP) * _STEP, dtype=np.uint8).data
        return memory

    def give(self, buffer: memoryview) -> None:
        """Take back a buffer; nobody may look at it any more."""
        with self._lock:
            self._free.append(buffer)
