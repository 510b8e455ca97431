"""`cxrfast-train` as a user runs it: one command, killed and started again, refused in words, and it does learn."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import torch
from small_runs import SETTINGS

STAGES = ("baseline", "pretext", "finetuned")
TIMES = ["seconds", "images_per_second", "wait_share"]
# Networks this small wait longer for a second thread than it saves, and the tests run beside each other.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def command(shards: Path, run: Path, *overrides: str) -> list[str]:
    options = [word for override in (*SETTINGS, *overrides) for word in ("-o", override)]
    base = [sys.executable, "-m", "cxrfast.cli.train", "--config", "demo.yaml", "--shards", str(shards)]
    return [*base, "--run", str(run), *options]


def train(shards: Path, run: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(shards, run, *overrides), capture_output=True, text=True, env=ENVIRONMENT)


@pytest.fixture(scope="module")
def undisturbed(phantom_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder of the small experiment, trained without a break."""
    run = tmp_path_factory.mktemp("run") / "undisturbed"
    done = train(phantom_shards, run)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("report.html")
    return run


def weights(run: Path, stage: str, name: str) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / stage / name, weights_only=True)["model"]
    return state


def assert_same_run(run: Path, other: Path) -> None:
    """Two runs have the same weights to the bit, the same metrics but for times, and the same table."""
    for stage in STAGES:
        for name in ("best.pt", "last.pt"):
            ours, theirs = weights(run, stage, name), weights(other, stage, name)
            assert ours.keys() == theirs.keys()
            assert all(torch.equal(ours[key], theirs[key]) for key in ours), (stage, name)
        metrics = [pd.read_csv(folder / stage / "metrics.csv").drop(columns=TIMES) for folder in (run, other)]
        pd.testing.assert_frame_equal(*metrics, check_exact=True)
    assert (run / "table.csv").read_bytes() == (other / "table.csv").read_bytes()


def test_a_run_leaves_what_the_design_promises(undisturbed: Path) -> None:
    """Settings, environment, split and hash, three stages, table, figures, and two reports, one a single file."""
    for name in (
        "config.yaml",
        "environment.json",
        "split.csv",
        "split.sha256",
        "table.csv",
        "report.md",
        "report.html",
    ):
        assert (undisturbed / name).stat().st_size, name
    for stage in STAGES:
        assert {"best.pt", "last.pt", "metrics.csv"} <= {path.name for path in (undisturbed / stage).iterdir()}
    html = (undisturbed / "report.html").read_text()
    assert html.count("data:image/png;base64") == 3
    assert "synthetic phantoms" in html
    assert "random starting weights" in html
    split = hashlib.sha256((undisturbed / "split.csv").read_bytes()).hexdigest()
    assert (undisturbed / "split.sha256").read_text().startswith(split)
    assert split in html
    assert split in (undisturbed / "report.md").read_text()
    assert json.loads((undisturbed / "environment.json").read_text())[0]["packages"]["torch"] == version("torch")
    table = pd.read_csv(undisturbed / "table.csv")
    assert table["class"].iloc[-1] == "Total"
    assert len(table) == 15


def test_started_again_a_finished_run_trains_nothing(phantom_shards: Path, undisturbed: Path) -> None:
    """The same command on a finished run writes the report again and leaves every weight as it is."""
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.pt")}
    done = train(phantom_shards, undisturbed)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*.pt")} == before


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_run_ends_like_an_undisturbed_one(
    phantom_shards: Path, undisturbed: Path, tmp_path: Path, seed: int
) -> None:
    """SIGKILL at a drawn step of a drawn stage, then the same command: the same weights, metrics and table."""
    draw = random.Random(seed)
    stage, step = STAGES[seed], draw.randrange(1, 8)
    every_step = ("pretext.fit.checkpoint_minutes=0", "classifier.fit.checkpoint_minutes=0")
    run = tmp_path / "run"
    process = subprocess.Popen(
        command(phantom_shards, run, *every_step), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for_step(run / stage / "last.pt", step, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (run / "report.md").exists()
    done = train(phantom_shards, run)
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stderr
    assert_same_run(run, undisturbed)


def _wait_for_step(checkpoint: Path, step: int, process: "subprocess.Popen[bytes]") -> None:
    """Return once the checkpoint of a stage stands at or after a step."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        if checkpoint.exists() and torch.load(checkpoint, weights_only=True)["state"]["step"] >= step:
            return
        time.sleep(0.02)
    pytest.fail(f"{checkpoint} did not reach step {step}")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("classifier.fit.optimizer.lr=0.5", "classifier.fit.optimizer.lr: 0.5, was 0.0003"),
        ("classifier.fit.epoch=3", "did you mean 'classifier.fit.epochs'"),
        ("data.datasets=[kermany]", "cxrfast-shard pack kermany"),
        ("runtime.device=cuda:7", "GPU"),
        ("weights=absent.pth", "absent.pth"),
    ],
)
def test_mistakes_end_with_one_message(phantom_shards: Path, undisturbed: Path, override: str, words: str) -> None:
    """Other settings in a run, an unknown key, a missing set, device or file: status 2, a sentence, no traceback."""
    if override.startswith("runtime") and torch.cuda.device_count() > 7:
        pytest.skip("this machine has that GPU")
    folder = undisturbed.parent / "other" if override.startswith("weights") else undisturbed
    done = train(phantom_shards, folder, override)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_process_is_kept_out(phantom_shards: Path, undisturbed: Path) -> None:
    """While one process writes a run, another is refused; when it is gone, nothing is in the way."""
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"""
import time
from importlib.metadata import version
from pathlib import Path
from cxrfast.experiment.folder import held
with held(Path({str(undisturbed)!r})):
    print("held", flush=True)
    time.sleep(600)
""",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        done = train(phantom_shards, undisturbed)
        assert done.returncode == 2
        assert "another process" in done.stderr
    finally:
        holder.kill()
        holder.wait()
    assert train(phantom_shards, undisturbed).returncode == 0


@pytest.mark.slow
def test_training_learns(phantom_shards: Path, tmp_path: Path) -> None:
    """On phantoms whose findings follow the labels, a few epochs rank unseen patients far better than chance."""
    done = train(phantom_shards, tmp_path / "run", "size=64", "pretext=null", "classifier.fit.epochs=8")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "run" / "table.csv").set_index("class")["baseline.auroc"]
    assert table["Total"] > 0.65
    assert table["Edema"] > 0.75
