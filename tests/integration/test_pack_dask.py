"""Packing on a Dask cluster: a real scheduler and real worker processes on this machine, one of which is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from small_releases import NAME, contents, write_release

from cxrfast import chance
from cxrfast.errors import PackError
from cxrfast.packing.cluster import _own_terms, check_worker, dask_crew
from cxrfast.packing.plan import make_plan
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack
from cxrfast.packing.slices import Slice

pytest.importorskip("distributed")

COUNT = 240
RECIPE = Recipe(NAME, long_side=64, samples_per_shard=60)
WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def src(tmp_path_factory):
    return tmp_path_factory.mktemp("release")


@pytest.fixture(scope="module")
def release(src):
    return write_release(src, COUNT, high=300)


@pytest.fixture(scope="module", autouse=True)
def scratch(tmp_path_factory):
    """Let Dask's processes keep their scratch files below pytest's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path_factory.mktemp("scratch")))
        yield


def start(command, *arguments):
    program = f"from distributed.cli.dask_{command} import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def scheduler(scratch, tmp_path_factory):
    """Return the address of a scheduler without workers, on a port that the system chose."""
    file = tmp_path_factory.mktemp("dask") / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--no-jupyter", "--scheduler-file", file)
    process = start("scheduler", *options)
    deadline = time.monotonic() + WAIT_SECONDS
    while not file.exists() or not file.read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline, "the scheduler does not start"
        time.sleep(0.05)
    yield json.loads(file.read_text())["address"]
    process.kill()
    process.wait()


@pytest.fixture
def workers(scheduler):
    """Return two worker processes, which nothing starts again."""
    options = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--host", "127.0.0.1", "--memory-limit", 0)
    processes = [start("worker", scheduler, *options) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def wait_for(scheduler, count):
    from distributed import Client

    with Client(scheduler, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=WAIT_SECONDS)


def test_every_road_leads_to_the_same_bytes(scheduler, workers, src, release, tmp_path):
    """One process, two, slices in a drawn order, and a cluster one of whose two workers is killed halfway."""
    pack(release, src, tmp_path / "one", recipe=RECIPE, workers=1)
    pack(release, src, tmp_path / "two", recipe=RECIPE, workers=2)
    for index in chance.permutation(3, "roads").tolist():
        pack(release, src, tmp_path / "slices", recipe=RECIPE, workers=1, share=Slice(index, 3))
    wait_for(scheduler, 2)

    def kill(done, *_):
        if done >= COUNT // 3 and workers[0].poll() is None:
            os.kill(workers[0].pid, signal.SIGKILL)
            workers[0].wait()

    summary = pack(release, src, tmp_path / "cluster", recipe=RECIPE, dask=scheduler, progress=kill)
    assert workers[0].poll() == -signal.SIGKILL
    assert workers[1].poll() is None
    assert summary.images == COUNT
    one, *others = (contents(tmp_path / road) for road in ("one", "two", "slices", "cluster"))
    assert others == [one] * 3


def test_workers_that_would_give_other_bytes_are_refused(scheduler, workers, src, release):
    """A worker with another package version than the plan's is named before an image is packed."""
    wait_for(scheduler, 1)
    plan = make_plan(release.table, RECIPE)
    other = replace(plan, packages={**plan.packages, "opencv": "4.0.0"})
    words = r"Dask worker tcp://127.0.0.1:\d+ cannot pack this set: on .*, opencv is 5.* there, 4.0.0 in the plan"
    with pytest.raises(PackError, match=words), dask_crew(scheduler, src, other):
        pass


def test_a_source_that_vanishes_under_a_cluster_stops_the_run(scheduler, workers, src, release, tmp_path):
    """What a worker cannot read arrives here as what it is, with the path."""
    wait_for(scheduler, 1)
    copy = shutil.copytree(src, tmp_path / "src")

    def unplug(done, *_):
        if done:
            shutil.rmtree(copy, ignore_errors=True)

    with pytest.raises(PackError, match="cannot be read now"):
        pack(release, copy, tmp_path / "set", recipe=RECIPE, dask=scheduler, progress=unplug)


def test_a_worker_that_does_not_see_the_release_is_refused(src, release, tmp_path):
    """A file that is not there, or another one under the same path, is said."""
    path, terms = src / release.table["path"].iloc[0], _own_terms()
    digest = contents(path.parent)[path.name]
    assert check_worker(terms, str(path), digest) is None
    with pytest.raises(PackError, match="cannot read"):
        check_worker(terms, str(tmp_path / "nothing"), digest)
    with pytest.raises(PackError, match="another file"):
        check_worker(terms, str(path), "0" * 64)


def test_a_cluster_that_lost_all_its_workers_is_not_waited_for(scheduler, workers, src, release, tmp_path, monkeypatch):
    """With nobody left to decode, the run ends in words and resumes without the cluster."""
    monkeypatch.setattr("cxrfast.packing.cluster._SECONDS_WITHOUT_WORKERS", 0.5)
    monkeypatch.setattr("cxrfast.packing.executors._SECONDS_BETWEEN_WATCHES", 0.5)
    wait_for(scheduler, 2)

    def kill(done, *_):
        if done >= COUNT // 2:
            for worker in workers:
                worker.kill()
                worker.wait()

    with pytest.raises(PackError, match="has had no worker"):
        pack(release, src, tmp_path / "set", recipe=RECIPE, dask=scheduler, progress=kill)
    assert pack(release, src, tmp_path / "set", recipe=RECIPE, workers=1).resumed >= 1


@pytest.mark.parametrize(
    ("address", "words"), [("tcp://127.0.0.1:9", "no Dask scheduler answers"), ("nonsense://x", "no Dask scheduler")]
)
def test_an_address_where_nobody_answers_is_said(src, release, tmp_path, address, words, monkeypatch):
    """Within seconds, with how to start a scheduler; a second run without it packs."""
    monkeypatch.setattr("cxrfast.packing.cluster._SECONDS_TO_ANSWER", 1)
    with pytest.raises(PackError, match=words):
        pack(release, src, tmp_path / "set", recipe=RECIPE, dask=address)
    assert pack(release, src, tmp_path / "set", recipe=RECIPE, workers=1).images == COUNT


def test_a_scheduler_without_workers_is_said(scheduler, src, release, tmp_path, monkeypatch):
    """Nobody waits for ever: the message says how to start one."""
    monkeypatch.setattr("cxrfast.packing.cluster._SECONDS_TO_ANSWER", 1)
    with pytest.raises(PackError, match="has no workers; start some"):
        pack(release, src, tmp_path / "set", recipe=RECIPE, dask=scheduler)
