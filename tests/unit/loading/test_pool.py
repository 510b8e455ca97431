"""Closing a pool leaves no thread, one that the pool itself has forgotten neither."""

import threading
import time

import pytest

from cxrfast.loading.pool import ThreadPool


def named(prefix):
    return [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]


@pytest.mark.parametrize("forgotten", [False, True])
def test_no_thread_is_left(forgotten):
    """Ctrl-C in the middle of a thread's start leaves it out of the pool's list; closing waits for it all the same."""
    pool, other = ThreadPool(3, name="some-pool"), ThreadPool(1, name="some-pool")
    kept = other.submit(threading.current_thread).result()
    for _ in range(3):
        pool.submit(time.sleep, 0.3)
    if forgotten:
        pool._threads.clear()  # what an exception between a thread's start and its entry in the list leaves
    assert len(named("some-pool")) == 4
    pool.close()
    assert named("some-pool") == [kept]
    pool.close()
    other.close()
    assert named("some-pool") == []
