"""Decoded pixels kept in host memory, so that later epochs neither read nor decode them.

Nothing is ever put out to make room: an epoch visits every image once, in another order each time, so what would be
put out is as likely to be wanted next as what would come in. What does not fit is read and decoded again.
"""

from threading import Lock

import numpy as np
import numpy.typing as npt

from cxrfast.loading.decode import Gray

_OVERHEAD = 200  # an array object and its entry


class PixelCache:
    """Pixels by row, up to a number of bytes; a row that is in stays in."""

    def __init__(self, rows: int, *, limit: int) -> None:
        self._lock = Lock()
        self._left = limit
        self._pixels: list[Gray | None] = [None] * rows
        self._has = np.zeros(rows, dtype=np.bool_)

    def __len__(self) -> int:
        return int(self._has.sum())

    def has(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which rows (n,) are in: bool (n,)."""
        return self._has[rows]

    def get(self, row: int) -> Gray:
        """Return the pixels of a row that is in: uint8 (h, w), read-only."""
        pixels = self._pixels[row]
        if pixels is None:
            raise KeyError(row)
        return pixels

    def offer(self, row: int, pixels: Gray) -> None:
        """Keep a row's pixels if there is room; pixels in borrowed memory are copied."""
        if self._has[row] or pixels.nbytes + _OVERHEAD > self._left:
            return
        kept = pixels if pixels.flags.owndata else pixels.copy()
        kept.flags.writeable = False
        with self._lock:
            if self._has[row] or kept.nbytes + _OVERHEAD > self._left:
                return
            self._left -= kept.nbytes + _OVERHEAD
            self._pixels[row] = kept
            self._has[row] = True
