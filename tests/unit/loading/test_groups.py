from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxrfast.loading import groups as module
from cxrfast.loading.groups import groups_of_batches, groups_of_bytes, permute_within
from cxrfast.loading.order import Block, Global, Layout, Sequential, epoch_order, lane_sizes

KB = 1000


def of_bytes(nbytes, sizes, limit):
    """Return the boundaries for rows that lie in the order of their numbers."""
    return groups_of_bytes(np.array(nbytes), np.arange(len(nbytes)), np.array(sizes), limit)


def check_boundaries(groups, sizes):
    """Boundaries ascend from 0 to m, none twice, and every lane's end is one of them."""
    assert groups.dtype == np.int64
    assert groups[0] == 0
    assert groups[-1] == sum(sizes)
    assert (np.diff(groups) > 0).all()
    assert set(np.cumsum(sizes).tolist()) <= set(groups.tolist())


@settings(max_examples=200, deadline=None)
@given(
    nbytes=st.lists(st.integers(1, 1000), min_size=1, max_size=300),
    lanes=st.sampled_from([1, 2, 4, 8]),
    limit=st.integers(0, 20_000),
    large=st.lists(st.tuples(st.integers(0, 299), st.integers(1, 10**9)), max_size=3),
)
@example(nbytes=[5, 5, 5, 5], lanes=1, limit=10, large=[])
def test_groups_fit_in_memory_and_inside_lanes(nbytes, lanes, limit, large):
    """A group is a run of one lane's rows and holds at most `limit` bytes, or is a single row that is larger."""
    for at, size in large:
        nbytes[at % len(nbytes)] = size
    sizes = lane_sizes(len(nbytes), batch_size=lanes, lanes=lanes, last="keep")
    groups = of_bytes(nbytes, sizes, limit)
    check_boundaries(groups, sizes)
    held = np.diff(np.append(0, np.cumsum(nbytes))[groups])
    assert ((held <= limit) | (np.diff(groups) == 1)).all()


