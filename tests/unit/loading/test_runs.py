from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrfast.loading.order import Block, Global, Layout, Sequential, epoch_order
from cxrfast.loading.ranks import Ranks
from cxrfast.loading.runs import reads_of, runs_of


def layout_of(count):
    """Return the layout of rows of 1,000 bytes, ten in a shard."""
    rows = np.arange(count)
    return Layout.of(shardset=rows * 0, shard=rows // 10, offset=rows % 10 * 1000, nbytes=rows * 0 + 1000)


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from([Global(lanes=4), Block(lanes=4, memory=40_000), Block(lanes=4), Sequential(lanes=4)]),
    count=st.integers(1, 300),
    each=st.integers(1, 6),
    world=st.sampled_from([1, 2, 4]),
    start=st.integers(0, 30),
)
def test_a_rank_reads_what_it_will_hand_out_once_and_in_time(kind, count, each, world, start):
    """From any batch on: all positions that a rank still gives out, each in one group, groups in the order of need."""
    order = epoch_order(kind, layout_of(count), batch_size=4 * each, last="keep", seed=1, epoch=0)
    start = min(start, order.batches)
    for rank in range(world):
        lanes = Ranks(rank=rank, world_size=world).share(4)
        needed = {
            int(position): number
            for number in range(start, order.batches)
            for position in order.positions(number, lanes)
        }
        reads = reads_of(order, lanes, start)
        covered = [list(range(a, b)) for a, b in zip(reads.starts, reads.stops, strict=True)]
        assert sorted(position for group in covered for position in group) == sorted(needed)
        assert [min(needed[position] for position in group) for group in covered] == reads.batches.tolist()
        assert (np.diff(reads.batches) >= 0).all()
        for number, group in zip(reads.groups, covered, strict=True):
            assert order.groups[number] <= group[0]
            assert group[-1] < order.groups[number + 1]


class _Places:
    """Samples of 100 bytes, each followed by its row's number of bytes of something else, ten in a shard."""

    def __init__(self, count):
        rows = np.arange(count)
        self.shardset, self.shard = rows // 20, rows // 10
        self.nbytes = np.full(count, 100)
        self.offset = rows % 10 * 1000 + 512


@given(st.lists(st.integers(0, 59), unique=True), st.sampled_from([1, 900, 2000, 10**6]))
def test_runs_hold_each_row_once_and_no_longer_gap(rows, gap):
    """Runs ascend in storage, stay inside a file, join what is within the gap, and part what is not."""
    samples = _Places(60)
    runs = runs_of(samples, np.array(rows, dtype=np.int64), gap=gap)
    assert sorted(row for run in runs for row in run.rows) == sorted(rows)
    assert [(run.file, run.start) for run in runs] == sorted((run.file, run.start) for run in runs)
    for run in runs:
        assert [rows[slot] for slot in run.slots] == run.rows
        assert {(row // 20, row // 10) for row in run.rows} == {run.file}
        assert run.offsets == [int(samples.offset[row]) for row in run.rows]
        assert all(b - a - 100 <= gap for a, b in pairwise(run.offsets))
        assert run.length == run.offsets[-1] + 100 - run.start
    for one, other in pairwise(runs):
        assert one.file != other.file or other.start - (one.start + one.length) > gap


def test_a_payload_longer_than_a_run_may_be_is_read_alone(monkeypatch):
    """The limit parts runs; it never refuses a sample."""
    monkeypatch.setattr("cxrfast.loading.runs.LONGEST", 50)
    assert [run.rows for run in runs_of(_Places(60), np.arange(3), gap=2000)] == [[0], [1], [2]]


@pytest.mark.parametrize("most", [1, 3, 1000])
def test_a_run_has_no_more_rows_than_one_call_can_fill(monkeypatch, most):
    """Ten neighbours come in runs of at most so many."""
    monkeypatch.setattr("cxrfast.loading.runs.MOST_ROWS", most)
    runs = runs_of(_Places(60), np.arange(10), gap=2000)
    assert [len(run.rows) for run in runs] == [min(most, 10 - start) for start in range(0, 10, most)]
