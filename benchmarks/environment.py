"""What a figure was measured on: it stands beside every result."""

import ctypes
import gc
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("numpy", "pandas", "pyarrow", "opencv-python-headless", "pillow")


def environment() -> dict[str, object]:
    """Return processor, cores, memory, load, versions, commit and time."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "commit": _commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def peak_megabytes() -> float:
    """Return the highest resident size of this process so far, in MB (10**6 bytes).

    `ru_maxrss` would begin with the size of the parent that forked this process; VmHWM begins with the program.
    """
    return _status("VmHWM")


def forget_peak() -> None:
    """Let `peak_megabytes` begin anew from the resident size of now, after giving back what was freed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def resident_megabytes() -> float:
    """Return the resident size of this process now, in MB (10**6 bytes)."""
    return _status("VmRSS")


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(f"/proc/self/status has no {field}")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
