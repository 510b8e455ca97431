"""Threads that are all gone when their pool is closed, however the closing came about.

The standard pool forgets a thread whose start an exception cuts short, as Ctrl-C may at any moment: it ends by itself,
but nobody waits for it. So each pool gives its threads a name of their own, by which they are found and waited for.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

_NUMBERS = count()


class ThreadPool(ThreadPoolExecutor):
    """A pool of at most `threads` threads, called `NAME-...`; `close` ends it."""

    def __init__(self, threads: int, *, name: str) -> None:
        self._own = f"{name}-{next(_NUMBERS)}"
        super().__init__(threads, thread_name_prefix=self._own)

    def close(self) -> None:
        """Drop what was not begun and wait for what was, until no thread is left; doing it again does nothing."""
        self.shutdown(wait=True, cancel_futures=True)
        while left := self._left():
            for thread in left:
                with suppress(RuntimeError):  # it has not quite started
                    thread.join()

    def _left(self) -> list[threading.Thread]:
        # The collector may close a pool on one of its own threads, which cannot wait for itself.
        own, me = f"{self._own}_", threading.current_thread()
        return [thread for thread in threading.enumerate() if thread.name.startswith(own) and thread is not me]
