"""Fetching ahead: how far, in what order, with what left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from small_sets import write_set
from web_server import serving, wait_for

from cxrfast import Block, Loader, Reading, ShardCache, ShardSet, ViewSpec
from cxrfast.errors import ShardSetError
from cxrfast.loading import pipeline
from cxrfast.loading.counters import Counters
from cxrfast.loading.fetch import Fetcher
from cxrfast.loading.order import epoch_order
from cxrfast.loading.read import Reader
from cxrfast.loading.runs import reads_of, shards_of
from cxrfast.loading.samples import Samples
from cxrfast.shardset.transfer import Stopped

SHARDS = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shards of one size each, so that bytes are easy to count."""
    images = [np.full((20, 20), number, dtype=np.uint8) for number in range(SHARDS * 4)]
    return write_set(tmp_path_factory.mktemp("served") / "set", images, per_shard=4, codec="raw")


@pytest.fixture
def site(folder):
    with serving(folder.parent) as (url, site):
        site.url = f"{url}/set"
        site.tars = [f"phantom-{shard:05d}.tar" for shard in range(SHARDS)]
        site.size = (folder / site.tars[0]).stat().st_size
        assert {(folder / tar).stat().st_size for tar in site.tars} == {site.size}
        yield site


def opened(site, tmp_path, shards_kept=SHARDS, **settings):
    cache = ShardCache(
        folder=tmp_path / "cache", limit=site.size * shards_kept, **{"retries": 2, "pause": 0.01, **settings}
    )
    return cache, Samples(ShardSet.open(site.url, cache=cache))


def kept(cache):
    return sorted(int(path.name.split("-")[1]) for path in cache.folder.glob("*.tar"))


def fetching():
    return [thread for thread in threading.enumerate() if thread.name.startswith("cxrfast-fetch")]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("ahead", [0, 1, 2, 5, 100])
@pytest.mark.parametrize("shards_kept", [1, 2, 4, 8])
def test_never_further_than_allowed(site, tmp_path, threads, ahead, shards_kept):
    """Beyond what is reached at most `ahead` bytes, and no more than the cache keeps; every shard once, in order."""
    cache, samples = opened(site, tmp_path, shards_kept)
    places = [(0, shard) for shard in (3, 1, 4, 0, 5, 2, 6, 7)]
    room = min(ahead, shards_kept - 1)
    fetcher = Fetcher(samples, places, threads=threads, ahead=ahead * site.size)
    try:
        for number, place in enumerate(places):
            fetcher.advance(place)
            os.close(samples.open(*place, stopped=lambda: False))
            due = [shard for _, shard in places[number + 1 : number + 1 + room]]
            wait_for(lambda due=due: set(due) <= set(kept(cache)))
            beyond = {shard for _, shard in places[number + 1 + room :]}
            asked = {shard for shard, tar in enumerate(site.tars) if site.requests[tar]}
            assert not asked & beyond
    finally:
        fetcher.close()
    assert [site.requests[tar] for tar in site.tars] == [1] * SHARDS
    assert not fetching()


def test_nothing_remote_makes_no_thread(folder):
    """For folders of this machine there is nothing to fetch."""
    fetcher = Fetcher(Samples(ShardSet.open(folder)), [(0, 0), (0, 1)], threads=4, ahead=10**9)
    assert not fetching()
    fetcher.advance((0, 1))
    fetcher.advance((7, 7))
    fetcher.close()


@pytest.mark.parametrize("fault", [("stall", 60), ("status", 503)])
def test_closing_amid_a_download_leaves_no_thread(site, tmp_path, fault):
    """Closing gives up what is on its way, soon, as often as one likes; the cache goes on working."""
    for tar in site.tars:
        site.always[tar] = fault
    cache, samples = opened(site, tmp_path, stall=60.0, pause=8.0)
    fetcher = Fetcher(samples, [(0, shard) for shard in range(SHARDS)], threads=4, ahead=10**9)
    wait_for(lambda: sum(site.requests[tar] for tar in site.tars) >= 4)
    started = time.monotonic()
    fetcher.close()
    fetcher.close()
    assert time.monotonic() - started < 10  # a second on a machine that is not busy
    assert not fetching()
    fetcher.advance((0, 5))
    assert not fetching()
    site.always.clear()
    os.close(samples.open(0, 0, stopped=lambda: False))
    assert kept(cache) == [0]


def test_errors_come_to_whoever_reads(site, tmp_path):
    """A shard that cannot be fetched is no error of the fetcher's; reading it raises, reading others does not."""
    site.always[site.tars[1]] = ("status", 404)
    _, samples = opened(site, tmp_path)
    fetcher = Fetcher(samples, [(0, 0), (0, 1), (0, 2)], threads=2, ahead=10**9)
    reader = Reader(samples, counters=Counters())
    try:
        assert len(reader.submit(np.arange(4)).take(3)[0]) == 528
        with pytest.raises(ShardSetError, match=f"{site.tars[1]} is not there"):
            reader.submit(np.arange(4, 8)).take(0)
        assert len(reader.submit(np.arange(8, 12)).take(3)[0]) == 528
    finally:
        reader.close()
        fetcher.close()


