"""Payloads from tar files: long `preadv`s on a few threads, nothing mapped, nothing shared, nothing left behind.

Threads are enough, since `preadv` runs outside the GIL; worker processes would cost memory, start-up and a place to
leave things behind. One call fills the payloads of a whole run, each where it belongs; what lies between them goes to
a scrap of memory that stays in the processor's cache. Every payload is checked against the crc32 that packing recorded,
since a flipped byte in a JPEG mostly decodes in silence.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import accumulate
from time import perf_counter

import numpy as np
import numpy.typing as npt
from isal.isal_zlib import crc32

from cxrfast.errors import LoaderError
from cxrfast.loading.buffers import Buffers
from cxrfast.loading.cache import PixelCache
from cxrfast.loading.counters import Counters
from cxrfast.loading.files import OpenFiles
from cxrfast.loading.pool import ThreadPool
from cxrfast.loading.render import Payload
from cxrfast.loading.runs import LONGEST, Run, runs_of
from cxrfast.loading.samples import Samples

Integers = npt.NDArray[np.int64]

GAP = 256_000
"""Bytes between two wanted payloads that are read over where nothing else is asked for."""
THREADS = 4
"""How many runs are read at a time: enough to keep a network file system busy, few enough for one disk's head."""
OPEN_FILES = 128
"""How many tar files a reader keeps open."""
_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # no fault of the sample
_FEW = 8  # short reads that one thread takes in one go, since handing a job over costs as much as a read


_Found = list[Payload]
_NOTHING = memoryview(b"")


class Group:
    """Rows that are read together, and their payloads as they come; the memory is used again when all are `used`."""

    def __init__(self, found: _Found, places: list[int], jobs: list[Future[None]], *, free: Callable[[], None]) -> None:
        self._found = found
        self._places = places
        self._jobs = jobs
        self._free = free
        self._unused = len(places)

    def take(self, first: int, count: int = 1) -> list[Payload]:
        """Wait until the group is read and return the payloads of `count` neighbouring rows, by their place in it."""
        if self._jobs:
            for job in self._jobs:
                job.result()
            self._jobs = []
        found = self._found
        return [found[place] for place in self._places[first : first + count]]

    def used(self, count: int = 1) -> None:
        """Say that so many more rows are rendered; after the last one nothing may look at the payloads."""
        self._unused -= count
        if not self._unused:
            self._found = []
            self._free()


