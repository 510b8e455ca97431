"""A run folder knows what run it is, and in what environments it was started."""

import json
from pathlib import Path

import pytest
from small_runs import experiment

from cxrfast.errors import RunMismatch
from cxrfast.experiment import folder as folders


def test_an_environment_is_noted_where_it_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting again in the same environment adds nothing; another version adds an entry behind the first."""
    folders.claim(tmp_path, experiment())
    folders.claim(tmp_path, experiment())
    assert len(folders.starts(tmp_path)) == 1
    first = folders.starts(tmp_path)[0]
    monkeypatch.setattr(folders, "version", lambda name: "9.9")
    folders.claim(tmp_path, experiment())
    assert folders.starts(tmp_path)[0] == first
    assert [start["packages"]["torch"] for start in folders.starts(tmp_path)] == [first["packages"]["torch"], "9.9"]


def test_a_folder_of_another_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Other settings name what differs, now and then, and change no file."""
    folders.claim(tmp_path, experiment())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RunMismatch, match="size: 48, was 32"):
        folders.claim(tmp_path, experiment("size=48"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_neutral_settings_are_taken_over(tmp_path: Path) -> None:
    """More epochs of an open-ended schedule, another device or text go on with the run, and config.yaml follows."""
    folders.claim(tmp_path, experiment())
    folders.claim(tmp_path, experiment("classifier.fit.epochs=9", "about=longer"))
    assert "longer" in (tmp_path / "config.yaml").read_text()


def test_the_environment_is_plain_json(tmp_path: Path) -> None:
    """What is written names the machine, the packages, the commit and the command."""
    folders.claim(tmp_path, experiment())
    (start,) = json.loads((tmp_path / "environment.json").read_text())
    assert {"started", "command", "python", "packages", "cpu", "cpus", "gpu", "commit"} == set(start)
