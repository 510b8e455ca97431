"""Progress that never slows training: the loss is read from the device only when something is drawn.

On a terminal a bar is drawn twice a second. Elsewhere (a job's log, a pipe) a plain line comes every ten seconds and
after each epoch, so that a waiting person always sees that something moves.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichBar
from torch import Tensor


class Mark(NamedTuple):
    """Where a stage stands. `epoch` counts from 1; `images` is what this process has seen since the stage began."""

    phase: str
    epoch: int
    epochs: int
    batch: int
    batches: int
    images: int
    loss: Tensor | None


class Progress(Protocol):
    """What the engine tells; a test takes `Silent`."""

    def begin(self, label: str) -> None:
        """Open a stage."""

    def step(self, mark: Mark) -> None:
        """Hear of one more batch; cheap unless something is drawn."""

    def say(self, text: str) -> None:
        """Write one line that stays, such as an epoch's result."""

    def end(self) -> None:
        """Close the stage."""


class Silent:
    """Shows nothing."""

    def begin(self, label: str) -> None:
        """Open nothing."""

    def step(self, mark: Mark) -> None:
        """Draw nothing."""

    def say(self, text: str) -> None:
        """Write nothing."""

    def end(self) -> None:
        """Close nothing."""


class ConsoleProgress:
    """A rich bar on a terminal, plain lines elsewhere; on standard error, so that output can be piped."""

    def __init__(self, console: Console | None = None, *, line_seconds: float = 10.0, bar_seconds: float = 0.5) -> None:
        self._console = console or Console(stderr=True)
        self._every = bar_seconds if self._console.is_terminal else line_seconds
        self._label = ""
        self._bar: RichBar | None = None
        self._rate = _Rate()
        self._drawn = 0.0

    def begin(self, label: str) -> None:
        """Open a stage."""
        self.end()
        self._label, self._rate, self._drawn = label, _Rate(), time.monotonic()
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"))
            self._bar = RichBar(*columns, console=self._console, transient=True)
            self._bar.add_task(label, total=None, text="starting")
            self._bar.start()

    def step(self, mark: Mark) -> None:
        """Draw where enough time has passed since the last drawing."""
        self._rate.add(mark)
        now = time.monotonic()
        if now - self._drawn < self._every:
            return
        self._drawn = now
        text = self._rate.text(mark)
        if self._bar is None:
            self._line(f"{self._label}: {text}")
        else:
            self._bar.update(self._bar.task_ids[0], total=mark.batches, completed=mark.batch, text=text)

    def say(self, text: str) -> None:
        """Write one line that stays."""
        self._line(f"{self._label}: {text}" if self._label else text)

    def end(self) -> None:
        """Close the stage, if one is open."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class _Rate:
    """Speed and time left, from what this process has done (a resumed run starts its count anew)."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._first: Mark | None = None

    def add(self, mark: Mark) -> None:
        if self._first is None:
            self._first = mark

    def text(self, mark: Mark) -> str:
        elapsed = time.monotonic() - self._begin
        parts = [f"epoch {mark.epoch}/{mark.epochs}", f"{mark.phase} {mark.batch}/{mark.batches}"]
        if mark.loss is not None:
            parts.append(f"loss {float(mark.loss):.4f}")
        parts.append(f"{mark.images / max(elapsed, 1e-9):,.0f} images/s")
        if mark.phase == "train":
            parts.append(f"{duration(self._left(mark, elapsed))} left")
        return ", ".join(parts)

    def _left(self, mark: Mark, elapsed: float) -> float:
        first = self._first or mark
        done = (mark.epoch - first.epoch) * mark.batches + mark.batch - first.batch + 1
        todo = (mark.epochs - mark.epoch + 1) * mark.batches - mark.batch
        return elapsed / done * todo


def duration(seconds: float) -> str:
    """Return a duration as people say it: `45 s`, `4 min 10 s`, `2 h 03 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextmanager
def stage(progress: Progress, label: str) -> Iterator[None]:
    """Open a stage and close it whatever happens in it, so that no bar outlives an error."""
    progress.begin(label)
    try:
        yield
    finally:
        progress.end()
