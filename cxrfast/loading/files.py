"""The tar files that a reader has open: opened when first wanted, closed when others are, and all of them in the end.

A file is opened outside the lock, since a remote one may have to be fetched first while others are being read. Two
threads may then open one file at a time; the second descriptor is closed again.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from cxrfast.loading.samples import Samples
from cxrfast.shardset.transfer import Stopped


class OpenFiles:
    """Descriptors of files in use or used lately; the least recently used is closed first."""

    def __init__(self, samples: Samples, *, limit: int) -> None:
        self._samples = samples
        self._limit = limit
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._open: OrderedDict[tuple[int, int], list[int]] = OrderedDict()  # [descriptor, users]

    @contextmanager
    def use(self, file: tuple[int, int]) -> Iterator[int]:
        """Give the descriptor of a shard set's shard, which stays open for as long as the block runs."""
        entry = self._entered(file)
        try:
            yield entry[0]
        finally:
            with self._lock:
                entry[1] -= 1

    def stop(self) -> None:
        """Give up the downloads that threads wait for; they raise `Stopped`."""
        self._stopped.set()

    def close(self) -> None:
        """Close every file."""
        with self._lock:
            self._trim(0)

    def _entered(self, file: tuple[int, int]) -> list[int]:
        """Return the entry of a file, opened where it was not, with one more user."""
        with self._lock:
            entry = self._open.get(file)
            if entry is not None:
                return self._used(file, entry)
        if self._stopped.is_set():
            raise Stopped
        # A remote shard may take long to come: others go on reading meanwhile.
        opened = self._samples.open(*file, stopped=self._stopped.is_set)
        with self._lock:
            entry = self._open.setdefault(file, [opened, 0])
            if entry[0] != opened:
                os.close(opened)
            self._let_go()
            return self._used(file, entry)

    def _used(self, file: tuple[int, int], entry: list[int]) -> list[int]:
        entry[1] += 1
        self._open.move_to_end(file)
        self._trim(self._limit)
        return entry

    def _let_go(self) -> None:
        """Close idle files that the cache has deleted since: their space is free only once nobody has them open."""
        if not self._samples.any_remote:
            return
        for file, (descriptor, users) in list(self._open.items()):
            if not users and not os.fstat(descriptor).st_nlink:
                os.close(self._open.pop(file)[0])

    def _trim(self, limit: int) -> None:
        idle = [file for file, (_, users) in self._open.items() if not users] if len(self._open) > limit else []
        for file in idle[: len(self._open) - limit]:
            os.close(self._open.pop(file)[0])
