import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_sets import damage, encoded, noise_images, open_set

from cxrfast.errors import DamagedSample
from cxrfast.loading import read, runs
from cxrfast.loading.buffers import Buffers
from cxrfast.loading.cache import PixelCache
from cxrfast.loading.counters import Counters
from cxrfast.loading.read import Reader
from cxrfast.loading.samples import Samples


@pytest.fixture(scope="module")
def images():
    return noise_images(60)


@pytest.fixture
def shards(tmp_path, images):
    return open_set(tmp_path / "set", images, per_shard=16)


@pytest.fixture
def reader(shards):
    reader = Reader(Samples(shards), counters=Counters())
    yield reader
    reader.close()


def payloads(reader, rows):
    """Return what a group of rows holds: bytes, or the error of a damaged sample."""
    group = reader.submit(np.array(rows, dtype=np.int64))
    return [
        found if isinstance(found := group.take(slot)[0], DamagedSample) else bytes(found) for slot in range(len(rows))
    ]


def counted(shards, rows, **settings):
    """Return the reader's counts after one group."""
    counters = Counters()
    reader = Reader(Samples(shards), counters=counters, **settings)
    payloads(reader, rows)
    reader.close()
    return counters.report()


def open_files(folder):
    """Return the files below a folder that this process has open."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(link.readlink())
    return [name for name in names if name.is_relative_to(folder)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, 59), max_size=40))
def test_payloads_come_in_the_order_asked_for(reader, images, rows):
    """Any rows, in any order, repeated or not, give their own payloads in that order."""
    assert payloads(reader, rows) == [encoded(images[row], "png")[1] for row in rows]


def test_neighbours_are_read_together(shards):
    """Sixteen neighbours of a shard cost one read, and so does every fourth of them; two shards cost two."""
    for rows, reads in ((range(16), 1), (range(0, 16, 4), 1), (range(8, 24), 2), ([3, 3, 3], 1)):
        assert counted(shards, list(rows))["reads"] == reads


@pytest.mark.parametrize(("gap", "longest", "most", "reads"), [
    (1, 2**20, 400, 16), (2**20, 2000, 400, 16), (2**20, 2**20, 5, 4), (2**20, 2**20, 400, 1)
])  # fmt: skip
def test_reads_are_joined_within_bounds(shards, monkeypatch, gap, longest, most, reads):
    """A read neither runs over a longer gap nor asks for more bytes or pieces than is allowed."""
    monkeypatch.setattr(runs, "LONGEST", longest)
    monkeypatch.setattr(runs, "MOST_ROWS", most)
    assert counted(shards, list(range(16)), gap=gap)["reads"] == reads


def test_what_is_read_over_is_bounded(shards):
    """Of a whole shard, its headers and JSON are read over; of two far samples, nothing between them."""
    nbytes = shards.table["nbytes"]
    span = int(shards.table["offset"][15] + nbytes[15] - shards.table["offset"][0])
    assert counted(shards, list(range(16)))["bytes_read"] == span
    assert counted(shards, [0, 15], gap=1000)["bytes_read"] == nbytes[0] + nbytes[15]


def test_a_read_that_stops_early_is_continued(reader, images, monkeypatch):
    """`preadv` may give fewer bytes than asked for; that is no damage."""
    whole = os.preadv

    def short(descriptor, pieces, offset):
        return whole(descriptor, [piece[: min(len(piece), 700)] for piece in pieces][:1], offset)

    monkeypatch.setattr(os, "preadv", short)
    assert payloads(reader, range(5)) == [encoded(image, "png")[1] for image in images[:5]]


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "directory"])
def test_a_damaged_sample_is_named(shards, images, harm):
    """A flipped bit, a file cut short, gone or unreadable: its samples alone are errors, and say which and where."""
    path = shards.tar_path(0, 1)
    if harm == "flip":
        damage(shards, 20)
    elif harm == "cut":
        os.truncate(path, int(shards.table["offset"][20]) + 10)
    else:
        path.unlink()
        if harm == "directory":
            path.mkdir()
    lost = {"flip": [20], "cut": range(20, 32)}.get(harm, range(16, 32))
    reader = Reader(Samples(shards), counters=Counters())
    found = payloads(reader, range(48))
    alone = reader.read_now(20)
    reader.close()
    for row, payload in enumerate(found):
        if row in lost:
            assert isinstance(payload, DamagedSample)
            assert f"phantom: sample phantom-{row:05d} in shard 1 ({path}" in str(payload)
        else:
            assert payload == encoded(images[row], "png")[1]
    assert str(alone) == str(found[20])


def test_memory_is_used_again(shards, images):
    """Group after group goes into the memory of the one before, once that is used, and not earlier."""
    buffers = Buffers()
    reader = Reader(Samples(shards), counters=Counters(), buffers=buffers)
    first = reader.submit(np.arange(16))
    second = reader.submit(np.arange(16, 32))
    held = first.take(0, 16)
    assert [bytes(payload) for payload in held] == [encoded(image, "png")[1] for image in images[:16]]
    addresses = {np.frombuffer(held[0], dtype=np.uint8).ctypes.data}
    second.take(0)
    for _ in range(16):
        first.used()
    third = reader.submit(np.arange(16))
    assert np.frombuffer(third.take(0)[0], dtype=np.uint8).ctypes.data in addresses
    reader.close()


def test_cached_pixels_are_not_read(shards, images):
    """What the cache holds comes as pixels, the rest from disk; each in its place."""
    cache = PixelCache(60, limit=10**6)
    for row in range(0, 16, 2):
        cache.offer(row, images[row])
    counters = Counters()
    reader = Reader(Samples(shards), counters=counters, cache=cache, gap=1)
    group = reader.submit(np.arange(16))
    for slot in range(16):
        (found,) = group.take(slot)
        if slot % 2:
            assert bytes(found) == encoded(images[slot], "png")[1]
        else:
            np.testing.assert_array_equal(found, images[slot])
    reader.close()
    assert counters.report()["reads"] == 8


def test_files_are_closed_and_few_are_open(shards, tmp_path, monkeypatch):
    """At most the allowed number of tars stays open, and none after closing, which may be done twice."""
    monkeypatch.setattr(read, "OPEN_FILES", 2)
    reader = Reader(Samples(shards), counters=Counters())
    for start in (0, 16, 32, 48, 0):
        payloads(reader, range(start, start + 8))
        assert 1 <= len(open_files(tmp_path)) <= 2
    reader.close()
    reader.close()
    assert not open_files(tmp_path)
