"""Damaged sets are repaired to the byte from real releases, or refused; killed repairs are finished by the next."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import small_releases
from small_releases import NAME, contents, write_release

from cxrfast import chance
from cxrfast.errors import PackError
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.repair import repair
from cxrfast.packing.run import pack
from cxrfast.packing.slices import held
from cxrfast.packing.verify import WORK, verify
from cxrfast.packing.write import STAGING
from cxrfast.shardset.format import readable_json

RECIPE = Recipe(NAME, long_side=48, samples_per_shard=8)
EVERY_FILE = [
    *(f"{NAME}-0000{shard}.{kind}" for shard in range(3) for kind in ("tar", "idx")),
    "plan.json", "manifest.parquet", "rejected.csv", "shardset.json",
]  # fmt: skip

# Kills itself at the n-th step that changes the disk, for n = 1, 2, ... until a repair ends before its n-th step; after
# each kill, repairs again and prints whether the set is whole.
STEPPER = """
import pickle, shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from small_releases import contents
from stepping import run_to_step
from cxrfast.packing.repair import repair
from cxrfast.packing.verify import verify

folder = Path(sys.argv[1])
release = pickle.loads((folder / "release.pickle").read_bytes())

def run(target, fatal):
    def work():
        left, _ = repair(target, folder / "src", verify([target], workers=1).findings, release=release, workers=1)
        return len(left)
    return run_to_step(work, fatal)

fatal = 1
while True:
    target = folder / f"set-{fatal}"
    shutil.copytree(folder / "damaged", target)
    code, again = run(target, fatal), run(target, 0)
    print(code, again, contents(target) == contents(folder / "set"), flush=True)
    if code == 0:
        break
    fatal += 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a release in `src` and in `set` what packing made of it: an empty file and a missing one."""
    folder = tmp_path_factory.mktemp("repair")
    release = write_release(folder / "src", 20)
    (folder / "src" / release.table["path"].iloc[7]).write_bytes(b"")
    (folder / "src" / release.table["path"].iloc[2]).unlink()
    (folder / "release.pickle").write_bytes(pickle.dumps(release))
    pack(release, folder / "src", folder / "set", recipe=RECIPE, workers=1, max_rejects=5)
    return folder


@pytest.fixture
def copy(folder, tmp_path):
    """Return a copy of the set to damage."""
    return shutil.copytree(folder / "set", tmp_path / "set")


def repaired(folder, out, *, release=None, **settings):
    release = release or pickle.loads((folder / "release.pickle").read_bytes())
    findings = verify([out], workers=1).findings
    assert findings
    return repair(out, folder / "src", findings, release=release, workers=1, **settings)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


@pytest.mark.parametrize("fault", [flip, lambda path: path.unlink(), lambda path: os.truncate(path, 10)])
@pytest.mark.parametrize("name", EVERY_FILE)
def test_any_damaged_file_is_made_anew(folder, copy, name, fault):
    """Flipped, gone or cut: it gets its old bytes, nothing else is written, and nothing is left over."""
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    fault(copy / name)
    assert repaired(folder, copy) == ([], [name])
    assert contents(copy) == contents(folder / "set")
    assert {path.name for path in copy.iterdir() if path.stat().st_mtime_ns != before[path.name]} == {name}
    assert verify([copy]).findings == []


def test_a_bit_of_the_record_is_mended_from_all_the_rest(folder, copy):
    """shardset.json has no checksum, but each bit of it follows from the other files, and is put right by them."""
    path = copy / "shardset.json"
    whole = path.read_bytes()
    for number in range(12):
        content = bytearray(whole)
        at = int(chance.integers(len(whole), "record", number))
        content[at] ^= 1 << number % 7
        path.write_bytes(content)
        left, replaced = repaired(folder, copy)
        assert (left, replaced) == ([], ["shardset.json"]), f"byte {at}"
        assert path.read_bytes() == whole


def test_all_files_but_the_record_at_once(folder, copy):
    """Where only shardset.json is whole, the release gives everything back."""
    for name in EVERY_FILE[:-1]:
        (copy / name).unlink()
    left, replaced = repaired(folder, copy)
    assert left == []
    assert set(replaced) == set(EVERY_FILE[:-1])
    assert contents(copy) == contents(folder / "set")


def test_swapped_tars_are_packed_again_and_strangers_stay(folder, copy):
    """A renamed tar is made anew under its name; what it became is somebody's file, and remains a finding."""
    (copy / f"{NAME}-00000.tar").rename(copy / "kept.tar")
    left, replaced = repaired(folder, copy)
    assert [(finding.kind, finding.file) for finding in left] == [("extra", "kept.tar")]
    assert replaced == [f"{NAME}-00000.tar"]
    (copy / "kept.tar").unlink()
    assert contents(copy) == contents(folder / "set")


def refused(folder, copy, match, **settings):
    before = contents(copy)
    with pytest.raises(PackError, match=match):
        repaired(folder, copy, **settings)
    return contents(copy) == before


