"""`pack` and `finish` as commands: slices, recipes taken over, events for programs, and disks that are too small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_releases import contents

from cxrfast import ShardSet

SHARD = str(Path(sys.executable).with_name("cxrfast-shard"))
SMALL = ("--long-side", 64, "--samples-per-shard", 8)


def shard(*arguments):
    return subprocess.run([SHARD, *map(str, arguments)], capture_output=True, text=True)


def events(done):
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.fixture(scope="module")
def src(tmp_path_factory):
    """Return a release of 60 images under Kermany's names, one of them broken."""
    src = tmp_path_factory.mktemp("release")
    (src / "train" / "NORMAL").mkdir(parents=True)
    for number in range(60):
        noise = np.random.default_rng(number).integers(0, 256, (300, 350), dtype=np.uint8)
        cv2.imwrite(str(src / "train" / "NORMAL" / f"IM-{number:04}-0001.jpeg"), noise)
    (src / "train" / "NORMAL" / "IM-0007-0001.jpeg").write_bytes(b"GIF89a" + bytes(100))
    return src


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of its own of 1 MB; needs the superuser."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "cxrfast-test", disk]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only the superuser can mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_slices_say_what_is_left_and_the_last_commits(src, tmp_path):
    """The commands of a job array, one after the other; then `finish` has nothing left to do, and says so."""
    out = tmp_path / "kermany"
    command = ("pack", "kermany", src, "--out", out, *SMALL, "--max-rejects", 1)
    for index in range(3):
        unfinished = shard("finish", out)
        assert unfinished.returncode == 2
        assert ("shards are missing" if index else "nothing was begun") in unfinished.stderr
        done = shard(*command, "--slice", f"{index}/3")
        assert done.returncode == 0, done.stderr
        assert ("Shards of other slices still to be packed" in done.stdout) == (index < 2)
    assert "Next: cxrfast-train" in done.stdout
    assert len(ShardSet.open(out)) == 59
    finished = shard("finish", out)
    assert finished.returncode == 0
    assert "59 images" in finished.stdout
    assert shard(*command, "--slice", "3/3").returncode == 2


def test_events_are_json_alone_and_tell_everything(src, tmp_path):
    """Each line of stderr is an object; a reject has key, path, code and words; stdout is the summary."""
    done = shard("pack", "kermany", src, "--out", tmp_path / "set", *SMALL, "--max-rejects", 1, "--log-json")
    assert done.returncode == 0, done.stderr
    told = events(done)
    assert [event["event"] for event in told if event["event"] != "progress"] == ["start", "reject", "done"]
    assert told[0]["recipe"]["long_side"] == 64
    (reject,) = [event for event in told if event["event"] == "reject"]
    assert (reject["key"], reject["code"]) == ("kermany-IM-0007-0001", "unsupported")
    assert reject["path"] == "train/NORMAL/IM-0007-0001.jpeg"
    assert reject["detail"]
    progress = [event for event in told if event["event"] == "progress"]
    assert (progress[0]["done"], progress[0]["images_per_second"], progress[0]["seconds_left"]) == (0, 0, None)
    assert (progress[-1]["done"], progress[-1]["total"], progress[-1]["seconds_left"]) == (60, 60, 0)
    summary = json.loads(done.stdout)
    assert {name: told[-1][name] for name in summary} == summary
    assert (summary["images"], summary["packed"], summary["codes"]) == (59, 59, {"unsupported": 1})


def test_an_error_is_an_event_with_the_exit_status(src, tmp_path):
    """Programs read message and status; no other line is printed."""
    done = shard("pack", "kermany", src, "--out", tmp_path / "set", *SMALL, "--max-rejects", 0, "--log-json")
    assert done.returncode == 2
    assert done.stdout == ""
    last = events(done)[-1]
    assert (last["event"], last["status"]) == ("error", 2)
    assert "rejected so far" in last["message"]
    done = shard("pack", "kermany", tmp_path, "--out", tmp_path / "set", "--log-json")
    assert [event["event"] for event in events(done)] == ["start", "error"]
    assert done.returncode == 2


def test_a_recipe_is_taken_over_and_given_options_win(src, tmp_path):
    """--like takes every setting of another folder, finished or not; what is no packed folder is said to be none."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    given = ("--long-side", 48, "--codec", "png", "--samples-per-shard", 9, "--seed", 3, "--max-pixels", 200_000)
    assert shard("pack", "kermany", src, "--out", first, *given, "--max-rejects", 1).returncode == 0
    like = ("pack", "kermany", src, "--like", first, "--max-rejects", 1)
    assert shard(*like, "--out", second).returncode == 0
    assert contents(second) == contents(first)
    assert shard(*like, "--out", third, "--long-side", 32).returncode == 0
    recipes = [json.loads((out / "shardset.json").read_text())["recipe"] for out in (first, third)]
    assert recipes[1] == {**recipes[0], "long_side": 32}
    nothing = shard("pack", "kermany", src, "--out", tmp_path / "other", "--like", tmp_path)
    assert nothing.returncode == 2
    assert "is not a packed folder" in nothing.stderr


def test_a_disk_that_is_clearly_too_small_is_refused_at_the_start(src, small_disk):
    """Both sizes and the remedies are said, no shard is begun, and the check can be left out."""
    command = ("pack", "kermany", src, "--out", small_disk / "set", "--max-rejects", 1, "--workers", 1)
    refused = shard(*command)
    assert refused.returncode == 2
    for words in ("60 images", "need about ", "MB free", "--no-space-check"):
        assert words in refused.stderr
    assert not list(small_disk.glob("set/*.tar"))


def test_a_full_disk_stops_in_words_and_a_larger_one_goes_on(src, small_disk, tmp_path):
    """Nothing half-written looks whole; the same command resumes, to the bytes of an undisturbed run."""
    out = small_disk / "set"
    command = ("pack", "kermany", src, "--max-rejects", 1, "--workers", 2, "--samples-per-shard", 8)
    full = shard(*command, "--out", out, "--no-space-check")
    assert full.returncode == 2
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr
    assert list(out.glob("*.tar"))
    assert not (out / "shardset.json").exists()
    assert not list((out / ".packing").glob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    done = shard(*command, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "shards packed before:" in done.stdout
    assert shard(*command, "--out", tmp_path / "whole").returncode == 0
    assert contents(out) == contents(tmp_path / "whole")


def test_no_cluster_is_said_and_workers_are_its_own(src, tmp_path):
    """--dask beside --workers is refused as wrong usage."""
    done = shard("pack", "kermany", src, "--out", tmp_path / "set", "--dask", "tcp://127.0.0.1:9", "--workers", 2)
    assert done.returncode == 2
    assert "exclude each other" in done.stderr
