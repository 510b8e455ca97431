"""The renderers that a contract is tested with: DALI in its form for the CPU, skipped where it is not installed."""

import os
import time
from pathlib import Path

import pytest

from cxrfast import Reading
from cxrfast.loading.counters import Counters
from cxrfast.loading.damage import Budget, Substitutes
from cxrfast.loading.render_dali import installed
from cxrfast.loading.samples import Samples

needs_dali = pytest.mark.skipif(not installed(), reason="NVIDIA DALI is not installed")
BACKENDS = ["opencv", pytest.param("dali", marks=needs_dali)]


def native_threads() -> int:
    """Return how many threads the process has, those of C++ libraries too."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def ends_with(threads: int) -> bool:
    """Return whether no more native threads are left; one that was joined stays listed for a moment."""
    deadline = time.monotonic() + 30
    while native_threads() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    return native_threads() <= threads


def shared_memory() -> set[str]:
    """Return what lies in /dev/shm."""
    return {path.name for path in Path("/dev/shm").iterdir()}


def no_substitutes(samples: Samples) -> Substitutes:
    """Return what raises every damaged sample, since none may be skipped."""
    counters = Counters()
    return Substitutes(
        None, samples, drawing=None, read=None, budget=Budget(Reading(), counters), counters=counters
    )  # fmt: skip
