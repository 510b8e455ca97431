"""`verify`, its repair, and `show`, as a user runs them, on a release with real file formats."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_releases import contents

SHARD = str(Path(sys.executable).with_name("cxrfast-shard"))


def shard(*arguments):
    """Run cxrfast-shard to its end."""
    done = subprocess.run([SHARD, *(str(argument) for argument in arguments)], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def kermany(tmp_path_factory):
    """Return a folder with a small release in `src` and the set that was packed from it in `set`."""
    folder = tmp_path_factory.mktemp("kermany")
    for number in range(24):
        path = folder / "src" / "train" / ("NORMAL", "PNEUMONIA")[number % 2]
        path.mkdir(parents=True, exist_ok=True)
        path /= f"IM-{number:04}-0001.jpeg" if number % 2 == 0 else f"person{number}_virus_{number}.jpeg"
        noise = np.random.default_rng(number // 4).integers(0, 256, (90, 99)).astype(np.uint8)
        cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 3))
    packed = shard("pack", "kermany", folder / "src", "--out", folder / "set", "--samples-per-shard", 8)
    assert packed.returncode == 0, packed.stderr
    return folder


@pytest.fixture
def copy(kermany, tmp_path):
    return shutil.copytree(kermany / "set", tmp_path / "set")


def damage(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 2
    path.write_bytes(content)


def test_a_whole_set_is_said_to_be_whole(kermany):
    """Status 0, counts and copies; images of the same bytes are notes and no fault."""
    done = shard("verify", kermany / "set", "--decode")
    assert done.returncode == 0, done.stderr
    assert "24 images in 3 shards" in done.stdout
    assert "6 groups of images have the same stored bytes" in done.stdout
    assert "All is as it was packed." in done.stdout
    assert "verifying: 24 of 24 images" in done.stderr


def test_damage_is_named_and_repaired(kermany, copy):
    """Status 1 with shard, key and byte; as JSON the same; --repair gives the old bytes back, and then status 0."""
    damage(copy / "kermany-00001.tar", 700)
    (copy / "kermany-00002.idx").unlink()
    done = shard("verify", copy)
    assert done.returncode == 1
    assert "byte 700: one bit of the stored image is flipped" in done.stdout
    assert "kermany-00002.idx" in done.stdout
    assert "2 findings: this is not what was packed." in done.stdout
    printed = json.loads(shard("verify", copy, "--json").stdout)
    flipped, lost = printed["findings"]
    assert (flipped["kind"], flipped["file"], flipped["shard"], flipped["offset"]) == (
        "image",
        "kermany-00001.tar",
        1,
        700,
    )
    assert flipped["key"].startswith("kermany-")
    assert (lost["kind"], lost["file"], lost["shard"]) == ("missing", "kermany-00002.idx", 2)
    assert {note["kind"] for note in printed["notes"]} == {"same-bytes"}
    done = shard("verify", copy, "--repair", kermany / "src")
    assert done.returncode == 0, done.stderr
    assert "kermany-00001.tar, kermany-00002.idx. All is as it was packed." in done.stdout
    assert contents(copy) == contents(kermany / "set")
    assert shard("verify", copy, "--repair", kermany / "src").returncode == 0


def test_what_cannot_be_repaired_is_refused(kermany, copy, tmp_path):
    """Another release ends with status 2 and what differs; a stranger's file is left, with status 1."""
    damage(copy / "kermany-00001.tar", 700)
    src = shutil.copytree(kermany / "src", tmp_path / "src")
    next(src.rglob("*.jpeg")).unlink()
    done = shard("verify", copy, "--repair", src)
    assert done.returncode == 2
    assert "24 images there, 23 here" in done.stderr
    (copy / "notes.txt").touch()
    done = shard("verify", copy, "--repair", kermany / "src")
    assert done.returncode == 1
    assert "1 of 2 findings are left" in done.stdout
    after = done.stdout.partition("After the repair:")[2]
    assert "notes.txt" in after
    assert "byte 700" not in after
    damage(copy / "kermany-00001.tar", 700)
    printed = json.loads(shard("verify", copy, "--repair", kermany / "src", "--json").stdout)
    assert [finding["file"] for finding in printed["left"]] == ["notes.txt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "nowhere"], "there is no folder nowhere"),
        (["verify", "."], "is not a shard set"),
        (["verify"], "Missing argument"),
        (["verify", "a", "b", "--repair", "src"], "one SHARDSET at a time"),
        (["show", "nowhere"], "there is no folder"),
        (["show", "nowhere", "--out", "sheet.jpg"], "end it with .png"),
        (["show", "nowhere", "--view", "papr"], "papr"),
    ],
)
def test_mistakes_end_with_one_message_and_status_2(arguments, message, tmp_path, monkeypatch):
    """No traceback, nothing on stdout, nothing written."""
    monkeypatch.chdir(tmp_path)
    done = shard(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_show_prints_the_paths_of_its_sheets(kermany, tmp_path):
    """Every line is a PNG that can be opened."""
    done = shard("show", kermany / "set", "--out", tmp_path / "sheet.png", "--images", 5, "--view", "simclr")
    assert done.returncode == 0, done.stderr
    paths = done.stdout.split()
    assert [Path(path).name for path in paths] == ["sheet.png", "sheet-views.png", "sheet-labels.png"]
    assert all(cv2.imread(path) is not None for path in paths)
