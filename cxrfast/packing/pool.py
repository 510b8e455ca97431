"""Worker processes that may die at any moment without hanging the parent.

`ProcessPoolExecutor` sends all results through one pipe, of which the parent holds both ends: a worker killed halfway
through a result leaves the parent waiting for its second half for ever. Here each worker has a pipe of its own whose
far end the worker alone holds, so its death is an end of file, seen by the thread that waits for it. The price is a
thread a worker; it sleeps while the worker decodes.

This module is loaded by the workers too, so it imports nothing heavy.
"""

import signal
import traceback
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing import get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
_Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class ProcessWorkers(Executor):
    """An executor of `count` spawned processes, each of which calls `initializer` first.

    A job whose worker dies, and every job after that, ends with BrokenExecutor. Workers end by themselves when the
    parent does, however it ends, and leave Ctrl-C to it.
    """

    def __init__(self, count: int, *, initializer: Callable[[], None]) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._broken = False
        context = get_context("spawn")
        pipes = [context.Pipe() for _ in range(count)]
        self._processes = [
            context.Process(target=_serve, args=(theirs, initializer), daemon=True) for _, theirs in pipes
        ]
        # A process inherits the signals that are held back, also for the time before its own first line runs.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            for process in self._processes:
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for _, theirs in pipes:
            theirs.close()
        self._threads = [Thread(target=self._feed, args=(ours,), daemon=True) for ours, _ in pipes]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., ResultT], /, *args: Any, **kwargs: Any) -> "Future[ResultT]":  # noqa: ANN401
        """Return the future of a call in some worker; all that goes in and out must pickle."""
        future: Future[ResultT] = Future()
        self._tasks.put((future, fn, args, kwargs))
        return future

    def kill(self) -> None:
        """End all workers now, in the middle of their jobs."""
        self._broken = True
        for process in self._processes:
            process.kill()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers when the submitted jobs are done; `cancel_futures` is not needed after `kill`."""
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()
            for process in self._processes:
                process.join()

    def _feed(self, worker: Connection) -> None:
        """Hand tasks to one worker and its results to their futures, until told to end."""
        with worker:
            while (task := self._tasks.get()) is not None:
                future, *call = task
                if future.set_running_or_notify_cancel():
                    self._settle(future, worker, call)

    def _settle(self, future: "Future[Any]", worker: Connection, call: list[Any]) -> None:
        if self._broken:
            future.set_exception(BrokenExecutor("a worker process died before this job"))
            return
        try:
            worker.send(call)
            done, outcome = worker.recv()
        except (EOFError, OSError):
            self._broken = True
            future.set_exception(BrokenExecutor("the worker process of this job died"))
        except Exception as error:
            future.set_exception(error)
        else:
            (future.set_result if done else future.set_exception)(outcome)


def _serve(parent: Connection, initializer: Callable[[], None]) -> None:
    """Answer one call after the other until the parent has closed its end or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    initializer()
    try:
        while True:
            function, args, kwargs = parent.recv()
            parent.send(_call(function, args, kwargs))
    except (EOFError, OSError):
        return


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    try:
        return True, function(*args, **kwargs)
    except Exception as error:
        error.add_note(f"in a packing worker:\n{traceback.format_exc()}")
        return False, error
