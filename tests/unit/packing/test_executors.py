import os
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from cxrfast.errors import PackError
from cxrfast.packing.executors import InlineExecutor, in_order, processes


class Counting(Executor):
    """Keeps jobs undone until their result is asked for, and counts how many wait."""

    def __init__(self):
        self.waiting = self.most = 0

    def submit(self, fn, /, *args):
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        outer = self

        class Late(Future):
            def result(self, timeout=None):
                outer.waiting -= 1
                return fn(*args)

        return Late()


@pytest.mark.parametrize("window", [1, 2, 7, 100])
def test_results_come_in_order_and_the_window_bounds_what_waits(window):
    """Whatever the window, results come in the jobs' order, and never more than the window is under way."""
    executor = Counting()
    assert list(in_order(executor, str, range(30), window=window)) == [str(number) for number in range(30)]
    assert executor.most == min(window, 30)


def test_jobs_are_taken_no_further_than_the_window():
    """The iterator of jobs is not drained ahead, so a million jobs take no memory."""
    taken = []
    jobs = (taken.append(number) or number for number in range(1000))
    results = in_order(InlineExecutor(), str, jobs, window=3)
    next(results)
    assert len(taken) == 3


def test_any_executor_gives_the_same():
    """Threads finish in any order; results do not."""
    with ThreadPoolExecutor(4) as threads:
        assert list(in_order(threads, str, range(50), window=8)) == [str(number) for number in range(50)]


def test_a_failing_job_raises_its_own_error():
    """What a job raises arrives where its result is taken."""
    results = in_order(InlineExecutor(), int, ["1", "x"], window=1)
    assert next(results) == 1
    with pytest.raises(ValueError, match="invalid literal"):
        next(results)


def test_a_dead_worker_is_said_in_words():
    """A worker killed from outside is a PackError with the remedy, not a hanging run."""
    with pytest.raises(PackError, match=r"worker died.*run again"), processes(2) as pool:
        list(in_order(pool, os._exit, [3, 3], window=2))
