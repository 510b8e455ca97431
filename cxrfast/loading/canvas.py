"""Memory for batches, used again once nobody holds it.

A batch's tensors belong to whoever receives them, so each needs memory of its own. Fresh memory costs a page fault for
every 4 KB, about a tenth of the time to decode and warp what goes there. So memory comes back here when the last tensor
over it is gone, and never earlier: Python's own reference counts say when.
"""

import weakref
from collections import deque
from math import prod

import numpy as np
import numpy.typing as npt
import torch

_KEPT = 4


class Canvases:
    """Gives tensors of one shape per image; at most a few that nobody uses are kept, and none beyond its own life."""

    def __init__(self, shape: tuple[int, ...], *, pinned: bool, kept: int = _KEPT) -> None:
        """Keep up to `kept` tensors for images of a shape; pinned memory is used again by torch itself."""
        self._shape = shape
        self._pinned = pinned
        self._free: deque[npt.NDArray[np.uint8]] = deque(maxlen=kept)

    def take(self, count: int) -> torch.Tensor:
        """Return a tensor for `count` images, uint8 (count, *shape), contents undefined."""
        if self._pinned or not count:
            return torch.empty((count, *self._shape), dtype=torch.uint8, pin_memory=self._pinned)
        nbytes = count * prod(self._shape)
        memory = self._reuse(nbytes)
        # The tensor, its slices and their arrays all hold `lent`, and nothing else does.
        lent = memory[:nbytes]
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return torch.from_numpy(lent).view(count, *self._shape)

    def clear(self) -> None:
        """Let go of all memory that nobody uses."""
        self._free.clear()

    def _reuse(self, nbytes: int) -> npt.NDArray[np.uint8]:
        try:
            memory = self._free.pop()
        except IndexError:
            return np.empty(nbytes, dtype=np.uint8)
        return memory if len(memory) >= nbytes else np.empty(nbytes, dtype=np.uint8)
