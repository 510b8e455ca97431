"""What a long command tells while it runs: sentences and a bar for people, or one JSON object a line for programs.

Both go to stderr, so that stdout holds the result alone. As JSON, every object has `event` and `time` (UTC), and:

- `start`: `dataset`, `src`, `out`, `slice`, `recipe`.
- `finding`: `message`, something odd about the release. `warning`: `message`, something odd about the run.
- `progress`, at the start, at the end and every five seconds: `done`, `total`, `rejects`, `bytes_in`, `bytes_out`,
  `images_per_second`, `seconds_left` (null where it is not known yet).
- `reject`: `key`, `path`, `code`, `detail` of an image that cannot be stored.
- `done`: the summary, which stdout gets too. `error`: `message`, `status` (the exit status).
"""

import json
import logging
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING

import click

from cxrfast.cli import terms

if TYPE_CHECKING:
    from cxrfast.packing.tally import Progress

_SECONDS_BETWEEN = 5.0


class Events:
    """Tells what happens, as JSON or in words; use it in a `with` statement, which tells the error that ends it too."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._handler = _Handler(self)
        self._before = (logging.NOTSET, True)

    def __enter__(self) -> "Events":
        if self.as_json:
            log = logging.getLogger("cxrfast")
            self._before = (log.level, log.propagate)
            log.setLevel(logging.INFO)
            log.propagate = False
            log.addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.as_json:
            return
        log = logging.getLogger("cxrfast")
        log.removeHandler(self._handler)
        log.setLevel(self._before[0])
        log.propagate = self._before[1]
        if error is not None:
            message, status = terms.ending(error) or (f"{type(error).__name__}: {error}", terms.FAULT)
            self.emit("error", message=message, status=status)
            if status != terms.FAULT:
                raise click.exceptions.Exit(status) from error

    def tell(self, text: str, event: str, **fields: object) -> None:
        """Tell people the text, programs the event."""
        if self.as_json:
            self.emit(event, **fields)
        else:
            click.echo(text, err=True)

    def emit(self, event: str, **fields: object) -> None:
        """Write one line of JSON."""
        line = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), **fields}
        click.echo(json.dumps(line, ensure_ascii=False, default=str), err=True)

    def counting(self, verb: str) -> "AbstractContextManager[Progress]":
        """Return what shows progress towards a total; `verb` opens a person's line."""
        if self.as_json:
            return nullcontext(_Counts(self))
        from cxrfast.cli.progress import Counting

        return Counting(verb)


class _Counts:
    """Progress as events, of this run alone: what an earlier one has done counts for nothing in the rates."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._started = time.monotonic()
        self._told = float("-inf")
        self._before: int | None = None

    def __call__(self, done: int, total: int, rejects: int = 0, bytes_in: int = 0, bytes_out: int = 0) -> None:
        now = time.monotonic()
        if self._before is None:
            self._before, self._started = done, now
        if done < total and now - self._told < _SECONDS_BETWEEN:
            return
        self._told = now
        rate = (done - self._before) / max(now - self._started, 1e-3)
        self._events.emit(
            "progress", done=done, total=total, rejects=rejects, bytes_in=bytes_in, bytes_out=bytes_out,
            images_per_second=round(rate, 1), seconds_left=round((total - done) / rate) if rate else None,
        )  # fmt: skip


class _Handler(logging.Handler):
    """Turns the library's log into events: rejects, and warnings."""

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        reject = getattr(record, "reject", None)
        if reject is not None:
            self._events.emit("reject", **reject)
        elif record.levelno >= logging.WARNING:
            self._events.emit("warning", message=record.getMessage())
