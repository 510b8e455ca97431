"""What a loader did and where its time went, summed over threads.

Each stage times its own work and adds once for a dozen images, so that measuring costs nothing that one could measure.
Seconds of several threads add up: two threads that decode for a second each are two seconds of decoding. What DALI
does in one graph, decoding and warping, counts as rendering.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

_COUNTS = ("batches", "images", "skipped", "bytes_read", "reads")
_SECONDS = (
    "seconds_reading",
    "seconds_decoding",
    "seconds_warping",
    "seconds_rendering",
    "seconds_copying",
    "seconds_waiting",
)


class Counters:
    """Named sums that many threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[str, float] = dict.fromkeys(_COUNTS, 0) | dict.fromkeys(_SECONDS, 0.0)

    def add(self, **amounts: float) -> None:
        """Add to several sums at once."""
        with self._lock:
            for name, amount in amounts.items():
                self._sums[name] += amount

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the seconds that the block takes to the sum `name`."""
        start = perf_counter()
        try:
            yield
        finally:
            self.add(**{name: perf_counter() - start})

    def report(self) -> dict[str, float]:
        """Return the sums so far."""
        with self._lock:
            return dict(self._sums)
