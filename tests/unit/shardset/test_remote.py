"""Sets behind a URL are the local sets, whatever the network does; what cannot be is said in words."""

import os
import pickle
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_sets import noise_images, with_targets, write_set
from web_server import serving

from cxrfast import Block, Loader, ShardCache, ShardSet, ViewSpec
from cxrfast.errors import DamagedSample, LoaderError, ShardSetError
from cxrfast.shardset import transfer
from cxrfast.shardset.transfer import Transfer, is_url, joined, shown

TARS = [f"phantom-{shard:05d}.tar" for shard in range(4)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("served") / "set", noise_images(60), per_shard=16)


@pytest.fixture
def site(folder):
    with serving(folder.parent) as (url, site):
        site.url = f"{url}/set"
        yield site


def cache_in(folder, **settings):
    return ShardCache(**{"folder": folder, "retries": 3, "stall": 5.0, "pause": 0.01, **settings})


def batches(shards, epochs=(0, 1)):
    """Return everything that a loader hands out."""
    with Loader(
        with_targets(shards), views=[ViewSpec.paper()] * 2, size=32, batch_size=16, seed=3, order=Block(lanes=4)
    ) as loader:
        found = [(batch.images, batch.labels, batch.index) for epoch in epochs for batch in loader.epoch(epoch)]
    return [part.numpy() for batch in found for part in batch]