@pytest.mark.parametrize("lanes", [1, 2, 8])
@pytest.mark.parametrize("outliers", [False, True])
def test_groups_are_equal_shares_but_for_a_lanes_ends(lanes, outliers):
    """Groups hold a share, give or take a row; lane l's first (l + 1) / L of it, its last the rest; none is wasted.

    Rows as large as the limit stand alone and leave the others' shares as they are.
    """
    count, limit, largest = 40_000, 3_000 * KB, 40 * KB
    nbytes = np.random.default_rng(1).integers(15 * KB, largest, count)
    sizes = lane_sizes(count, batch_size=lanes, lanes=lanes, last="keep")
    plain = nbytes.copy()
    if outliers:
        nbytes[::4999] = limit
        plain[::4999] = 0
    groups = of_bytes(nbytes, sizes, limit)
    ends = np.append(0, np.cumsum(plain))
    shares = max(-(-lane.sum() // (limit - largest)) for lane in np.split(plain, np.cumsum(sizes)[:-1]))
    for lane, stop in enumerate(np.cumsum(sizes)):
        start = stop - sizes[lane]
        cuts = groups[(groups >= start) & (groups <= stop)]
        # A row that stands alone cuts a share in two, so ends of shares are told by bytes and not by count.
        at = ends[cuts] - ends[start]
        share = (ends[stop] - ends[start]) / shares
        wanted = [0.0, *((lane + 1) / lanes + np.arange(shares)), float(shares)]
        assert all(np.abs(at - want * share).min() <= largest for want in wanted)
        if not outliers:
            assert len(cuts) == len(np.unique(wanted))
            assert share > 0.97 * (limit - largest)


@pytest.mark.parametrize("seed", [1, 2])
def test_lanes_change_blocks_one_after_another(seed):
    """All through the epoch, every quarter of a block's time sees two of eight lanes begin one, give or take two.

    Otherwise all of a block's bytes would be asked for at once. All begin one at the start of the epoch.
    """
    count = 400_000
    nbytes = np.random.default_rng(2).integers(15 * KB, 40 * KB, count)
    layout = Layout(np.arange(count), np.full(400, 1000), nbytes)
    order = epoch_order(Block(memory="80MB"), layout, batch_size=64, last="drop", seed=seed, epoch=1)
    lane = order.sizes[0]
    begun = np.array([group % lane for group in order.groups[:-1].tolist() if group % lane])
    window = int(10e6 / nbytes.mean() / 4)
    per_window = np.bincount(begun // window, minlength=lane // window)[: lane // window]
    assert len(begun) > 8 * 100
    assert per_window.max() <= 4
    assert (per_window == 0).mean() < 0.1


def test_what_fits_in_memory_is_one_group():
    """Where every lane fits, each is one group: no lane is cut for the sake of others that read nothing either."""
    assert of_bytes([10] * 40, [20, 20], 200).tolist() == [0, 20, 40]
    assert len(of_bytes([10] * 40, [20, 20], 199)) > 3


@given(
    each=st.integers(1, 5),
    lanes=st.sampled_from([1, 2, 4]),
    count=st.integers(1, 200),
    last=st.sampled_from(["drop", "keep"]),
)
def test_groups_of_batches_are_what_a_lane_gives_to_a_batch(each, lanes, count, last):
    """`Global`: the groups of an epoch are the non-empty parts that batches take from lanes."""
    batch = each * lanes
    if last == "drop" and batch > count:
        return
    layout = Layout(np.arange(count), np.array([count]), np.ones(count, dtype=np.int64))
    order = epoch_order(Global(lanes=lanes), layout, batch_size=batch, last=last, seed=1, epoch=0)
    check_boundaries(order.groups, order.sizes)
    taken = [
        order.positions(number, range(lane, lane + 1)).tolist()
        for lane in range(lanes)
        for number in range(order.batches)
    ]
    assert np.split(np.arange(len(order.rows)), order.groups[1:-1])[0].tolist() == taken[0]
    assert [part[0] for part in taken if part] == order.groups[:-1].tolist()
    assert groups_of_batches(order.sizes, each).tolist() == order.groups.tolist()


def test_sequential_reads_runs_of_four_mebibytes():
    """Groups of `Sequential` hold at most 4 MiB, and nearly that; its rows stay in their order."""
    count = 20_000
    nbytes = np.random.default_rng(3).integers(15 * KB, 40 * KB, count)
    layout = Layout(np.random.default_rng(4).permutation(count), np.array([count]), nbytes)
    order = epoch_order(Sequential(), layout, batch_size=32, last="keep", seed=0, epoch=0)
    by_row = np.empty(count, dtype=np.int64)
    by_row[layout.rows] = nbytes
    held = np.diff(np.append(0, np.cumsum(by_row[order.rows]))[order.groups])
    check_boundaries(order.groups, order.sizes)
    assert held.max() <= 4 * 1024**2
    assert np.median(held) > 0.9 * 4 * 1024**2
    assert order.rows.tolist() == list(range(count))


@pytest.mark.parametrize("groups", [[0, 1], [0, 1, 2, 3], [0, 5, 6, 40], [0, 50], [0, 7, 19, 20, 41, 60]])
@pytest.mark.parametrize("chunk", [1, 16, 64])
def test_permuting_stays_inside_groups(groups, chunk, monkeypatch):
    """Each group keeps its own places, whatever is sorted at a time."""
    monkeypatch.setattr(module, "_CHUNK", chunk)
    places = np.arange(100, 100 + groups[-1])
    permute_within(places, np.array(groups), 1, 2)
    for start, stop in pairwise(groups):
        assert sorted(places[start:stop].tolist()) == list(range(100 + start, 100 + stop))
    if groups[-1] >= 40:
        assert places.tolist() != list(range(100, 100 + groups[-1]))


def test_every_permutation_of_a_group_is_as_likely():
    """Chi-square over the 24 orders of groups of four rows, 24,000 groups in one epoch and sort."""
    count = 24_000
    places = np.tile(np.arange(4), count)
    permute_within(places, np.arange(0, 4 * count + 1, 4), 3, 0)
    words = places.reshape(count, 4) @ np.array([64, 16, 4, 1])
    _, times = np.unique(words, return_counts=True)
    assert len(times) == 24
    assert ((times - 1000) ** 2 / 1000).sum() < 23 + 4.5 * np.sqrt(46)
