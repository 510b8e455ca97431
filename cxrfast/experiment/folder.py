"""The run folder: one run, one writer, and a refusal in words where it holds another run.

The same command started again must resume, so the folder itself remembers what it is: `config.yaml` and the split's
hash. Comparing those two, rather than keeping a record of its own, leaves nothing that could disagree with them.
"""

import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cxrfast.durable import write_whole
from cxrfast.errors import RunMismatch
from cxrfast.experiment.config import Experiment
from cxrfast.experiment.files import dump, load
from cxrfast.experiment.parts import Parts, split_digest, split_table
from cxrfast.learning.settings import differences

Facts = dict[str, Any]

_PACKAGES = (
    "cxrfast", "torch", "torchvision", "numpy", "pandas", "scikit-learn", "opencv-python-headless", "pyarrow",
    "webdataset",
)  # fmt: skip


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process alone; the kernel lets go of it however the process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise RunMismatch(f"{folder} is not a folder, and cannot become one; choose another --run") from None
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunMismatch(
                f"another process is writing the run {folder}; wait for it, or choose another --run"
            ) from None
        yield


def claim(folder: Path, experiment: Experiment) -> None:
    """Make the folder this experiment's, or check that it already is; raises RunMismatch naming what differs."""
    config = folder / "config.yaml"
    if config.exists():
        changed = differences(experiment.identity(), load(config).identity())
        if changed:
            listing = "\n  ".join(changed)
            raise RunMismatch(
                f"{folder} holds a run of other settings:\n  {listing}\n"
                "choose another folder by --run, or go back to those settings"
            )
    write_whole(config, dump(experiment).encode())
    _record_start(folder / "environment.json")


def record_split(folder: Path, parts: Parts) -> str:
    """Write `split.csv` and its hash, or check that they are this run's; returns the split's SHA-256."""
    csv = split_table(parts).to_csv(index=False).encode()
    digest = split_digest(parts, csv)
    recorded = folder / "split.sha256"
    if recorded.exists() and recorded.read_text() != digest:
        before, now = recorded.read_text().splitlines(), digest.splitlines()
        names = ", ".join(sorted({line.partition("  ")[2] or "damaged lines" for line in set(before) ^ set(now)}))
        raise RunMismatch(
            f"{folder} holds a run on other data: {names} differ from what was recorded in {recorded}; "
            "the shard sets have changed since. Choose another folder by --run, or bring the old shards back"
        )
    write_whole(folder / "split.csv", csv)
    write_whole(recorded, digest.encode())
    return digest.split()[0]


def starts(folder: Path) -> list[Facts]:
    """Return the environments that the run was started in, the first one first; one entry while nothing changed."""
    path = folder / "environment.json"
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not (isinstance(found, list) and found and all(isinstance(start, dict) for start in found)):
        raise RunMismatch(f"{path} is damaged; remove it and run again: what the run was started in is then noted anew")
    return found


def _record_start(path: Path) -> None:
    """Note in what the run is started, where that differs from how it was started before."""
    before, now = starts(path.parent), environment()
    if not before or {**before[-1], "started": now["started"]} != now:
        write_whole(path, (json.dumps([*before, now], indent=2) + "\n").encode())


def environment() -> Facts:
    """Return what a reader needs to judge or repeat the figures: versions, machine, commit, command."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": gpu,
        "commit": _commit(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit of the checkout that runs, with `+changes` where it was edited; None when installed."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty=+changes", "--abbrev=12"]
    try:
        tracked = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", __file__], capture_output=True, check=False
        )
        done = subprocess.run(git, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if tracked.returncode == 0 and done.returncode == 0 else None
