"""Slices of one set, on many machines that share a disk: in any order, at once, killed and resumed, the same bytes.

Here the machines are processes of this one. Kills are real and their moments counted in images, or in steps on disk.
"""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import small_releases
from packers import SIGNALLED, run, start
from small_releases import NAME, contents, write_release

from cxrfast import chance
from cxrfast.errors import PackError, ShardSetError
from cxrfast.packing.finish import finish
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack
from cxrfast.packing.slices import Slice
from cxrfast.shardset.shardset import ShardSet

COUNT = 160
RECIPE = Recipe(NAME, long_side=64, samples_per_shard=13)

# Packs slice 1/2 beside a finished slice 0/2, killing itself at the n-th step that changes the disk, for n = 1, 2, ...;
# after each kill the set is ended by `finish` where all shards are there, else by the slice again.
STEPPER = """
import pickle, shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from small_releases import contents
from stepping import run_to_step
from cxrfast.errors import PackError
from cxrfast.packing.finish import finish
from cxrfast.packing.run import pack
from cxrfast.packing.slices import Slice

folder = Path(sys.argv[1])
release, recipe = pickle.loads((folder / "release.pickle").read_bytes())

def run(work, fatal):
    def told():
        try:
            work()
        except PackError:
            return 2
    return run_to_step(told, fatal)

fatal = 1
while True:
    out = folder / f"set-{fatal}"
    shutil.copytree(folder / "half", out)
    slice_ = lambda: pack(release, folder / "src", out, recipe=recipe, share=Slice(1, 2), workers=1)
    code = run(slice_, fatal)
    ended = run(lambda: finish(out), 0)
    if ended == 2:
        run(slice_, 0)
    print(code, ended, contents(out) == contents(folder / "whole"), flush=True)
    if code == 0:
        break
    fatal += 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a release in `src` and `release.pickle`, and in `whole` what one process makes of it."""
    folder = tmp_path_factory.mktemp("sliced")
    release = write_release(folder / "src", COUNT)
    (folder / "src" / release.table["path"].iloc[7]).write_bytes(b"")
    (folder / "src" / release.table["path"].iloc[9]).unlink()
    (folder / "release.pickle").write_bytes(pickle.dumps((release, RECIPE)))
    pack(release, folder / "src", folder / "whole", recipe=RECIPE, workers=1, max_rejects=2)
    return folder


@pytest.fixture(scope="module")
def release(folder):
    return pickle.loads((folder / "release.pickle").read_bytes())[0]


def pack_slice(folder, out, index, count, **settings):
    release, recipe = pickle.loads((folder / "release.pickle").read_bytes())
    settings = {"workers": 1, "max_rejects": 2, **settings}
    return pack(release, folder / "src", out, recipe=recipe, share=Slice(index, count), **settings)


@pytest.mark.parametrize("count", [2, 3, 13, 20])
def test_slices_in_any_order_end_in_the_same_bytes(folder, tmp_path, count):
    """Also with more slices than shards; only the last to end commits, and the others say what is still to come."""
    out = tmp_path / "set"
    order = chance.permutation(count, "slices", count).tolist()
    packed = 0
    for number, index in enumerate(order):
        if number:
            with pytest.raises(ShardSetError, match="not packed to the end"):
                ShardSet.open(out)
        summary = pack_slice(folder, out, index, count)
        packed += summary.packed
        assert (summary.pending == 0) == (out / "shardset.json").exists()
    assert packed == COUNT - 2
    assert contents(out) == contents(folder / "whole")


def test_slices_that_begin_and_end_at_once_make_one_set(folder, tmp_path):
    """Five processes start together in an empty folder: one plan, one commit, no error, the same bytes."""
    out = tmp_path / "set"
    packers = [start(folder, out, share=f"{index}/5", workers=1) for index in range(5)]
    errors = [packer.communicate(timeout=120)[1] for packer in packers]
    assert [packer.returncode for packer in packers] == [0] * 5, errors
    assert contents(out) == contents(folder / "whole")


def test_killed_slices_resume_to_the_same_bytes(folder, tmp_path):
    """Each of three slices is killed at a drawn moment and begun again, with one worker or two."""
    out = tmp_path / "set"
    for index, moment in enumerate(chance.integers(45, "kill", chance.permutation(3, "slice")).tolist()):
        code, errors = run(folder, out, share=f"{index}/3", moment=moment, workers=1 + index % 2)
        assert code == SIGNALLED, errors
    assert not (out / "shardset.json").exists()
    for index in (2, 0, 1):
        code, errors = run(folder, out, share=f"{index}/3", workers=1)
        assert code == 0, errors
    assert contents(out) == contents(folder / "whole")