def assert_equal_batches(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def tars_in(cache):
    return sorted(path for path in cache.folder.iterdir() if path.suffix == ".tar")


def test_opening_reads_two_files_and_no_tar(site, folder, tmp_path):
    """Opening a URL asks for shardset.json and the manifest; the table is that of the folder."""
    shards = ShardSet.open(site.url + "/", cache=cache_in(tmp_path))
    assert set(site.requests) == {"shardset.json", "manifest.parquet"}
    assert shards.table.equals(ShardSet.open(folder).table)
    assert shards.fingerprint() == ShardSet.open(folder).fingerprint()


@pytest.mark.parametrize("shards_kept", [1, 2, 4])
def test_epochs_are_those_of_the_folder(site, folder, tmp_path, shards_kept):
    """Whatever the cache holds, epochs equal the local set's bit for bit, and the limit holds after each."""
    largest = max((folder / tar).stat().st_size for tar in TARS)
    cache = cache_in(tmp_path / "cache", limit=largest * shards_kept)
    remote = ShardSet.open(site.url, cache=cache)
    assert_equal_batches(batches(remote, epochs=range(3)), batches(ShardSet.open(folder), epochs=range(3)))
    assert sum(path.stat().st_size for path in tars_in(cache)) <= cache.limit
    if shards_kept == 4:
        assert all(site.requests[tar] == 1 for tar in TARS)


def test_remote_and_local_sets_are_one(site, folder, tmp_path):
    """A URL and a folder open together; a pickled set is the same set."""
    other = write_set(tmp_path / "other", noise_images(20, seed=1), name="other")
    cache = cache_in(tmp_path / "cache")
    remote = pickle.loads(pickle.dumps(ShardSet.open(site.url, other, cache=cache)))
    assert_equal_batches(batches(remote), batches(ShardSet.open(folder, other)))
    assert remote.tar_path(0, 1).read_bytes() == (folder / TARS[1]).read_bytes()
    assert remote.tar_path(1, 0) == other / "other-00000.tar"


FAULTS = {
    "dropped": [("drop", 700), ("drop", 0)],
    "short": [("short", 900), ("short", 1)],
    "stalled": [("stall", 30)],
    "unavailable": [("status", 503), ("status", 429)],
    "wrong once": [("wrong", None)],
    "without ranges": [("whole", None)],
    "all at once": [("status", 500), ("short", 300), ("drop", 10), ("wrong", None)],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_that_pass_change_nothing(site, folder, tmp_path, fault):
    """Breaks, stalls, busy servers and a wrong byte are got over; the batches are the same."""
    for name in (*TARS, "manifest.parquet"):
        if fault != "wrong once" or name in TARS:
            site.faults[name] = [each for each in FAULTS[fault] if name in TARS or each[0] != "wrong"]
    cache = cache_in(tmp_path / "cache", stall=0.5)
    assert_equal_batches(batches(ShardSet.open(site.url, cache=cache)), batches(ShardSet.open(folder)))
    assert len(tars_in(cache)) == 4
    assert not list(cache.folder.glob(".*partial"))


LASTING = {
    ("status", 503): "HTTP 503 .*tried 4 times",
    ("drop", 10): r"tried 4 times",
    ("stall", 30): "no reply within 0.2 seconds .*tried 4 times",
    ("short", 0): "ended after 0 of .*tried 4 times",
    ("wrong", None): "SHA-256 differs, fetched twice",
}


@pytest.mark.parametrize("fault", LASTING)
def test_faults_that_last_end_in_one_message(site, folder, tmp_path, fault):
    """After the allowed retries: URL, what happened, how often; within the stated bound. Nothing looks whole."""
    site.always[TARS[2]] = fault
    cache = cache_in(tmp_path / "cache", stall=0.2)
    shards = ShardSet.open(site.url, cache=cache)
    started = time.monotonic()
    with pytest.raises(ShardSetError, match=f"{site.url}/{TARS[2]} .*{LASTING[fault]}"):
        shards.tar_path(0, 2)
    assert time.monotonic() - started < cache.patience + 10
    assert site.requests[TARS[2]] == (2 if fault[0] == "wrong" else 4)
    assert tars_in(cache) == []
    with pytest.raises(ShardSetError, match=TARS[2]):
        batches(shards)
    site.always.clear()
    assert shards.tar_path(0, 2).read_bytes() == (folder / TARS[2]).read_bytes()


@pytest.mark.parametrize(("status", "words"), [(404, "is not there"), (403, "may not be read"), (416, "is refused")])
def test_refusals_are_final(site, tmp_path, status, words):
    """What another try cannot mend is said at once."""
    cache = cache_in(tmp_path / "cache")
    shards = ShardSet.open(site.url, cache=cache)
    site.always[TARS[0]] = ("status", status)
    with pytest.raises(ShardSetError, match=words):
        shards.tar_path(0, 0)
    assert site.requests[TARS[0]] == 1
    site.always["shardset.json"] = ("status", status)
    with pytest.raises(ShardSetError, match=f"shardset.json {words}"):
        ShardSet.open(site.url, cache=cache)


def test_a_file_that_shrank_on_the_server_is_named(site, folder, tmp_path):
    """A tar cut short after packing cannot be fetched, and says so."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    os.truncate(copy / TARS[1], 5000)
    with serving(tmp_path) as (url, _):
        shards = ShardSet.open(f"{url}/copy", cache=cache_in(tmp_path / "cache"))
        with pytest.raises(ShardSetError, match=f"{TARS[1]} is refused by the server .HTTP 416"):
            shards.tar_path(0, 1)


def test_a_manifest_of_other_bytes_is_refused(site, tmp_path):
    """A flipped bit in the manifest does not open."""
    site.always["manifest.parquet"] = ("wrong", None)
    with pytest.raises(ShardSetError, match=r"manifest.parquet is not as it was packed"):
        ShardSet.open(site.url, cache=cache_in(tmp_path))


def test_a_host_that_is_not_there_is_named(tmp_path):
    """A refused connection ends after the retries, naming the URL without its secrets."""
    with serving(tmp_path) as (url, _):
        pass
    secret = url.replace("http://", "http://user:word@")
    with pytest.raises(ShardSetError, match="tried 4 times") as error:
        ShardSet.open(f"{secret}/set?token=word", cache=cache_in(tmp_path))
    assert f"{url}/set/shardset.json" in str(error.value)
    assert "word" not in str(error.value)


def test_a_sample_that_is_damaged_in_the_cache_is_named(site, folder, tmp_path):
    """A bit that flips on the local disk is found as ever; URL and cached file are in the message."""
    cache = cache_in(tmp_path / "cache")
    shards = ShardSet.open(site.url, cache=cache)
    row = shards.table.iloc[20]
    path = shards.tar_path(0, 1)
    content = bytearray(path.read_bytes())
    content[int(row.offset) + 40] ^= 4
    path.write_bytes(content)
    with pytest.raises(DamagedSample, match=f"{site.url}/{TARS[1]}, cached as {path}"):
        batches(shards)
    path.write_bytes(content[:100])
    assert shards.tar_path(0, 1).read_bytes() == (folder / TARS[1]).read_bytes()


def test_a_loader_closed_while_it_waits_for_a_shard_says_so(site, tmp_path):
    """Closing from another thread ends a wait for a silent server in words, with no thread left."""
    for tar in TARS:
        site.always[tar] = ("stall", 60)
    shards = ShardSet.open(site.url, cache=cache_in(tmp_path / "cache", stall=60.0))
    loader = Loader(shards, views=[ViewSpec.plain()], size=8, batch_size=8, seed=0)
    timer = threading.Timer(0.5, loader.close)
    timer.start()
    with pytest.raises(LoaderError, match="was closed"):
        next(loader.epoch(0))
    timer.join()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cxrfast-")]


def test_plain_webdataset_reads_a_remote_set(site, folder, tmp_path):
    """All tars are fetched, and the samples are those of the folder; a cache that cannot hold them is refused."""
    remote, local = (
        [(sample["__key__"], sample["png"].tobytes()) for sample in shards.webdataset()]
        for shards in (ShardSet.open(site.url, cache=cache_in(tmp_path / "cache")), ShardSet.open(folder))
    )
    assert remote == local
    assert len(local) == 60
    small = cache_in(tmp_path / "small", limit=max((folder / tar).stat().st_size for tar in TARS))
    with pytest.raises(ShardSetError, match=r"these 4 remote shards have .* raise ShardCache"):
        ShardSet.open(site.url, cache=small).webdataset()


def test_unknown_or_absent_storage_is_refused(tmp_path):
    """A protocol that nobody knows names those that are."""
    with pytest.raises(ShardSetError, match=r"use http\(s\)://, s3://"):
        ShardSet.open("nowhere://host/set", cache=cache_in(tmp_path))


def test_options_reach_the_protocol(site, tmp_path):
    """`storage_options` of a protocol go to fsspec; options that do not fit are refused by protocol."""
    cache = cache_in(tmp_path, storage_options={"http": {"headers": {"X-Token": "abc"}}})
    ShardSet.open(site.url, cache=cache)
    assert all(headers["X-Token"] == "abc" for headers in site.headers)
    assert all(headers["Accept-Encoding"] == "identity" for headers in site.headers)
    assert "abc" not in repr(cache)
    with pytest.raises(ShardSetError, match="by protocol"):
        cache_in(tmp_path, storage_options={"key": "abc"})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 5000), size=st.integers(1, 5000), piece=st.integers(1, 3000), data=st.data())
def test_pieces_are_the_rest_of_the_file(monkeypatch, start, size, piece, data):
    """From any byte on, in pieces of any size, with failures at any request: the file's own bytes, in order."""
    content = np.random.default_rng(size).bytes(size)
    monkeypatch.setattr(transfer, "PIECE", piece)
    monkeypatch.setattr(transfer, "SMALLEST", max(1, piece // 3))
    reached = []

    def ask(self, url, begin, stop, stopped):
        reached.append(begin)
        kind = data.draw(st.sampled_from(["whole", "part", "fail"])) if len(reached) < 4 else "whole"
        if kind == "fail":
            raise transfer._Failed("so")
        return content[begin : stop if kind == "whole" else begin + (stop - begin) // 2]

    monkeypatch.setattr(Transfer, "_ask", ask)
    source = Transfer(options={}, retries=6, stall=1.0, pause=0.0)
    assert b"".join(source.pieces("http://h/f", start=start, size=size)) == content[start:]
    assert reached == sorted(reached)


def test_urls_are_told_from_folders():
    """Only a text with a scheme is a URL; a file's URL keeps the query, a message does not."""
    assert is_url("https://h/x")
    assert is_url("s3://bucket/x")
    assert not any(map(is_url, ["shards/chexpert", "/data/x", "C:/x", "/data/a://b", Path("https://h/x")]))
    assert joined("https://h/set/?a=b", "f.tar") == "https://h/set/f.tar?a=b"
    assert shown("https://u:p@h/set/f.tar?a=b") == "https://h/set/f.tar"