def test_a_reader_that_waits_for_a_shard_can_be_closed(site, tmp_path):
    """Closing a reader gives up the download that it waits for, and others read on beside it until then."""
    site.always[site.tars[0]] = ("stall", 60)
    _, samples = opened(site, tmp_path, stall=60.0)
    reader = Reader(samples, counters=Counters())
    waiting = reader.submit(np.arange(4))
    wait_for(lambda: site.requests[site.tars[0]] == 1)
    assert len(reader.submit(np.arange(4, 8)).take(0)[0]) == 528
    started = time.monotonic()
    reader.close()
    assert time.monotonic() - started < 10
    with pytest.raises(Stopped):
        waiting.take(0)


@pytest.mark.parametrize(("fetch_ahead", "most"), [("1GB", SHARDS), (1, 3)])
def test_a_loader_fetches_what_its_epoch_will_come_to(site, tmp_path, monkeypatch, fetch_ahead, most):
    """While a consumer holds the first batch, later shards come in, as many as are allowed; batches are the same."""
    _, samples = opened(site, tmp_path)
    shards = samples._shards
    monkeypatch.setattr(pipeline, "PART", 1)  # so that two batches are rendered ahead
    reading = Reading(threads=1, fetch_ahead=fetch_ahead, ahead=1)
    order = Block(memory=1, lanes=1)
    with Loader(shards, views=[ViewSpec.plain()], size=8, batch_size=1, seed=0, order=order, reading=reading) as loader:
        batches = loader.epoch(0)
        first = next(batches)
        if most == SHARDS:
            wait_for(lambda: all(site.requests[tar] for tar in site.tars))
        else:
            time.sleep(0.5)
            assert sum(site.requests[tar] > 0 for tar in site.tars) <= most
        rows = [int(first.index[0]), *(int(batch.index[0]) for batch in batches)]
    assert sorted(rows) == list(range(SHARDS * 4))
    assert not fetching()


INTERRUPTED = """
import sys, threading, time
from cxrfast import Loader, ShardCache, ShardSet, Sequential, ViewSpec
from cxrfast.loading.fetch import Fetcher
from cxrfast.loading.samples import Samples
shards = ShardSet.open(sys.argv[1], cache=ShardCache(folder=sys.argv[2], stall=60.0))
fetcher = Fetcher(Samples(shards), [(0, shard) for shard in range(8)], threads=2, ahead=10**9)
loader = Loader(shards, views=[ViewSpec.plain()], size=8, batch_size=8, seed=0, order=Sequential(lanes=1))
print("ready", flush=True)
try:
    for batch in loader.epoch(0):
        pass
except KeyboardInterrupt:
    fetcher.close()
    time.sleep(0.1)
    print(sorted(t.name for t in threading.enumerate() if t.name not in ("MainThread", "fsspecIO")))
"""


def test_ctrl_c_leaves_no_thread(site, tmp_path):
    """Ctrl-C while all wait for a silent server ends every thread but fsspec's own, which dies with the process."""
    for tar in site.tars:
        site.always[tar] = ("stall", 120)
    command = [sys.executable, "-c", INTERRUPTED, site.url, str(tmp_path / "cache")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        wait_for(lambda: site.requests[site.tars[1]])
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert stdout == "[]\n", stderr
    assert process.returncode == 0


EXITING = """
import sys
from cxrfast import Block, Loader, Reading, ShardCache, ShardSet, ViewSpec
from cxrfast.loading import pipeline
pipeline.PART = 1
shards = ShardSet.open(sys.argv[1], cache=ShardCache(folder=sys.argv[2], stall=60.0))
loader = Loader(shards, views=[ViewSpec.plain()], size=8, batch_size=1, seed=0, order=Block(memory=1, lanes=1),
                reading=Reading(threads=1, ahead=1))
batches = loader.epoch(0)
for _ in range(4):
    next(batches)
print("ready", flush=True)
sys.stdin.readline()
sys.exit(3)
"""


def test_a_process_that_exits_amid_an_epoch_waits_for_no_download(site, tmp_path):
    """`sys.exit` while a silent server keeps later shards back: the process ends at once, with its own status."""
    _, samples = opened(site, tmp_path)
    order = epoch_order(
        Block(memory=1, lanes=1), samples.layout(), batch_size=1, last="drop", seed=0, epoch=0
    )  # fmt: skip
    later = [site.tars[shard] for _, shard in shards_of(samples, order, reads_of(order, range(1), 0))][3:]
    for tar in later:
        site.always[tar] = ("stall", 120)
    command = [sys.executable, "-c", EXITING, site.url, str(tmp_path / "cache")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "ready\n"
        wait_for(lambda: any(site.requests[tar] for tar in later))
        started = time.monotonic()
        _, stderr = process.communicate("go\n", timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - started < 20
    assert process.returncode == 3, stderr


def test_what_the_cache_has_deleted_is_not_held_open(site, tmp_path):
    """A reader that has gone through all shards under a limit of two holds few deleted files open."""
    _, samples = opened(site, tmp_path, shards_kept=2)
    reader = Reader(samples, counters=Counters())
    try:
        for shard in range(SHARDS):
            reader.submit(np.arange(4 * shard, 4 * shard + 4)).take(0)
        links = [os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]  # noqa: PTH115
        assert sum(str(tmp_path) in link and link.endswith("(deleted)") for link in links) <= 2
    finally:
        reader.close()
