import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrfast.errors import LoaderError
from cxrfast.loading.order import Block, Global, Layout, Sequential, epoch_order, lane_sizes
from cxrfast.loading.ranks import Ranks

ORDERS = (Global, Block, Sequential)


def layout_of(count, *, per_shard=10, nbytes=1000, shuffled=False):
    """Return the layout of `count` rows, by default stored in the order of their numbers."""
    place = np.random.default_rng(1).permutation(count) if shuffled else np.arange(count)
    sizes = np.full(count, nbytes)
    zero = np.zeros(count, dtype=np.int64)
    return Layout.of(shardset=zero, shard=place // per_shard, offset=place % per_shard * nbytes, nbytes=sizes)


def global_batches(order, layout, world, **settings):
    """Return each global batch: the parts of all ranks laid end to end."""
    epoch = epoch_order(order, layout, **settings)
    shares = [Ranks(rank=rank, world_size=world).share(order.lanes) for rank in range(world)]
    return [
        np.concatenate([epoch.batch(number, share) for share in shares]).tolist() for number in range(epoch.batches)
    ]


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(ORDERS),
    lanes=st.sampled_from([1, 2, 4, 8, 16]),
    each=st.integers(1, 5),
    count=st.integers(1, 400),
    last=st.sampled_from(["drop", "keep"]),
    epoch=st.integers(0, 3),
    shuffled=st.booleans(),
)
def test_epochs_over_any_ranks(kind, lanes, each, count, last, epoch, shuffled):
    """No row twice; `keep`: each once; `drop`: all but n % batch; global batches equal for every number of ranks."""
    batch = lanes * each
    if last == "drop" and batch > count:
        return
    order, layout = kind(lanes=lanes), layout_of(count, shuffled=shuffled)
    run = {"batch_size": batch, "last": last, "seed": 7, "epoch": epoch}
    alone = global_batches(order, layout, 1, **run)
    rows = [row for part in alone for row in part]
    assert len(set(rows)) == len(rows) == (count if last == "keep" else count - count % batch)
    assert set(rows) <= set(range(count))
    assert all(len(part) == batch for part in alone[:-1])
    assert len(alone) == -(-len(rows) // batch)
    for world in (2, 4, 8):
        if lanes % world == 0:
            assert global_batches(order, layout, world, **run) == alone


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_a_full_batch_takes_equally_many_rows_of_each_rank(world):
    """Ranks see equally many batches and full ones of equal size; in the last of `keep` a rank may have none."""
    layout = layout_of(67)
    epoch = epoch_order(Sequential(), layout, batch_size=16, last="keep", seed=0, epoch=0)
    sizes = [
        [len(epoch.batch(number, Ranks(rank=rank, world_size=world).share(8))) for number in range(epoch.batches)]
        for rank in range(world)
    ]
    assert all(row[:4] == [16 // world] * 4 for row in sizes)
    assert [sum(column) for column in zip(*sizes, strict=True)] == [16, 16, 16, 16, 3]
    if world == 8:
        assert [row[4] for row in sizes] == [1, 1, 1, 0, 0, 0, 0, 0]


@given(
    kind=st.sampled_from(ORDERS),
    count=st.integers(64, 300),
    last=st.sampled_from(["drop", "keep"]),
    world=st.sampled_from([1, 2, 8]),
)
def test_positions_say_where_a_batch_stands_in_the_epoch(kind, count, last, world):
    """`batch` is `rows[positions]`, and over all batches and ranks every position is taken once, lanes in order."""
    layout = layout_of(count, shuffled=True)
    epoch = epoch_order(kind(), layout, batch_size=64, last=last, seed=2, epoch=1)
    taken = []
    for rank in range(world):
        share = Ranks(rank=rank, world_size=world).share(8)
        positions = [epoch.positions(number, share) for number in range(epoch.batches)]
        for number, part in enumerate(positions):
            assert part.dtype == np.int64
            assert epoch.rows[part].tolist() == epoch.batch(number, share).tolist()
        taken += sorted(np.concatenate(positions).tolist())
    assert taken == list(range(len(epoch.rows)))


@given(st.integers(1, 500), st.integers(1, 8), st.sampled_from([1, 2, 4, 8]), st.sampled_from(["drop", "keep"]))
def test_lanes_differ_by_one_row_at_most(count, each, lanes, last):
    """The rest of an epoch goes to the first lanes, one row each."""
    sizes = lane_sizes(count, batch_size=each * lanes, lanes=lanes, last=last)
    assert sizes.max() - sizes.min() <= (last == "keep")
    assert (np.diff(sizes) <= 0).all()


@pytest.mark.parametrize("kind", [Global, Block])
def test_epochs_and_seeds_differ_and_repeat(kind):
    """The same seed and epoch give the same order again, others another; seed 0, epoch 1 is not seed 1, epoch 0."""
    layout = layout_of(512)
    orders = {
        (seed, epoch): epoch_order(kind(), layout, batch_size=32, last="drop", seed=seed, epoch=epoch).rows.tolist()
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    again = epoch_order(kind(), layout, batch_size=32, last="drop", seed=1, epoch=1).rows.tolist()
    assert again == orders[1, 1]
    assert len({tuple(rows) for rows in orders.values()}) == 4


@pytest.mark.parametrize("kind", ORDERS)
def test_who_is_left_out_is_drawn_afresh_and_favours_nobody(kind):
    """Over 600 epochs every row is left out about equally often, the last rows of a shard too."""
    count, batch, epochs = 101, 16, 600
    layout = layout_of(count, per_shard=17)
    out = Counter()
    for epoch in range(epochs):
        rows = epoch_order(kind(), layout, batch_size=batch, last="drop", seed=3, epoch=epoch).rows
        out.update(set(range(count)) - set(rows.tolist()))
    expected = epochs * (count % batch) / count
    times = np.array([out[row] for row in range(count)])
    chi_square = ((times - expected) ** 2 / expected).sum()
    assert times.sum() == epochs * (count % batch)
    assert chi_square < count + 4.5 * np.sqrt(2 * count)


def test_sequential_lanes_are_runs_of_neighbours():
    """Each lane ascends by one, so `lanes=1` gives the set's own order."""
    layout = layout_of(64, shuffled=True)
    one = epoch_order(Sequential(lanes=1), layout, batch_size=8, last="keep", seed=0, epoch=0)
    assert one.batch(2, range(1)).tolist() == list(range(16, 24))
    eight = epoch_order(Sequential(), layout, batch_size=16, last="keep", seed=0, epoch=0)
    assert eight.batch(0, range(8)).tolist() == [8 * lane + i for lane in range(8) for i in range(2)]


@pytest.mark.parametrize("memory", [1, 16_000, 40_000, 1_000_000])
def test_block_reads_shards_front_to_back(memory):
    """No row is further from its turn in storage than a block is long; with blocks of a row nothing moves."""
    place = np.arange(1000)
    layout = Layout.of(shardset=place // 500, shard=place // 50, offset=place % 50 * 500, nbytes=place * 0 + 500)
    order = epoch_order(Block(memory=memory, lanes=4), layout, batch_size=8, last="keep", seed=1, epoch=0)
    for lane in np.split(order.rows, np.cumsum(order.sizes)[:-1]):
        met = {shard: number for number, shard in enumerate(dict.fromkeys((lane // 50).tolist()))}
        stored = np.lexsort((lane, [met[shard] for shard in (lane // 50).tolist()]))
        moved = np.abs(np.argsort(stored) - np.arange(len(lane)))
        assert moved.max() <= (memory // 4 // 500 if memory > 1 else 0)


def test_block_mixes_inside_its_blocks():
    """Rows of a block are permuted: neighbours in storage are rarely neighbours in a lane."""
    layout = layout_of(8192, per_shard=1024)
    order = epoch_order(Block(memory="8MB", lanes=8), layout, batch_size=64, last="keep", seed=1, epoch=0)
    assert (np.diff(order.rows) == 1).mean() < 0.01
    assert (np.diff(order.rows) > 0).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("last", ["drop", "keep"])
@pytest.mark.parametrize("kind", ORDERS)
def test_an_order_takes_few_bytes_a_row(kind, last):
    """Working out an order of m rows takes at most 18 bytes a row, of which the rows themselves are 8.

    NumPy's memory is counted where it is asked for, so the bound holds on any machine.
    """
    count = 1_000_000
    counts, rest = np.full(-(-count // 1024), 1024), count % 1024
    counts[-1] = rest
    layout = Layout(np.arange(count), counts, np.arange(count) % 25_000 + 15_000)
    tracemalloc.start()
    try:
        order = epoch_order(kind(), layout, batch_size=1024, last=last, seed=1, epoch=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(order.rows) == count - (count % 1024 if last == "drop" else 0)
    assert peak <= 18 * count


def test_rows_are_found_where_they_lie():
    """Sets whose rows were picked or reordered keep their row numbers; two folders' shards of one number differ."""
    layout = Layout.of(
        shardset=np.array([1, 0, 0, 1]),
        shard=np.array([0, 3, 0, 0]),
        offset=np.array([512, 0, 9, 0]),
        nbytes=np.array([10, 20, 30, 40]),
    )
    assert layout.rows.tolist() == [2, 1, 3, 0]
    assert layout.counts.tolist() == [1, 1, 2]
    assert layout.nbytes.tolist() == [30, 20, 40, 10]


@pytest.mark.parametrize(
    ("count", "batch", "lanes", "last", "words"),
    [
        (100, 12, 8, "drop", r"batch_size=12 .* lanes=8.* batch_size=16"),
        (100, 0, 8, "keep", "batch_size=0"),
        (10, 16, 8, "drop", r"batch_size=16 .* 10 samples, .* last='keep'"),
        (0, 16, 8, "keep", "no samples"),
        (100, 16, 8, "pad", "last='pad'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(count, batch, lanes, last, words):
    """The error names the values and the remedy."""
    with pytest.raises(LoaderError, match=words):
        epoch_order(Global(lanes=lanes), layout_of(count), batch_size=batch, last=last, seed=0, epoch=0)
    with pytest.raises(LoaderError, match="lanes=0"):
        Block(lanes=0)
