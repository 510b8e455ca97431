import csv
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from unit.learning.fakes import same_bits
from unit.learning.fit_job import job

JOB = Path(__file__).with_name("fit_job.py")
TIMED = {"seconds", "images_per_second", "wait_share"}


def outcome(folder):
    """Everything that must not depend on a kill: weights, optimiser, queue, best weights, metrics but for times."""
    last, best = (torch.load(folder / name, weights_only=True) for name in ("last.pt", "best.pt"))
    with (folder / "metrics.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(file)]
    moments = {f"{i}.{k}": v for i, state in last["optimizer"]["state"].items() for k, v in state.items()}
    return last["model"], moments, best["model"], (best["epoch"], best["loss"], last["state"]["step"], rows)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    job(folder)
    return outcome(folder)


@pytest.mark.parametrize("minutes", [0, 10])
def test_a_killed_fit_ends_in_the_bits_of_an_undisturbed_one(tmp_path, undisturbed, minutes):
    """SIGKILL at a random step or within the writing of a file, then the same call again: equal weights bit for bit.

    With checkpoints at each step (0) the run goes on from within the epoch, with rare ones (10) from the last epoch; a
    kill before the first checkpoint starts it anew.
    """
    kill_at = random.randrange(8, 40 if minutes == 0 else 24)
    killed = subprocess.run([sys.executable, str(JOB), str(tmp_path), str(kill_at), str(minutes)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, (kill_at, killed.stderr.decode())
    last = tmp_path / "last.pt"
    before = torch.load(last, weights_only=True)["state"]["step"] if last.exists() else 0
    job(tmp_path, checkpoint_minutes=minutes)
    for ours, theirs in zip(outcome(tmp_path), undisturbed, strict=True):
        same = same_bits(ours, theirs) if isinstance(ours, dict) else ours == theirs
        assert same, f"killed at event {kill_at}, resumed from step {before}"
    assert not list(tmp_path.glob(".*.partial"))
