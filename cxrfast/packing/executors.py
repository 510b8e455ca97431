"""Work shared among processes, taken back in order through a bounded window.

A window keeps memory bounded and hands results to one writer in the plan's order, so bytes cannot depend on how many
workers there are or which is fast; the price is that one slow image holds up the writer, though not the other workers,
until the window is full. Any `concurrent.futures` executor fits.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from cxrfast.errors import PackError
from cxrfast.packing.encode import Job, Packed, Rejected, one_thread, pack_job, ready_worker
from cxrfast.packing.pool import ProcessWorkers

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

JOBS_A_WORKER = 4  # of the window: enough that a worker finds its next job while the writer waits for a slow one
_SECONDS_BETWEEN_WATCHES = 5.0


@dataclass(frozen=True)
class Crew:
    """Who packs: `executor` runs `pack(job)`, with at most `window` jobs under way.

    `watch` is called while a result is long in coming, to raise PackError where it never will.
    """

    executor: Executor
    window: int
    pack: Callable[[Job], list[Packed | Rejected]] = pack_job
    watch: Callable[[], None] | None = None

    def results(self, jobs: Iterable[Job]) -> Generator[list[Packed | Rejected]]:
        """Yield what packing each job gave, in the jobs' order; see `in_order`."""
        return in_order(self.executor, self.pack, jobs, window=self.window, watch=self.watch)


def in_order(
    executor: Executor,
    function: Callable[[JobT], ResultT],
    jobs: Iterable[JobT],
    *,
    window: int,
    watch: Callable[[], None] | None = None,
) -> Generator[ResultT]:
    """Yield `function(job)` of each job, in the jobs' order, with at most `window` of them under way or waiting.

    Raises PackError where a worker process died, and whatever `function` or `watch` raised.
    """
    waiting: deque[Future[ResultT]] = deque()
    try:
        for job in jobs:
            waiting.append(executor.submit(function, job))
            if len(waiting) >= window:
                yield _result(waiting.popleft(), watch)
        while waiting:
            yield _result(waiting.popleft(), watch)
    except BrokenExecutor as error:
        raise PackError(
            "a packing worker died: killed from outside, or by the system for want of memory; run again to resume, "
            'with fewer workers if it was memory (a script that calls pack() needs `if __name__ == "__main__":`)'
        ) from error
    finally:
        for future in waiting:
            future.cancel()


def _result(future: "Future[ResultT]", watch: Callable[[], None] | None) -> ResultT:
    while watch is not None and not wait([future], timeout=_SECONDS_BETWEEN_WATCHES).done:
        watch()
    return future.result()


@contextmanager
def local_crew(count: int) -> Iterator[Crew]:
    """Yield a crew of `count` processes of this machine; see `processes`."""
    with processes(count) as executor:
        yield Crew(executor, window=1 if count == 1 else count * JOBS_A_WORKER)


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """Yield an executor of `count` processes, or for 1 of none: then a job runs when it is submitted.

    An exception that passes through, Ctrl-C too, ends the processes at once in the middle of their images.
    """
    if count == 1:
        with one_thread():
            yield InlineExecutor()
        return
    pool = ProcessWorkers(count, initializer=ready_worker)
    try:
        yield pool
    except BaseException:
        pool.kill()
        raise
    finally:
        pool.shutdown()


def usable_cpus() -> int:
    """Return how many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class InlineExecutor(Executor):
    """Runs a job in the calling thread when it is submitted."""

    def submit(self, fn: Callable[..., ResultT], /, *args: Any, **kwargs: Any) -> "Future[ResultT]":  # noqa: ANN401
        """Return a future that is done already."""
        future: Future[ResultT] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
