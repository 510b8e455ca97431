import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_sets import damage, encoded, noise_images, open_set

from cxrfast.errors import DamagedSample, LoaderError
from cxrfast.loading import read
from cxrfast.loading.counters import Counters
from cxrfast.loading.read import Reader, Reading
from cxrfast.loading.samples import Samples


@pytest.fixture(scope="module")
def images():
    return noise_images(60)


@pytest.fixture
def shards(tmp_path, images):
    return open_set(tmp_path / "set", images, per_shard=16)


@pytest.fixture
def reader(shards):
    reader = Reader(Samples(shards), threads=2, counters=Counters())
    yield reader
    reader.close()


def open_files(folder):
    """Return the files below a folder that this process has open."""
    names = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(link.readlink())
    return [name for name in names if name.is_relative_to(folder)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, 59), max_size=40))
def test_payloads_come_in_the_order_asked_for(reader, images, rows):
    """Any rows, in any order, repeated or not, give their own payloads in that order."""
    found = reader.submit(np.array(rows, dtype=np.int64)).result()
    assert [bytes(payload) for payload in found] == [encoded(images[row], "png")[1] for row in rows]


def test_neighbours_are_read_together(shards):
    """Sixteen neighbours of a shard cost one read; every fourth of them too, while far ones are read apart."""
    for rows, reads in ((range(16), 1), (range(0, 16, 4), 1), (range(8, 24), 2)):
        counters = Counters()
        reader = Reader(Samples(shards), threads=1, counters=counters)
        reader.submit(np.array(rows)).result()
        reader.close()
        assert counters.report()["reads"] == reads


@pytest.mark.parametrize(("gap", "longest", "reads"), [(0, 2**20, 16), (2**20, 2000, 16), (2**20, 2**20, 1)])
def test_reads_are_joined_within_bounds(shards, monkeypatch, gap, longest, reads):
    """A read neither runs over a longer gap nor asks for more bytes than is allowed."""
    monkeypatch.setattr(read, "GAP", gap)
    monkeypatch.setattr(read, "LONGEST", longest)
    counters = Counters()
    reader = Reader(Samples(shards), threads=1, counters=counters)
    reader.submit(np.arange(16)).result()
    reader.close()
    assert counters.report()["reads"] == reads


def test_a_read_that_stops_early_is_continued(reader, images, monkeypatch):
    """`pread` may give fewer bytes than asked for; that is no damage."""
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, count, offset: whole(descriptor, min(count, 700), offset))
    found = reader.submit(np.arange(5)).result()
    assert [bytes(payload) for payload in found] == [encoded(image, "png")[1] for image in images[:5]]


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "directory"])
def test_a_damaged_sample_is_named(shards, harm):
    """A flipped bit, a file cut short, gone or unreadable: data set, key, shard and path are in the message."""
    path = shards.tar_path(0, 1)
    if harm == "flip":
        damage(shards, 20)
    elif harm == "cut":
        os.truncate(path, int(shards.table["offset"][20]) + 10)
    else:
        path.unlink()
        if harm == "directory":
            path.mkdir()
    reader = Reader(Samples(shards), threads=1, counters=Counters())
    try:
        assert len(reader.submit(np.arange(16)).result()) == 16
        with pytest.raises(DamagedSample, match=rf"phantom: sample phantom-00020 in shard 1 \({path}"):
            reader.submit(np.array([20])).result()
    finally:
        reader.close()


def test_files_are_closed_and_few_are_open(shards, tmp_path, monkeypatch):
    """At most the allowed number of tars stays open, and none after closing, which may be done twice."""
    monkeypatch.setattr(read, "OPEN_FILES", 2)
    reader = Reader(Samples(shards), threads=1, counters=Counters())
    for start in (0, 16, 32, 48, 0):
        reader.submit(np.arange(start, start + 8)).result()
        assert 1 <= len(open_files(tmp_path)) <= 2
    reader.close()
    reader.close()
    assert not open_files(tmp_path)


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"ahead": "much"}, {"on_error": "skip"}])
def test_reading_that_does_not_work_is_refused(wrong):
    """The error names the option; skipping damaged samples is not silently ignored."""
    with pytest.raises(LoaderError, match=next(iter(wrong))):
        Reading(**wrong)