def test_another_release_recipe_or_version_is_refused(folder, copy, monkeypatch):
    """What differs is named, and no file changes."""
    flip(copy / f"{NAME}-00001.tar")
    release = pickle.loads((folder / "release.pickle").read_bytes())
    assert refused(folder, copy, "table of keys and paths", release=replace(release, table=release.table.iloc[1:]))
    other = release.table.assign(age=1.0)
    assert refused(folder, copy, "other labels or other records", release=replace(release, table=other))
    monkeypatch.setattr("cxrfast.packing.plan.codec_versions", lambda: {"opencv": "4.0.0"})
    assert refused(folder, copy, "package opencv is .* there, 4.0.0 here")


def test_images_that_have_changed_since_are_refused(folder, copy, tmp_path):
    """The plan is the same but an image is not: the shard's bytes would differ, so the damaged tar stays as it is."""
    src = shutil.copytree(folder / "src", tmp_path / "src")
    for path in src.rglob("*.jpg"):
        shutil.copy(next(src.rglob("view0.png")), path)
    shutil.copy(folder / "release.pickle", tmp_path)
    flip(copy / f"{NAME}-00001.tar")
    flip(copy / f"{NAME}-00000.idx")
    assert not refused(tmp_path, copy, "00001.tar would get other bytes")
    assert [finding.file for finding in verify([copy]).findings] == [f"{NAME}-00001.tar"]
    assert not (copy / STAGING).exists()
    assert repaired(folder, copy) == ([], [f"{NAME}-00001.tar"])
    assert contents(copy) == contents(folder / "set")


def test_a_record_that_nothing_bears_out_is_not_made_up(folder, copy):
    """With shardset.json and a tar damaged nothing says what is right; the user is told so."""
    flip(copy / "shardset.json")
    flip(copy / f"{NAME}-00002.tar")
    assert refused(folder, copy, "pack again into an empty folder")


def test_a_folder_that_is_being_packed_is_left_alone(folder, copy):
    """Packing and repairing hold the same lock."""
    flip(copy / "plan.json")
    with held(copy):
        assert refused(folder, copy, "another process")


def test_sigkill_before_every_step_on_disk(folder, tmp_path):
    """Each fsync, rename, removal may be a repair's last; no file is worse than before, and the next repair ends it."""
    for name in ("src", "set", "release.pickle"):
        (tmp_path / name).symlink_to(folder / name)
    damaged = shutil.copytree(folder / "set", tmp_path / "damaged")
    for name in (f"{NAME}-00000.tar", "manifest.parquet"):
        flip(damaged / name)
    done = subprocess.run(
        [sys.executable, "-c", STEPPER, tmp_path, Path(small_releases.__file__).parent],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rounds = done.stdout.splitlines()
    assert len(rounds) > 20
    assert set(rounds[:-1]) == {f"{-signal.SIGKILL} 0 True"}
    assert rounds[-1] == "0 0 True"
    assert not (tmp_path / "set-1" / WORK).exists()


def test_a_resealed_plan_is_refused_and_stays_a_finding(folder, copy):
    """A plan that counts other images under a matching checksum: repair changes nothing, and verify still finds it."""
    plan, commit = copy / "plan.json", copy / "shardset.json"
    wrong = plan.read_bytes().replace(b'"images": 20', b'"images": 21')
    document = json.loads(commit.read_bytes())
    document["files"]["plan.json"]["sha256"] = document["plan"] = sha256(wrong).hexdigest()
    plan.write_bytes(wrong)
    commit.write_bytes(readable_json(document))
    before = contents(copy)
    with pytest.raises(PackError):
        repaired(folder, copy)
    assert contents(copy) == before
    assert verify([copy]).findings


@pytest.mark.parametrize("changes", [{"missing": 5}, {"missing": [[1]]}, {"packages": [1]}, {"recipe": {}}])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_plan_that_is_none_is_refused_in_words(folder, copy, changes, sealed):
    """Beside a damaged shardset.json, or sealed by it, nothing tells what was packed; no file is changed."""
    plan, commit = copy / "plan.json", copy / "shardset.json"
    plan.write_bytes(readable_json(json.loads(plan.read_bytes()) | changes))
    document = json.loads(commit.read_bytes())
    document["files"]["plan.json"] = {"size": plan.stat().st_size, "sha256": sha256(plan.read_bytes()).hexdigest()}
    document["plan"] = document["files"]["plan.json"]["sha256"]
    commit.write_bytes(readable_json(document) if sealed else b"{")
    assert refused(folder, copy, r"plan\.json")


@pytest.mark.parametrize("content", [b"name,why\na,b\n", b"key,path,code\n\xff,a,b\n"])
def test_a_damaged_list_of_rejects_beside_a_damaged_record_is_refused(folder, copy, content):
    """Without both nothing tells why an image was rejected; the message names the list."""
    (copy / "rejected.csv").write_bytes(content)
    (copy / "shardset.json").write_bytes(b"{")
    assert refused(folder, copy, r"rejected\.csv is damaged")
