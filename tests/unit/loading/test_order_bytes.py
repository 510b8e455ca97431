"""What storage has to give for an epoch, simulated over sizes of 50 shards: bytes, reads and shards of each rank."""

from itertools import pairwise

import numpy as np
import pytest

from cxrfast.loading.order import Block, Global, Layout, epoch_order
from cxrfast.loading.ranks import Ranks

SHARDS, PER_SHARD, WORLD, BATCH = 50, 1024, 8, 1024
COUNT = SHARDS * PER_SHARD
GAP = 256 * 1024
EXTENT = 1024**2


class Stored:
    """A packed set of JPEGs of 15 to 40 KB, with 2 to 3 KB of headers and JSON around each."""

    def __init__(self):
        rng = np.random.default_rng(11)
        self.nbytes = rng.integers(15_000, 40_000, COUNT)
        around = rng.integers(2_000, 3_000, COUNT)
        self.shard = np.arange(COUNT) // PER_SHARD
        ends = np.cumsum(self.nbytes + around)
        self.offset = ends - self.nbytes - np.append(0, ends[PER_SHARD - 1 :: PER_SHARD])[self.shard]

    def layout(self):
        return Layout.of(shardset=self.shard * 0, shard=self.shard, offset=self.offset, nbytes=self.nbytes)

    def cost(self, rows):
        """Return bytes and number of the reads of some rows, gaps of at most GAP read over, and extents touched."""
        rows = rows[np.lexsort((self.offset[rows], self.shard[rows]))]
        start, stop, shard = self.offset[rows], self.offset[rows] + self.nbytes[rows], self.shard[rows]
        new = np.append(True, (np.diff(shard) != 0) | (start[1:] - stop[:-1] > GAP))
        first, last = start[new], stop[np.append(new[1:], True)]
        touched = {
            (file, extent)
            for file, a, b in zip(shard[new].tolist(), first.tolist(), last.tolist(), strict=True)
            for extent in range(a // EXTENT, -(-b // EXTENT))
        }
        return np.array([(last - first).sum(), len(first), len(touched) * EXTENT])


@pytest.fixture(scope="module")
def stored():
    return Stored()


def of_ranks(order):
    """Return each rank's rows, cut into its groups."""
    lane_stops = np.cumsum(order.sizes)
    found = []
    for rank in range(WORLD):
        share = Ranks(rank=rank, world_size=WORLD).share(len(order.sizes))
        start, stop = lane_stops[share.start] - order.sizes[share.start], lane_stops[share.stop - 1]
        cuts = order.groups[(order.groups >= start) & (order.groups <= stop)].tolist()
        found.append([order.rows[a:b] for a, b in pairwise(cuts)])
    return found


def costs(stored, order):
    """Return for each rank: bytes that it uses, bytes read, reads, bytes of touched extents; int64 (ranks, 4)."""
    return np.array(
        [
            [sum(stored.nbytes[rows].sum() for rows in groups), *sum(stored.cost(rows) for rows in groups)]
            for groups in of_ranks(order)
        ]
    )


@pytest.mark.parametrize("memory", ["64MB", "256MB", "1GB"])
@pytest.mark.parametrize("last", ["drop", "keep"])
def test_block_reads_little_more_than_it_uses(stored, memory, last):
    """With `Block` each rank's groups cost at most 1.2 of the bytes it uses, also in extents of 1 MiB, in few reads."""
    order = epoch_order(Block(memory=memory), stored.layout(), batch_size=BATCH, last=last, seed=1, epoch=2)
    used, read, reads, extents = costs(stored, order).T
    assert used.sum() >= stored.nbytes.sum() * (COUNT - BATCH) / COUNT
    assert (read <= 1.2 * used).all()
    # A block's ends cut an extent in two, which matters where blocks are of few extents.
    assert (extents <= (1.2 if memory != "64MB" else 1.4) * used).all()
    blocks = [len(groups) for groups in of_ranks(order)]
    shards = [len(np.unique(stored.shard[np.concatenate(groups)])) for groups in of_ranks(order)]
    assert (reads <= np.add(blocks, shards)).all()


def test_global_asks_for_every_image_apart(stored):
    """With `Global` nearly every image is a read of its own: a hundred times as many, and 1 MiB fetched for each."""
    layout = stored.layout()
    run = {"batch_size": BATCH, "last": "drop", "seed": 1, "epoch": 2}
    used, _, reads, extents = costs(stored, epoch_order(Global(), layout, **run)).T
    _, _, block_reads, block_extents = costs(stored, epoch_order(Block(), layout, **run)).T
    assert (reads >= 100 * block_reads).all()
    assert (extents >= 20 * used).all()
    assert (extents >= 20 * block_extents).all()


@pytest.mark.parametrize("epoch", range(5))
def test_a_rank_touches_its_own_shards(stored, epoch):
    """Over an epoch with `Block` a rank shares at most two shards with others, those at its lane's edges."""
    order = epoch_order(Block(), stored.layout(), batch_size=BATCH, last="drop", seed=4, epoch=epoch)
    touched = [set(stored.shard[np.concatenate(groups)].tolist()) for groups in of_ranks(order)]
    for rank, own in enumerate(touched):
        others = set().union(*(shards for other, shards in enumerate(touched) if other != rank))
        assert len(own & others) <= 2
        assert len(own) <= SHARDS // WORLD + 2
    everywhere = epoch_order(Global(), stored.layout(), batch_size=BATCH, last="drop", seed=4, epoch=epoch)
    assert all(len(np.unique(stored.shard[np.concatenate(groups)])) == SHARDS for groups in of_ranks(everywhere))
