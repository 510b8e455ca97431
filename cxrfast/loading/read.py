"""Payloads from tar files: `pread`s on a few threads, nothing mapped, nothing shared, nothing left behind.

Threads are enough, since `pread` and crc32 run outside the GIL; worker processes would cost memory, start-up and a
place to leave things behind. Neighbours of a request that lie close together in a file are fetched by one `pread`:
reading over a small gap is cheaper than asking twice. Every payload is checked against the crc32 that packing recorded,
since a flipped byte in a JPEG mostly decodes in silence.
"""

import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from cxrfast.errors import LoaderError
from cxrfast.loading.counters import Counters
from cxrfast.loading.memory import parse_memory
from cxrfast.loading.pool import ThreadPool
from cxrfast.loading.samples import Samples

Integers = npt.NDArray[np.int64]

GAP = 16 * 1024
"""Bytes between two payloads that are rather read over than skipped; JSON and headers of a sample take some 2 KB."""
LONGEST = 4 * 1024**2
"""A single `pread` asks for no more than this, unless one payload is larger."""
OPEN_FILES = 128
"""How many tar files a reader keeps open."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How samples are read."""

    threads: int | None = None
    """How many threads read, and how many decode and warp; None: the CPUs of the affinity mask / ranks on the node."""
    ahead: str | int = "64MB"
    """How many stored bytes may have been asked for and not yet rendered; at least a few images always are."""
    on_error: str = "raise"
    """A damaged sample raises DamagedSample, which names it."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise LoaderError(f"threads={self.threads}: at least one thread is needed; None takes what the machine has")
        if self.on_error != "raise":
            raise LoaderError(f"on_error={self.on_error!r} is not supported: a damaged sample can only 'raise'")
        object.__setattr__(self, "ahead", parse_memory(self.ahead, name="ahead"))


class Reader:
    """Reads payloads of rows on threads of its own, in the order asked for, until closed."""

    def __init__(self, samples: Samples, *, threads: int, counters: Counters) -> None:
        self._samples = samples
        self._counters = counters
        self._files = _OpenFiles(samples, OPEN_FILES)
        self._pool = ThreadPool(threads, name="cxrfast-read")

    def submit(self, rows: Integers) -> Future[list[memoryview]]:
        """Ask for the payloads of rows (n,); the future holds them in the rows' order, or raises DamagedSample."""
        return self._pool.submit(self._read, rows)

    def close(self) -> None:
        """Drop what was not begun, wait for what was, and close every file; a download is given up."""
        self._files.stop()
        self._pool.close()
        self._files.close()

    def _read(self, rows: Integers) -> list[memoryview]:
        started = perf_counter()
        payloads: dict[int, memoryview] = {}
        runs = _runs(self._samples, rows)
        asked = sum(self._read_run(run, payloads) for run in runs)
        self._counters.add(reads=len(runs), bytes_read=asked, seconds_reading=perf_counter() - started)
        return [payloads[row] for row in rows.tolist()]

    def _read_run(self, run: "_Run", payloads: dict[int, memoryview]) -> int:
        samples = self._samples
        try:
            with self._files.use(run.file) as descriptor:
                data = _pread(descriptor, run.stop - run.start, run.start)
        except OSError as error:
            raise samples.damaged(run.rows[0][0], f"cannot be read: {error.strerror or error}") from error
        for row, begin, stop in run.rows:
            payloads[row] = self._checked(row, data[begin - run.start : stop - run.start])
        return len(data)

    def _checked(self, row: int, payload: memoryview) -> memoryview:
        if len(payload) != self._samples.nbytes[row]:
            raise self._samples.damaged(
                row, f"the file ends after {len(payload)} bytes of it: restore it or pack again"
            )
        if zlib.crc32(payload) != self._samples.crc32[row]:
            raise self._samples.damaged(
                row, "its bytes are not those that were packed (crc32 differs): restore the file or pack again"
            )
        return payload


@dataclass
class _Run:
    """Bytes `start` to `stop` of a file (shard set and shard), which hold the payloads of `rows`."""

    file: tuple[int, int]
    start: int
    stop: int
    rows: list[tuple[int, int, int]]
    """Row, first byte, byte after the last."""


def _runs(samples: Samples, rows: Integers) -> list[_Run]:
    """Join rows that lie close together in one file, in storage order."""
    runs: list[_Run] = []
    columns = (samples.shardset, samples.shard, samples.offset, samples.nbytes)
    places: Sequence[tuple[int, int, int, int, int]] = sorted(
        zip(*(column[rows].tolist() for column in columns), rows.tolist(), strict=True)
    )
    for shardset, shard, offset, nbytes, row in places:
        stop = offset + nbytes
        last = runs[-1] if runs else None
        near = last is not None and last.file == (shardset, shard) and offset - last.stop <= GAP
        if last is not None and near and stop - last.start <= LONGEST:
            last.stop = max(last.stop, stop)
            last.rows.append((row, offset, stop))
        else:
            runs.append(_Run((shardset, shard), offset, stop, [(row, offset, stop)]))
    return runs


def _pread(descriptor: int, count: int, offset: int) -> memoryview:
    """Return `count` bytes from `offset`, or fewer where the file ends: `pread` itself may stop earlier."""
    data = os.pread(descriptor, count, offset)
    if len(data) == count:
        return memoryview(data)
    parts = [data]
    while data and (done := sum(map(len, parts))) < count:
        data = os.pread(descriptor, count - done, offset + done)
        parts.append(data)
    return memoryview(b"".join(parts))


class _OpenFiles:
    """Descriptors of files in use or used lately; the least recently used is closed first."""

    def __init__(self, samples: Samples, limit: int) -> None:
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
        # A remote shard may take long to come: others go on reading meanwhile.
        opened = self._samples.open(*file, stopped=self._stopped.is_set)
        with self._lock:
            entry = self._open.setdefault(file, [opened, 0])
            if entry[0] != opened:
                os.close(opened)
            return self._used(file, entry)

    def _used(self, file: tuple[int, int], entry: list[int]) -> list[int]:
        entry[1] += 1
        self._open.move_to_end(file)
        self._trim(self._limit)
        return entry

    def _trim(self, limit: int) -> None:
        idle = [file for file, (_, users) in self._open.items() if not users] if len(self._open) > limit else []
        for file in idle[: len(self._open) - limit]:
            os.close(self._open.pop(file)[0])
