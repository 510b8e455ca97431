"""Remote shards on their way before they are needed, in the order in which an epoch comes to them.

A shard that is fetched only when its first sample is asked for makes the whole epoch wait for it; one fetched long
before takes room in the cache from others. So what lies ahead of the reader is bounded in bytes. Errors are nobody's
here: a fetch that fails is tried again where the shard is opened, and its error is raised there, to whoever reads.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from cxrfast.errors import CxrfastError
from cxrfast.loading.pool import ThreadPool
from cxrfast.loading.samples import Samples
from cxrfast.shardset.cache import RemoteFile, ShardCache
from cxrfast.shardset.transfer import Stopped

Place = tuple[int, int]


class Fetcher:
    """Fetches an epoch's remote shards ahead, on threads of its own, until closed.

    `places` are the epoch's shards, (shardset, shard), each once, in the order in which they are first needed. Whoever
    reads calls `advance(place)` when it comes to a shard, and opens that shard as ever (`Samples.open`), which waits
    where it is still on its way. Beyond the shard that reading has reached at most `ahead` bytes of remote shards are
    fetched or being fetched, and never so many that the cache would have to let go of one of these: its limit less
    its largest shard here. So with a limit of one shard nothing is fetched ahead. Processes that share a cache folder
    share its limit too: their caller divides `ahead` by their number.

        fetcher = Fetcher(samples, places, threads=4, ahead=10**9)
        try:
            for place in places:
                fetcher.advance(place)
                ...
        finally:
            fetcher.close()

    Where nothing is remote no thread is made. Calls may come from several threads.
    """

    def __init__(self, samples: Samples, places: Sequence[Place], *, threads: int, ahead: int) -> None:
        """Begin with the first shards, as many as `ahead` allows."""
        self._index = {place: number for number, place in enumerate(places)}
        self._wanted = [_wanted(samples, place) for place in places]
        sizes = [0 if wanted is None else wanted[1].size for wanted in self._wanted]
        self._ends = _sums(sizes)  # bytes of the places before each, and of all
        self._room = min([ahead, *(int(wanted[0].limit) - max(sizes) for wanted in self._wanted if wanted)])
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._next = 0
        self._reached = -1
        self._pool = ThreadPool(threads, name="cxrfast-fetch") if any(self._wanted) else None
        self._submit()

    def advance(self, place: Place) -> None:
        """Say that reading has come to a shard; a shard that it has passed, or one that is no part of it, is fine."""
        with self._lock:
            self._reached = max(self._reached, self._index.get(place, -1))
        self._submit()

    def close(self) -> None:
        """Give up what is on its way, within a second, until no thread is left; doing it again does nothing."""
        with self._lock:
            self._stopped.set()
        if self._pool is not None:
            self._pool.close()

    def _submit(self) -> None:
        with self._lock:
            if self._pool is None or self._stopped.is_set():
                return
            self._next = max(self._next, self._reached + 1)  # what is reached is fetched by its reader
            passed = self._ends[self._reached + 1]
            while self._next < len(self._wanted) and self._ends[self._next + 1] - passed <= self._room:
                wanted = self._wanted[self._next]
                if wanted is not None:
                    self._pool.submit(self._fetch, self._next, *wanted)
                self._next += 1

    def _fetch(self, number: int, cache: ShardCache, file: RemoteFile) -> None:
        # Whoever needs the shard meets the error itself.
        with suppress(Stopped, CxrfastError):
            os.close(cache.open(file, stopped=self._stopped.is_set, due=partial(self._due, number)))

    def _due(self, number: int) -> frozenset[str]:
        """Return the cached names of what reading has reached and of what was fetched beyond.

        It is asked for just before a download begins; Stopped where reading has passed that shard by then, since
        whoever needed it has fetched it, and it may have left the cache again.
        """
        with self._lock:
            if number < self._reached:
                raise Stopped
            window = self._wanted[max(self._reached, 0) : self._next]
        return frozenset(wanted[1].cached_name for wanted in window if wanted is not None)


def _wanted(samples: Samples, place: Place) -> tuple[ShardCache, RemoteFile] | None:
    found = samples.remote(*place)
    return None if found is None else (found[0].cache, found[1])


def _sums(sizes: Sequence[int]) -> list[int]:
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    return ends