def test_a_kill_before_every_step_of_the_last_slice_is_mended(tmp_path):
    """Whether its shards, the commit or the sweep was cut off: `finish` or the slice again ends in the same bytes."""
    release = write_release(tmp_path / "src", 7, high=40)
    recipe = Recipe(NAME, samples_per_shard=4)
    (tmp_path / "release.pickle").write_bytes(pickle.dumps((release, recipe)))
    pack(release, tmp_path / "src", tmp_path / "whole", recipe=recipe, workers=1)
    pack(release, tmp_path / "src", tmp_path / "half", recipe=recipe, workers=1, share=Slice(0, 2))
    command = [sys.executable, "-c", STEPPER, tmp_path, Path(small_releases.__file__).parent]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rounds = done.stdout.splitlines()
    assert len(rounds) > 30
    # Until the slice's part is there `finish` refuses (2), from then on it ends the set (0).
    assert set(rounds[:-1]) == {f"{SIGNALLED} 2 True", f"{SIGNALLED} 0 True"}
    assert rounds[-1] == "0 0 True"


def test_finish_names_what_is_missing_and_leaves_a_whole_set_alone(folder, tmp_path):
    """Missing shards and their slices are named; where all is done no byte or time stamp changes."""
    out = tmp_path / "set"
    with pytest.raises(PackError, match="nothing was begun"):
        finish(out)
    assert not out.exists()
    pack_slice(folder, out, 1, 4)
    with pytest.raises(PackError, match=r"10 of 13 shards are missing \(0, 2, 3, .*; of slices 0/4, 2/4, 3/4\)"):
        finish(out)
    for index in (0, 2):
        pack_slice(folder, out, index, 4)
    assert pack_slice(folder, out, 3, 4, max_rejects=1.0).pending == 0
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert finish(out)["counts"]["images"] == COUNT - 2
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert contents(out) == contents(folder / "whole")


def test_the_budget_is_judged_over_the_whole_set(tmp_path):
    """Slices that stay within it by themselves are not committed together beyond it; a larger one commits them."""
    release = write_release(tmp_path / "src", 40, high=40)
    recipe = Recipe(NAME, samples_per_shard=10)
    for path in release.table["path"].iloc[:20]:
        (tmp_path / "src" / path).write_bytes(b"")
    out, budget = tmp_path / "set", 15
    settings = {"recipe": recipe, "workers": 1, "max_rejects": budget}
    pack(release, tmp_path / "src", out, share=Slice(0, 2), **settings)
    with pytest.raises(PackError, match="20 of 40 planned images are rejected so far"):
        pack(release, tmp_path / "src", out, share=Slice(1, 2), **settings)
    assert not (out / "shardset.json").exists()
    with pytest.raises(PackError, match="20 of 40"):
        finish(out, max_rejects=budget)
    assert finish(out, max_rejects=0.5)["counts"]["rejected"] == 20
    assert len((out / "rejected.csv").read_text().splitlines()) == 21


def test_two_packers_on_one_slice(folder, tmp_path):
    """While a slice is at work, the same slice, the whole set and another cut are refused; its neighbour is not."""
    out = tmp_path / "set"
    first = start(folder, out, what="hold", moment=5, share="1/3", workers=1)
    try:
        assert first.stdout.readline() == "holding\n"
        for share, words in ((Slice(1, 3), "packing slice 1/3"), (Slice(), "overlaps"), (Slice(0, 2), "overlaps")):
            with pytest.raises(PackError, match=words):
                pack_slice(folder, out, share.index, share.count)
        assert pack_slice(folder, out, 0, 3).pending > 0
    finally:
        first.kill()
        first.communicate()
    assert pack_slice(folder, out, 0, 1).pending == 0
    assert contents(out) == contents(folder / "whole")


def test_a_slice_of_another_plan_is_refused(folder, release, tmp_path):
    """Every slice adopts the plan of the first, with its list of missing files, or is told what differs."""
    out = tmp_path / "set"
    pack_slice(folder, out, 0, 2)
    plan = json.loads((out / "plan.json").read_text())
    assert len(plan["missing"]) == 1
    other = Recipe(NAME, long_side=65, samples_per_shard=13)
    with pytest.raises(PackError, match="long_side is 64 there, 65 here"):
        pack(release, folder / "src", out, recipe=other, share=Slice(1, 2), workers=1)
