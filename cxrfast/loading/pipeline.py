"""One epoch on its way: reading ahead by bytes, rendering ahead by batches, everything in order.

There is no driver thread: whoever asks for the next batch tops up both queues on the way, so nothing runs that nobody
waits for, and stopping is closing two thread pools. Batches go through in parts of a few images, so that a batch of
1,024 spreads over all threads and overlaps with its own reading just as thirty-two batches of 32 do.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from cxrfast.errors import LoaderError
from cxrfast.loading.read import Reader
from cxrfast.loading.render_opencv import OpenCVRenderer
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step
from cxrfast.shardset.transfer import Stopped

if TYPE_CHECKING:
    import torch

PART = 16
"""Most images that one thread takes at a time."""
DEPTH = 2
"""Batches that are rendered ahead of the one that is handed out."""

Payloads = Future[list[memoryview]]


@dataclass(eq=False)
class _InFlight:
    """A batch whose parts are partly unread, partly being read, partly being rendered."""

    step: Step
    parts: int
    reading: deque[tuple[int, int, int, Payloads]] = field(default_factory=deque)  # start, stop, bytes
    rendering: list[Future[None]] = field(default_factory=list)
    images: "torch.Tensor | None" = None


class Pipeline:
    """Turns the steps of one epoch into images, ahead of whoever iterates; to be closed in the end."""

    def __init__(
        self,
        steps: Iterator[Step],
        samples: Samples,
        *,
        reader: Reader,
        renderer: OpenCVRenderer,
        canvas: "Callable[[int], torch.Tensor]",
        ahead: int,
        threads: int,
    ) -> None:
        """`canvas(n)` gives fresh host memory for n images, uint8 (n, V, 1, S, S); `ahead` bounds unrendered bytes."""
        self._steps = steps
        self._samples = samples
        self._reader = reader
        self._renderer = renderer
        self._canvas = canvas
        self._ahead = ahead
        self._threads = threads
        self._batches: deque[_InFlight] = deque()
        self._unread: deque[tuple[_InFlight, int, int, int]] = deque()  # batch, start, stop, bytes
        self._unrendered: deque[tuple[int, Future[None]]] = deque()
        self._bytes = 0
        self._closed = False

    def __iter__(self) -> "Iterator[tuple[Step, torch.Tensor]]":
        """Yield each step with its images; raises LoaderError once closed, and what reading or rendering raised."""
        while True:
            self._advance()
            if not self._batches:
                return
            batch = self._batches[0]
            for part in range(batch.parts):
                # Parts are begun in order, and one always is where none is left unrendered: so this one has been.
                self._wait(batch.rendering[part])
                self._advance()
            self._batches.popleft()
            self._advance()
            yield batch.step, self._canvas(0) if batch.images is None else batch.images

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
        self._reader.close()
        self._renderer.close()

    def _wait(self, rendering: Future[None]) -> None:
        try:
            rendering.result()
        except (CancelledError, Stopped):
            self._check_open()
            raise

    def _check_open(self) -> None:
        if self._closed:
            raise LoaderError("this epoch has ended: another was begun on the same loader, or the loader was closed")

    def _advance(self) -> None:
        self._check_open()
        while self._unrendered and self._unrendered[0][1].done():
            self._bytes -= self._unrendered.popleft()[0]
        while self._more() and (not self._bytes or self._bytes + self._unread[0][3] <= self._ahead):
            batch, start, stop, nbytes = self._unread.popleft()
            batch.reading.append((start, stop, nbytes, self._reader.submit(batch.step.rows[start:stop])))
            self._bytes += nbytes
        for batch in islice(self._batches, DEPTH + 1):
            self._render(batch)

    def _more(self) -> bool:
        """Take up the next step where everything of the last one is being read; False at the end."""
        while not self._unread:
            step = next(self._steps, None)
            if step is None:
                return False
            count = len(step.rows)
            size = min(PART, -(-count // self._threads))
            starts = range(0, count, max(size, 1))
            batch = _InFlight(step, len(starts))
            self._batches.append(batch)
            for start in starts:
                stop = min(start + size, count)
                self._unread.append((batch, start, stop, int(self._samples.nbytes[step.rows[start:stop]].sum())))
        return True

    def _render(self, batch: _InFlight) -> None:
        if batch.images is None and batch.parts:
            batch.images = self._canvas(len(batch.step.rows))
        while batch.reading and batch.images is not None:
            start, stop, nbytes, payloads = batch.reading.popleft()
            rendering = self._renderer.submit(batch.step.part(start, stop), payloads, batch.images[start:stop])
            batch.rendering.append(rendering)
            self._unrendered.append((nbytes, rendering))
