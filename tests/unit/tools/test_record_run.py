"""A finished run's findings are copied under a name that says what, where and when; an unfinished run is refused."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[3] / "tools" / "record_run.py"
START = {
    "started": "2026-11-23T04:23:28Z",
    "cpu": "Intel(R) Xeon(R) Processor",
    "cpus": 2,
    "gpu": None,
    "commit": "11d29fcfa68a",
    "packages": {"cxrfast": "0.1.0"},
}


def record(run: Path, results: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), str(run), "--results", str(results)], capture_output=True, text=True
    )


def finished_run(folder: Path) -> Path:
    for name in (
        "report.md",
        "table.csv",
        "figures/losses.png",
        "baseline/metrics.csv",
        "baseline/best.pt",
        "report.html",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (folder / "environment.json").write_text(json.dumps([START]))
    return folder


def test_the_findings_are_copied_and_weights_are_not(tmp_path: Path) -> None:
    """Table, report, figures and metrics come along; weights, predictions and the large HTML file stay."""
    done = record(finished_run(tmp_path / "kermany"), tmp_path / "results")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder.name == "kermany_intel-xeon-2c_20261123_11d29fcfa68a"
    copied = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert copied == {"report.md", "table.csv", "figures/losses.png", "baseline/metrics.csv", "environment.json"}


def test_an_unfinished_run_is_refused(tmp_path: Path) -> None:
    """Without a report nothing is copied, and the message says how to finish the run."""
    (tmp_path / "run").mkdir()
    done = record(tmp_path / "run", tmp_path / "results")
    assert done.returncode != 0
    assert "start cxrfast-train again" in done.stderr
    assert not (tmp_path / "results").exists()
