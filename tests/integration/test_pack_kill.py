"""A packer that is killed at any moment leaves nothing that looks whole, and a rerun ends in the same bytes.

Kills are real signals to real processes. Moments are counted in images and in steps on the file system, never in
seconds, so that a slow machine kills at the same places as a fast one.
"""

import pickle
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path

import pytest
import small_releases
from packers import SIGNALLED, run, start
from small_releases import NAME, contents, write_release

from cxrfast import chance
from cxrfast.errors import PackError, ShardSetError
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack
from cxrfast.shardset.shardset import ShardSet

COUNT = 160
RECIPE = Recipe(NAME, long_side=64, samples_per_shard=35)

# Kills itself at the n-th step that changes the disk, for n = 1, 2, ... until a run ends before its n-th step; after
# each kill, packs again and prints the folder's state.
STEPPER = """
import pickle, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from small_releases import contents
from stepping import run_to_step
from cxrfast.packing.run import pack

folder, out = sys.argv[1:3]
release, recipe = pickle.loads(Path(folder, "release.pickle").read_bytes())

def run(target, fatal):
    work = lambda: pack(release, Path(folder, "src"), Path(target), recipe=recipe, workers=1)
    return run_to_step(lambda: work() and 0, fatal)

fatal = 1
while True:
    target = f"{out}-{fatal}"
    code = run(target, fatal)
    again = run(target, 0)
    print(code, again, contents(Path(target)) == contents(Path(folder, "whole")), flush=True)
    if code == 0:
        break
    fatal += 1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a release in `src` and `release.pickle`, and in `whole` what packing makes of it."""
    folder = tmp_path_factory.mktemp("killed")
    release = write_release(folder / "src", COUNT)
    (folder / "release.pickle").write_bytes(pickle.dumps((release, RECIPE)))
    pack(release, folder / "src", folder / "whole", recipe=RECIPE, workers=1)
    return folder


def wait_until_gone(pids):
    """Return once no process of these ids runs; a process that stays fails the test."""
    deadline = time.monotonic() + 60
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < deadline, f"workers {pids} outlive their parent"
        time.sleep(0.02)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_sigkill_at_five_random_moments_ends_in_the_same_bytes(folder, tmp_path):
    """Killed at five drawn moments, each time begun again with two workers, the set is that of an undisturbed run.

    No kill leaves a set that opens, and no worker outlives its parent.
    """
    out = tmp_path / "set"
    for moment in sorted(chance.integers(COUNT, "kill", 5, chance.permutation(5, "which")).tolist()):
        code, errors = run(folder, out, moment=moment)
        assert code == SIGNALLED, errors
        with pytest.raises(ShardSetError):
            ShardSet.open(out)
        wait_until_gone((folder / "children").read_text().split())
    code, errors = run(folder, out)
    assert code == 0, errors
    assert contents(out) == contents(folder / "whole")


def test_sigkill_before_every_step_on_disk_ends_in_the_same_bytes(tmp_path):
    """Each fsync, rename and removal, through the commit and the sweeping after it, may be the last thing done."""
    release = write_release(tmp_path / "src", 7, high=40)
    recipe = Recipe(NAME, samples_per_shard=4)
    (tmp_path / "release.pickle").write_bytes(pickle.dumps((release, recipe)))
    pack(release, tmp_path / "src", tmp_path / "whole", recipe=recipe, workers=1)
    command = [sys.executable, "-c", STEPPER, tmp_path, tmp_path / "set", Path(small_releases.__file__).parent]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rounds = done.stdout.splitlines()
    assert len(rounds) > 30
    assert set(rounds[:-1]) == {f"{SIGNALLED} 0 True"}
    assert rounds[-1] == "0 0 True"


def test_ctrl_c_stops_without_a_traceback_and_a_rerun_resumes(folder, tmp_path):
    """Ctrl-C reaches the whole process group; parent and workers end, nobody prints a traceback, shards are kept."""
    out = tmp_path / "set"
    code, errors = run(folder, out, what="interrupt", moment=80)
    assert (code, errors) == (130, "")
    wait_until_gone((folder / "children").read_text().split())
    assert not list((out / ".packing").glob("*.tmp"))
    release, _ = pickle.loads((folder / "release.pickle").read_bytes())
    assert pack(release, folder / "src", out, recipe=RECIPE, workers=1).resumed == 2
    assert contents(out) == contents(folder / "whole")


def test_killed_workers_are_reported_and_a_rerun_resumes(folder, tmp_path):
    """When the system kills the workers, the run ends in words and goes on when it is begun again."""
    out = tmp_path / "set"
    release, _ = pickle.loads((folder / "release.pickle").read_bytes())

    def kill_workers(done, *_):
        if done >= 40:
            for child in active_children():
                child.kill()

    with pytest.raises(PackError, match="worker died"):
        pack(release, folder / "src", out, recipe=RECIPE, workers=2, progress=kill_workers)
    assert pack(release, folder / "src", out, recipe=RECIPE, workers=1).resumed >= 1
    assert contents(out) == contents(folder / "whole")


def test_two_packers_on_one_folder(folder, tmp_path):
    """The second is refused while the first is at work, and admitted the moment that the first is dead."""
    out = tmp_path / "set"
    release, _ = pickle.loads((folder / "release.pickle").read_bytes())
    first = start(folder, out, what="hold", moment=40)
    try:
        assert first.stdout.readline() == "holding\n"
        with pytest.raises(PackError, match="another process is packing"):
            pack(release, folder / "src", out, recipe=RECIPE, workers=1)
    finally:
        first.kill()
        first.communicate()
    assert pack(release, folder / "src", out, recipe=RECIPE, workers=1).resumed == 1
    assert contents(out) == contents(folder / "whole")
