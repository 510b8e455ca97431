"""`cxrfast-shard doctor` on a release in which everything is wrong that a download can do to it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHARD = str(Path(sys.executable).with_name("cxrfast-shard"))


def doctor(*arguments, cwd):
    command = [SHARD, "doctor", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def broken(phantom_release, tmp_path):
    """Return a copy of a synthetic release and, by what was done to it, the paths of its images."""
    src = tmp_path / "src"
    shutil.copytree(phantom_release, src / phantom_release.name)
    images = sorted((src / phantom_release.name / "train").rglob("*.jpg"))
    gone, cut, twin = images[3], images[10], images[20]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-200])
    shutil.copy(images[21], twin)
    stray = twin.with_name("view9_frontal.jpg")
    shutil.copy(images[30], stray)
    table = src / phantom_release.name / "valid.csv"
    table.write_text(table.read_text().rstrip("\n").rpartition(",")[0].rpartition(",")[0])
    (table.parent / "SYNTHETIC.txt").touch()
    named = {"gone": gone, "cut": cut, "twin": twin, "stray": stray, "twin of": images[21]}
    return src, {what: str(path.relative_to(src)) for what, path in named.items()}


def test_a_broken_download_is_seen_through(broken, tmp_path):
    """Missing, stray, cut and doubled images by name, a table cut off, a synthetic origin; on a page and as JSON."""
    src, paths = broken
    options = ("--decode", 1000, "--hash", "--out", tmp_path / "out")
    done = doctor("chexpert", src, *options, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["missing"] == [paths["gone"]]
    assert seen["unlisted"] == [paths["stray"]]
    assert [image["path"] for image in seen["trial"]["unreadable"]] == [paths["cut"]]
    assert seen["trial"]["drawn"] == seen["images"] - 1
    assert [set(group["paths"]) for group in seen["duplicates"]["groups"]] == [{paths["twin"], paths["twin of"]}]
    assert any("valid.csv ends inside its last row" in finding for finding in seen["findings"])
    assert any("synthetic" in finding for finding in seen["findings"])
    assert seen["packed"]["bytes"] > 0
    assert seen["terms"]
    page = doctor("chexpert", src, *options, cwd=tmp_path)
    assert page.returncode == 0, page.stderr
    for what in ("gone", "cut", "twin", "stray"):
        assert paths[what] in page.stdout
    last, before = page.stdout.splitlines()[-1], page.stdout.splitlines()[-4:-2]
    assert last == f"Next: cxrfast-shard pack chexpert {src} --out {tmp_path / 'out'}"
    assert before[0] == f"Terms of use: {seen['terms']}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["src"]