class Reader:
    """Reads groups of rows on threads of its own, in the order asked for, until closed."""

    def __init__(
        self,
        samples: Samples,
        *,
        counters: Counters,
        gap: int = GAP,
        buffers: Buffers | None = None,
        cache: PixelCache | None = None,
    ) -> None:
        """Make a reader; `gap` bytes between two wanted payloads are read over, and what is in `cache` is not read."""
        self._samples = samples
        self._gap = min(gap, LONGEST)
        self._counters = counters
        self._cache = cache
        self._files = OpenFiles(samples, limit=OPEN_FILES)
        self._buffers = buffers or Buffers()
        self._scraps = threading.local()
        self._pool = ThreadPool(THREADS, name="cxrfast-read")

    def submit(self, rows: Integers) -> Group:
        """Ask for the payloads of rows (n,), each of which may be named more than once."""
        wanted, places = np.unique(rows, return_inverse=True)
        found: _Found = [_NOTHING] * len(wanted)
        missing = self._take_cached(wanted, found)
        buffer = self._buffers.take(int(self._samples.nbytes[wanted[missing]].sum()))
        jobs, at = [], 0
        for runs in _shared_out(runs_of(self._samples, wanted[missing], gap=self._gap)):
            size = sum(sum(run.nbytes) for run in runs)
            slots = [missing[run.slots].tolist() for run in runs]
            jobs.append(self._pool.submit(self._read_runs, runs, buffer[at : at + size], found, slots))
            at += size
        return Group(found, places.tolist(), jobs, free=lambda: self._buffers.give(buffer))

    def read_now(self, row: int) -> Payload:
        """Return the payload of one row, read by the thread that asks."""
        found: _Found = [_NOTHING]
        (run,) = runs_of(self._samples, np.array([row]), gap=self._gap)
        self._read_runs([run], memoryview(bytearray(run.length)), found, [[0]])
        return found[0]

    def close(self) -> None:
        """Drop what was not begun, wait for what was, and close every file; a download is given up."""
        self._files.stop()
        self._pool.close()
        self._files.close()

    def _take_cached(self, rows: Integers, found: _Found) -> Integers:
        """Put in the pixels that are cached, and return the slots of the rows that are not."""
        if self._cache is None:
            return np.arange(len(rows))
        cached = self._cache.has(rows)
        for slot in np.flatnonzero(cached).tolist():
            found[slot] = self._cache.get(int(rows[slot]))
        return np.flatnonzero(~cached)

    def _read_runs(self, runs: list[Run], into: memoryview, found: _Found, slots: list[list[int]]) -> None:
        """Read some runs' payloads one behind the other into memory, check them, and put each into its slot."""
        started = perf_counter()
        at = 0
        for run, places in zip(runs, slots, strict=True):
            size = sum(run.nbytes)
            self._read_run(run, into[at : at + size], found, places)
            at += size
        asked = sum(run.length for run in runs)
        self._counters.add(reads=len(runs), bytes_read=asked, seconds_reading=perf_counter() - started)

    def _read_run(self, run: Run, into: memoryview, found: _Found, slots: list[int]) -> None:
        payloads = _cut(into, run.nbytes)
        try:
            with self._files.use(run.file) as descriptor:
                is_whole = os.preadv(descriptor, self._pieces(run, payloads), run.start) == run.length
        except OSError:
            is_whole = False
        for slot, row, offset, payload in zip(slots, run.rows, run.offsets, payloads, strict=True):
            found[slot] = self._checked(row, payload) if is_whole else self._alone(run.file, row, offset, payload)

    def _pieces(self, run: Run, payloads: Sequence[memoryview]) -> list[memoryview]:
        """Return the payloads' memory with scrap for what lies between them."""
        if not hasattr(self._scraps, "memory"):
            self._scraps.memory = memoryview(bytearray(self._gap))
        pieces, at = [], run.start
        for offset, payload in zip(run.offsets, payloads, strict=True):
            if offset > at:
                pieces.append(self._scraps.memory[: offset - at])
            pieces.append(payload)
            at = offset + len(payload)
        return pieces

    def _alone(self, file: tuple[int, int], row: int, offset: int, payload: memoryview) -> Payload:
        """Read one payload of a run that did not come whole, so that only what is damaged is called so."""
        done = 0
        try:
            with self._files.use(file) as descriptor:
                while done < len(payload) and (count := os.preadv(descriptor, [payload[done:]], offset + done)):
                    done += count
        except OSError as error:
            if error.errno in _OURS:
                raise LoaderError(f"reading fails for want of something: {error.strerror}; see `ulimit -a`") from error
            return self._samples.damaged(row, f"cannot be read: {error.strerror or error}")
        if done < len(payload):
            return self._samples.damaged(row, f"the file ends after {done} bytes of it: restore it or pack again")
        return self._checked(row, payload)

    def _checked(self, row: int, payload: memoryview) -> Payload:
        if crc32(payload) == self._samples.crc32[row]:
            return payload
        remedy = "restore the file, `cxrfast-shard verify --repair`, or pack again"
        return self._samples.damaged(row, f"its bytes are not those that were packed (crc32 differs): {remedy}")


def _shared_out(runs: list[Run]) -> Iterator[list[Run]]:
    """Yield runs as what one thread reads in one go: a long one, or a few short ones."""
    some: list[Run] = []
    for run in runs:
        if some and (len(some) == _FEW or sum(run.length for run in some) + run.length > LONGEST):
            yield some
            some = []
        some.append(run)
    if some:
        yield some


def _cut(memory: memoryview, sizes: Sequence[int]) -> list[memoryview]:
    ends = list(accumulate(sizes))
    return [memory[start:end] for start, end in zip([0, *ends], ends, strict=False)]
