"""One epoch on its way: reading ahead by bytes, rendering ahead by batches, everything in order.

There is no driver thread: whoever asks for the next batch tops up both queues on the way, so nothing runs that nobody
waits for, and stopping is closing two thread pools. Batches go through in parts of a few images, so that a batch of
1,024 spreads over all threads and overlaps with its own reading just as thirty-two batches of 32 do.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

import numpy as np

from cxrfast.errors import LoaderError
from cxrfast.loading.fetch import Fetcher
from cxrfast.loading.order import EpochOrder
from cxrfast.loading.read import Group, Reader
from cxrfast.loading.render import Payload, Renderer
from cxrfast.loading.runs import Integers, Reads
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step
from cxrfast.shardset.transfer import Stopped

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

PART = 64
"""Most images that one thread takes at a time: so many that handing them over costs nothing, so few that threads end an
epoch at about the same time."""
DEPTH = 2
"""Batches that are rendered ahead of the one that is handed out; more where that leaves threads without parts."""


_MOST_AHEAD = 256_000_000


def depth_of(batch: int, *, threads: int, nbytes: int) -> int:
    """Return how many batches of so many images are rendered ahead.

    At least two parts for each thread, or what 256 MB hold of batches of `nbytes` bytes; never under DEPTH.
    """
    parts = -(-max(batch, 1) // PART)
    return max(DEPTH, min(-(-2 * threads // parts), _MOST_AHEAD // max(nbytes, 1)))


@dataclass(frozen=True, eq=False)
class _Part:
    """Some images of a batch: in which groups they are read, and where in each they begin, and how many they are."""

    pieces: list[tuple[Group, int, int]]

    def result(self) -> list[Payload]:
        return [payload for group, first, count in self.pieces for payload in group.take(first, count)]

    def used(self) -> None:
        for group, _, count in self.pieces:
            group.used(count)


@dataclass(eq=False)
class _InFlight:
    """A batch on its way, part by part."""

    step: Step
    images: "torch.Tensor | None"
    rendering: "list[tuple[_Part, Future[torch.Tensor]]]" = field(default_factory=list)


@dataclass(eq=False)
class _Asked:
    """A group that was asked for: its first position, and how many of its rows no batch has taken yet."""

    group: Group
    start: int
    left: int


class Pipeline:
    """Turns the steps of one epoch into images, ahead of whoever iterates; to be closed in the end."""

    def __init__(
        self,
        order: EpochOrder,
        reads: Reads,
        steps: Iterator[Step],
        samples: Samples,
        *,
        start: int,
        reader: Reader,
        fetch: Callable[[], Fetcher | None],
        renderer: Renderer,
        canvas: "Callable[[int], torch.Tensor]",
        ahead: int,
        depth: int,
    ) -> None:
        """Make a pipeline; `canvas(n)` gives memory for n images, uint8 (n, V, 1, S, S); `fetch` begins fetching.

        `ahead` bounds the bytes that are asked for and not yet in use, `depth` the batches that are rendered ahead.
        """
        self._order = order
        self._reads = reads
        self._steps = steps
        self._samples = samples
        self._reader = reader
        self._fetch = fetch
        self._fetcher: Fetcher | None = None
        self._renderer = renderer
        self._canvas = canvas
        self._ahead = ahead
        self._depth = depth
        self._batches: deque[_InFlight] = deque()
        self._next_batch = start
        self._next_read = 0
        self._asked: dict[int, _Asked] = {}
        self._unused: deque[tuple[int, int]] = deque()  # the batch that first needs a group, and the group's bytes
        self._unused_bytes = 0
        self._has_begun = False
        self._closed = False

    def __iter__(self) -> "Iterator[tuple[Step, torch.Tensor]]":
        """Yield each step with its images; raises LoaderError once closed, and what reading or rendering raised."""
        _LIVE.add(self)
        self._fetcher = self._fetch()
        while True:
            self._advance()
            if not self._batches:
                return
            batch = self._batches[0]
            images = self._canvas(0) if batch.images is None else batch.images
            if batch.rendering:
                # Once for the last part, which the others are before: each wait would cost a thread its turn.
                self._wait(batch.rendering[-1][1].exception)
            for part, rendering in batch.rendering:
                rendered = self._wait(rendering.result)
                part.used()
                if batch.images is None:
                    images = rendered
            self._batches.popleft()
            self._has_begun = True
            self._advance()
            yield batch.step, images

    def close(self) -> None:
        """Stop both pools and wait for what they are in the middle of; doing it again does nothing."""
        self._closed = True
        try:
            self._stop()
        except BaseException:
            # Ctrl-C while waiting for a thread must not leave that thread behind.
            self._stop()
            raise

    def _stop(self) -> None:
        if self._fetcher is not None:
            self._fetcher.close()
        self._reader.close()
        self._renderer.close()

    def _wait(self, until: Callable[[], T]) -> T:
        try:
            return until()
        except (CancelledError, Stopped):
            self._check_open()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise LoaderError("this epoch has ended: another was begun on the same loader, or the loader was closed")

    def _advance(self) -> None:
        try:
            self._top_up()
        except RuntimeError:  # another thread closed the pools just now
            self._check_open()
            raise

    def _top_up(self) -> None:
        self._check_open()
        while len(self._batches) <= self._depth and (step := next(self._steps, None)) is not None:
            while (
                self._next_read < len(self._reads.starts) and self._reads.batches[self._next_read] <= self._next_batch
            ):
                self._ask()
            while self._unused and self._unused[0][0] <= self._next_batch:
                self._unused_bytes -= self._unused.popleft()[1]
            self._next_batch += 1
            self._batches.append(self._begin(step))
        # Before the first batch is there, reading ahead would only take time from it.
        while self._has_begun and self._next_read < len(self._reads.starts):
            if self._unused and self._unused_bytes + self._bytes_of(self._next_read) > self._ahead:
                break
            self._ask()

    def _bytes_of(self, read: int) -> int:
        rows = self._order.rows[self._reads.starts[read] : self._reads.stops[read]]
        return int(self._samples.nbytes[rows].sum())

    def _ask(self) -> None:
        """Have the next group read."""
        reads, read = self._reads, self._next_read
        start, stop = int(reads.starts[read]), int(reads.stops[read])
        nbytes = self._bytes_of(read)
        rows = self._order.rows[start:stop].astype(np.int64)
        if self._fetcher is not None:
            places = zip(self._samples.shardset[rows].tolist(), self._samples.shard[rows].tolist(), strict=True)
            for place in set(places):
                self._fetcher.advance(place)
        group = self._reader.submit(rows)
        self._asked[int(reads.groups[read])] = _Asked(group, start, stop - start)
        self._unused.append((int(reads.batches[read]), nbytes))
        self._unused_bytes += nbytes
        self._next_read += 1

    def _begin(self, step: Step) -> _InFlight:
        """Hand a batch, part by part, to the renderer; everything that it needs is being read."""
        count, whole = len(step.rows), self._renderer.whole
        batch = _InFlight(step, None if whole or not count else self._canvas(count))
        start = 0
        for part, size in self._parts(step.positions, max(count, 1) if whole else PART):
            images = None if batch.images is None else batch.images[start : start + size]
            batch.rendering.append((part, self._renderer.submit(step.part(start, start + size), part, images)))
            start += size
        return batch

    def _parts(self, positions: Integers, size: int) -> Iterator[tuple[_Part, int]]:
        """Cut positions (n,) into parts of `size`, the last one fewer, and say how many each has."""
        pieces: list[tuple[Group, int, int]] = []
        room = size
        for asked, first, count in self._taken(positions):
            while count:
                took = min(count, room)
                pieces.append((asked.group, first - asked.start, took))
                first, count, room = first + took, count - took, room - took
                if not room:
                    yield _Part(pieces), size
                    pieces, room = [], size
        if pieces:
            yield _Part(pieces), size - room

    def _taken(self, positions: Integers) -> Iterator[tuple[_Asked, int, int]]:
        """Take neighbours of one group together: the group, their first position, and how many they are."""
        numbers = np.searchsorted(self._order.groups, positions, side="right") - 1
        cuts = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        for first, stop in pairwise([0, *cuts.tolist(), len(positions)]):
            if first == stop:
                continue
            number, count = int(numbers[first]), stop - first
            asked = self._asked[number]
            asked.left -= count
            if not asked.left:
                del self._asked[number]
            yield asked, int(positions[first]), count


_LIVE: "WeakSet[Pipeline]" = WeakSet()


def _close_all() -> None:
    for pipeline in list(_LIVE):
        pipeline.close()


# At its end Python waits for all pool threads before it runs `atexit`, and they would first work off what is queued, a
# download that no one needs any more among it. This hook, which has no public name, is what the pools themselves use.
threading._register_atexit(_close_all)  # type: ignore[attr-defined]
