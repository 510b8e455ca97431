"""Progress that is seen everywhere: a live bar on a terminal, a plain line every few seconds in a log.

Both go to stderr, so that stdout holds results alone.
"""

import sys
import time
from types import TracebackType

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.progress import TaskID as TaskId

_SECONDS_BETWEEN_LINES = 5.0


class Counting:
    """Counts towards a total: call it with how much is done; use it in a `with` statement.

    `verb` opens each line, such as "packing". On a terminal there is a bar, elsewhere lines.
    """

    def __init__(self, verb: str, *, live: bool | None = None) -> None:
        self._verb = verb
        live = sys.stderr.isatty() if live is None else live
        self._bar = _bar() if live else None
        self._task: TaskId | None = None
        self._started = time.monotonic()
        self._before: int | None = None
        self._told = float("-inf")
        self._last = ""

    def __enter__(self) -> "Counting":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, rejects: int = 0, bytes_in: int = 0, bytes_out: int = 0) -> None:
        """Show that `done` of `total` images are done, with bytes read and written since the start."""
        if self._before is None:
            self._before = done
            self._started = time.monotonic()
        seconds = max(time.monotonic() - self._started, 1e-3)
        detail = _detail(done - self._before, total - done, seconds, rejects, bytes_in, bytes_out)
        if self._bar is not None:
            self._draw(done, total, detail)
        elif done >= total or time.monotonic() - self._told >= _SECONDS_BETWEEN_LINES:
            self._tell(f"{self._verb}: {done:,} of {total:,} images{detail}")

    def _draw(self, done: int, total: int, detail: str) -> None:
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task(self._verb, total=total, detail="")
        self._bar.update(self._task, completed=done, total=total, detail=detail)

    def _tell(self, line: str) -> None:
        self._told = time.monotonic()
        if line != self._last:
            click.echo(line, err=True)
        self._last = line


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} images{task.fields[detail]}"),
        console=Console(stderr=True),
    )


def _detail(new: int, left: int, seconds: float, rejects: int, bytes_in: int, bytes_out: int) -> str:
    """Return rates and the time left, each where there is something to say."""
    if new <= 0:
        return ""
    rate = new / seconds
    parts = [f"{rate:,.0f} images/s"]
    if bytes_in or bytes_out:
        parts.append(f"{bytes_in / seconds / 1e6:,.1f} MB/s in, {bytes_out / seconds / 1e6:,.1f} MB/s out")
    if rejects:
        parts.append(f"{rejects:,} rejected")
    if left > 0:
        parts.append(f"{duration(left / rate)} left")
    return ", " + ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration as people say it: `42 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
