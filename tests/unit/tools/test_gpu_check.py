"""The check for machines with a GPU: what it says without one, what it counts as a failure, and that its code runs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from backends import needs_dali

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tools"))
import gpu_check
from gpu_check import far_apart, loading, parity, training, write_set

TOOL = Path(gpu_check.__file__)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_in_one_line():
    """Status 2, one line on stderr, nothing on stdout, nothing run."""
    done = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("gpu-check: no GPU to check")


def test_views_too_far_apart_are_a_failure():
    """A mean above 1 level or fewer than 99.9 % within 4 names the stored size."""
    near = {"parity": {"mean": 0.4, "within 4": 0.9999}}
    assert far_apart({"a": near}) == []
    others = {"b": {"parity": {"mean": 1.01, "within 4": 1.0}}, "c": {"parity": {"mean": 0.1, "within 4": 0.9989}}}
    assert far_apart({"a": near} | others) == ["b", "c"]


@needs_dali
@pytest.mark.slow
def test_all_that_it_measures_runs_on_the_cpu(tmp_path, monkeypatch):
    """A dry run over a few images gives each figure, and the views of both backends are within a level."""
    monkeypatch.setattr(sys.modules["gpu_loading"], "DRAWN", 6)
    device = torch.device("cpu")
    shards = write_set(tmp_path, 256, images=16)
    assert max(shards.table[["width", "height"]].max()) == 256
    found = parity(shards, device)
    assert found["largest"] <= 1
    rates = loading(shards, device, batch=8, rounds=1)
    assert all(rates[f"{name}, images/s"]["median"] > 0 for name in ("loader dali", "bare dali", "bare opencv"))
    steps = training(shards, device, batch=8, rounds=1)
    assert {"batch that stays, images/s", "dali, share of a step that waits"} <= set(steps)


def test_a_failing_test_is_counted(monkeypatch, tmp_path):
    """The status of pytest and counts come back as they are."""
    (tmp_path / "tests" / "gpu").mkdir(parents=True)
    (tmp_path / "tests" / "gpu" / "test_one.py").write_text("def test_a():\n    pass\n\ndef test_b():\n    assert 0\n")
    monkeypatch.setattr(gpu_check, "ROOT", tmp_path)
    assert gpu_check.tests(torch.device("cpu")) == {"passed": 1, "failed": 1, "status": 1}
