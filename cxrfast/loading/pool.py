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
        while left := [thread for thread in threading.enumerate() if thread.name.startswith(f"{self._own}_")]:
            for thread in left:
                with suppress(RuntimeError):  # it has not quite started
                    thread.join()
