"""The real commands, as a user runs them, on small releases."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrfast import ShardSet

SHARD = str(Path(sys.executable).with_name("cxrfast-shard"))


def shard(*arguments, cwd=None):
    """Run cxrfast-shard to its end."""
    command = [SHARD, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Return a synthetic CheXpert of 40 images, drawn by the command."""
    out = tmp_path_factory.mktemp("phantom")
    done = shard("phantom", out, "--images", 40, "--seed", 3)
    assert done.returncode == 0, done.stderr
    assert "40 of 40 images" in done.stderr
    return out


def write_kermany(folder, count, *, side=120):
    """Write `count` small radiograph-like JPEGs under Kermany's names; return their paths."""
    paths = []
    for number in range(count):
        path = folder / "train" / ("NORMAL", "PNEUMONIA")[number % 2]
        path.mkdir(parents=True, exist_ok=True)
        path /= f"IM-{number:04}-0001.jpeg" if number % 2 == 0 else f"person{number}_virus_{number}.jpeg"
        noise = np.random.default_rng(number).integers(0, 256, (side, side + 9)).astype(np.uint8)
        cv2.imwrite(str(path), cv2.GaussianBlur(noise, (0, 0), 3))
        paths.append(path)
    return paths


def test_doctor_pack_and_open(phantom, tmp_path):
    """The way of the demo: each step prints what the next one is, and the set opens with all its images."""
    looked = shard("doctor", "chexpert", phantom)
    assert looked.returncode == 0, looked.stderr
    assert "a subset?" in looked.stdout
    assert f"Next: cxrfast-shard pack chexpert {phantom}" in looked.stdout
    out = tmp_path / "shards" / "chexpert"
    packed = shard("pack", "chexpert", phantom, "--out", out, "--long-side", 64, "--samples-per-shard", 16)
    assert packed.returncode == 0, packed.stderr
    assert "packing: 40 of 40 images" in packed.stderr
    assert "40 images" in packed.stdout
    assert "0 rejected" in packed.stdout
    assert f"--shards {out.parent}" in packed.stdout
    shards = ShardSet.open(out)
    assert len(shards) == 40
    assert shards.table["width"].max() <= 64
    seen = json.loads(shard("doctor", "chexpert", phantom, "--json").stdout)
    assert seen["images"] == 40
    assert seen["missing"] == seen["unlisted"] == []


def test_the_default_folder_and_a_second_run(phantom, tmp_path):
    """Without --out it is shards/DATASET; the same command again finds all done."""
    for said in ("packed in", "was packed already"):
        done = shard("pack", "chexpert", phantom, "--long-side", 32, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
    assert len(ShardSet.open(tmp_path / "shards" / "chexpert")) == 40


def test_broken_files_are_listed_and_too_many_of_them_fail(tmp_path):
    """One of each kind: within --max-rejects the rest is packed, beyond it the run ends with status 2 and the list."""
    paths = write_kermany(tmp_path / "src", 30)
    paths[0].write_bytes(b"")
    paths[1].write_bytes(paths[1].read_bytes()[:-50])
    paths[2].write_text("<html>404</html>")
    cv2.imwrite(str(paths[3]), np.zeros((400, 400), dtype=np.uint8))
    options = ("--max-pixels", 150_000)
    failed = shard("pack", "kermany", tmp_path / "src", "--out", tmp_path / "out", *options)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr
    assert "max-rejects" in failed.stderr
    assert not (tmp_path / "out" / "shardset.json").exists()
    done = shard("pack", "kermany", tmp_path / "src", "--out", tmp_path / "out", *options, "--max-rejects", 4)
    assert done.returncode == 0, done.stderr
    assert "26 images" in done.stdout
    assert "1 empty, 1 not-an-image, 1 too-large, 1 truncated" in done.stdout
    with (tmp_path / "out" / "rejected.csv").open(newline="") as file:
        codes = {row["path"]: row["code"] for row in csv.DictReader(file)}
    names = ("empty", "truncated", "not-an-image", "too-large")
    assert codes == {str(paths[at].relative_to(tmp_path / "src")): code for at, code in enumerate(names)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pack", "chexprt", "."], "did you mean chexpert?"),
        (["doctor", "chexpert", "."], "Looked for: train.csv"),
        (["doctor", "chexpert", "nowhere"], "is not a folder"),
        (["pack", "kermany", "nowhere"], "is not a folder"),
        (["phantom", "out", "--datasets", "nonsense"], "nonsense"),
    ],
)
def test_mistakes_end_with_one_message_and_status_2(arguments, message, tmp_path):
    """No traceback, nothing on stdout, nothing written."""
    done = shard(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_130_and_the_same_command_resumes(tmp_path):
    """The terminal's signal reaches workers too; the rerun gives a set as if nothing had happened."""
    first, *_ = write_kermany(tmp_path / "src", 1, side=1500)
    for number in range(1, 200):
        os.link(first, first.with_name(f"IM-{number:04}-0001.jpeg"))
    command = ["pack", "kermany", tmp_path / "src", "--out", tmp_path / "out", "--samples-per-shard", "8"]
    # A test run in the background of a shell has SIGINT ignored, and its children would inherit that.
    heeding = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from cxrfast.cli.shard import main\nmain()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", heeding, *map(str, command), "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in process.stderr:
        if line.startswith("packing: 0 of 200"):
            os.killpg(process.pid, signal.SIGINT)
            break
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130, error
    assert "Run the same command again" in error
    assert "Traceback" not in error
    assert not (tmp_path / "out" / "shardset.json").exists()
    done = shard(*command)
    assert done.returncode == 0, done.stderr
    assert len(ShardSet.open(tmp_path / "out")) == 200


def test_a_folder_that_may_not_be_read_is_the_users_to_mend(tmp_path):
    """Permissions are named, not traced."""
    write_kermany(tmp_path / "src", 2)
    if os.geteuid() == 0:
        pytest.skip("the superuser may read everything")
    (tmp_path / "src" / "train").chmod(0)
    done = shard("doctor", "kermany", tmp_path / "src")
    (tmp_path / "src" / "train").chmod(0o755)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr


def test_real_radiographs_are_packed(real_data, tmp_path):
    """30 originals of up to 2,000 pixels and more, links to read-only files, every one stored."""
    (tmp_path / "src" / "train" / "NORMAL").mkdir(parents=True)
    for path in sorted(real_data.glob("kermany_orig/train/NORMAL/*.jpeg"))[:30]:
        (tmp_path / "src" / "train" / "NORMAL" / path.name).symlink_to(path)
    done = shard("pack", "kermany", tmp_path / "src", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    table = ShardSet.open(tmp_path / "out").table
    assert len(table) == 30
    assert (table[["width", "height"]].max(axis=1) == 320).all()
    assert (table["label.NORMAL"] == 1).all()
    shutil.rmtree(tmp_path / "out")
