"""In what order an epoch visits its rows: pure functions of sizes, seed and epoch, never of ranks or threads.

The trade-off is between mixing and reading. One permutation of all rows (`Global`) mixes best and touches every shard
all the time: on a hard disk or a network file system most of what is fetched is thrown away. `Block` permutes shards,
then rows inside blocks that fit in memory, so that bytes are used soon after they are near; since packing has already
shuffled globally, its batches are as mixed. `Sequential` is for evaluation.

All three cut the epoch into `lanes` equal runs. Each global batch takes batch_size / lanes rows from every lane, and a
rank takes whole lanes. So a rank reads its own shards front to back, and the global batches, ranks laid end to end,
are the same on 1, 2, 4 or 8 ranks.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
import numpy.typing as npt

from cxrfast import chance
from cxrfast.errors import LoaderError
from cxrfast.loading.memory import parse_memory

Integers = npt.NDArray[np.int64]
Last = Literal["drop", "keep"]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the n rows of a set lie, as far as an order cares; everything in storage order, front to back."""

    rows: Integers
    """(n,) row numbers of the set."""
    counts: Integers
    """(k,) how many of them are in each shard that has any."""
    nbytes: Integers
    """(n,) stored bytes of each."""

    @classmethod
    def of(cls, *, shardset: Integers, shard: Integers, offset: Integers, nbytes: Integers) -> "Layout":
        """Sort rows, given by columns (n,) of the manifest, into storage order."""
        file = shardset.astype(np.int64) * (int(shard.max(initial=0)) + 1) + shard
        rows = np.lexsort((offset, file))
        _, counts = np.unique(file, return_counts=True)
        return cls(rows.astype(np.int64), counts.astype(np.int64), nbytes[rows].astype(np.int64))

    def digest(self) -> str:
        """Return a hash (32 hex digits) of where the rows lie: the same images packed otherwise have another order."""
        columns = (self.rows, self.counts, self.nbytes)
        return sha256(b"".join(column.astype("<i8").tobytes() for column in columns)).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class _Lanes:
    """What every order has: into how many runs the epoch is cut."""

    lanes: int = 8
    """Divides the batch size, and is divided by the number of ranks."""

    def __post_init__(self) -> None:
        if self.lanes < 1:
            raise LoaderError(f"lanes={self.lanes}: an epoch is cut into at least one lane")


@dataclass(frozen=True, kw_only=True)
class Global(_Lanes):
    """One permutation of all rows: for data in memory or on fast local storage."""

    def arrange(self, layout: Layout, *, sizes: Integers, seed: int, epoch: int) -> Integers:
        """Return the epoch's rows, lane after lane: int64 (sum of sizes,)."""
        return layout.rows[chance.permutation(len(layout.rows), "order", seed, epoch)[: sizes.sum()]]


@dataclass(frozen=True, kw_only=True)
class Sequential(_Lanes):
    """Rows as the set has them, for evaluation: each lane is a run of neighbours, so `lanes=1` gives 0, 1, 2, ..."""

    def arrange(self, layout: Layout, *, sizes: Integers, seed: int, epoch: int) -> Integers:
        """Return the epoch's rows, lane after lane: int64 (sum of sizes,)."""
        return np.flatnonzero(_staying(len(layout.rows), int(sizes.sum()), seed, epoch))


@dataclass(frozen=True, kw_only=True)
class Block(_Lanes):
    """Shards in random order, rows permuted inside blocks of at most `memory / lanes` stored bytes; the default."""

    memory: str | int = "256MB"
    """What the blocks that all lanes together are in may hold, such as "256MB"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "memory", parse_memory(self.memory, name="memory"))

    def arrange(self, layout: Layout, *, sizes: Integers, seed: int, epoch: int) -> Integers:
        """Return the epoch's rows, lane after lane: int64 (sum of sizes,)."""
        places = _permuted_shards(layout.counts, seed, epoch)
        places = places[_staying(len(places), int(sizes.sum()), seed, epoch)]
        blocks = _blocks(layout.nbytes[places], sizes, int(self.memory) // self.lanes)
        return layout.rows[places[_permute_within(blocks, seed, epoch)]]


Order = Global | Block | Sequential


@dataclass(frozen=True, eq=False)
class EpochOrder:
    """The rows of one epoch, lane after lane, and how batches are taken from them."""

    rows: Integers
    """(m,) row numbers, lane after lane."""
    sizes: Integers
    """(lanes,) how many of them are in each lane."""
    batch_size: int

    @property
    def batches(self) -> int:
        """How many batches every rank sees."""
        return -(-len(self.rows) // self.batch_size)

    def batch(self, number: int, lanes: range) -> Integers:
        """Return the rows of these lanes in global batch `number`, lane after lane: batch_size / all lanes from each.

        In the last batch of an epoch that keeps every row a lane may have fewer, or none.
        """
        each = self.batch_size // len(self.sizes)
        ends = np.cumsum(self.sizes)
        starts = np.minimum(ends - self.sizes + number * each, ends)
        full = (number + 1) * self.batch_size <= len(self.rows)
        stops = starts + each if full else ends
        return np.concatenate([self.rows[starts[lane] : stops[lane]] for lane in lanes])


def epoch_order(order: Order, layout: Layout, *, batch_size: int, last: Last, seed: int, epoch: int) -> EpochOrder:
    """Return the order of one epoch.

    `last="drop"` leaves out n % batch_size rows, drawn afresh in each epoch, so that all batches are full;
    `last="keep"` visits each row once. Raises LoaderError where the sizes do not fit.
    """
    check_sizes(len(layout.rows), batch_size=batch_size, lanes=order.lanes, last=last)
    sizes = lane_sizes(len(layout.rows), batch_size=batch_size, lanes=order.lanes, last=last)
    return EpochOrder(order.arrange(layout, sizes=sizes, seed=seed, epoch=epoch), sizes, batch_size)


def check_sizes(count: int, *, batch_size: int, lanes: int, last: Last) -> None:
    """Raise LoaderError where an epoch of `count` rows cannot be cut in this way."""
    if last not in ("drop", "keep"):
        raise LoaderError(f"last={last!r} is neither 'drop' nor 'keep'")
    if count == 0:
        raise LoaderError("the set has no samples: loosen the selection or the task that left none")
    if batch_size < 1 or batch_size % lanes:
        raise LoaderError(
            f"batch_size={batch_size} is not a positive multiple of lanes={lanes}: every batch takes equally many "
            f"samples from each lane, so set batch_size={max(1, round(batch_size / lanes)) * lanes} or other lanes"
        )
    if last == "drop" and batch_size > count:
        raise LoaderError(
            f"batch_size={batch_size} is more than the set's {count} samples, so last='drop' would leave out all of "
            "them: use a smaller batch or last='keep'"
        )


def lane_sizes(count: int, *, batch_size: int, lanes: int, last: Last) -> Integers:
    """Return how many rows each lane has: int64 (lanes,); the first `rest % lanes` have one more."""
    full, rest = divmod(count, batch_size)
    if last == "drop":
        rest = 0
    sizes = full * (batch_size // lanes) + rest // lanes + (np.arange(lanes) < rest % lanes)
    return np.asarray(sizes, dtype=np.int64)


def _staying(count: int, stay: int, seed: int, epoch: int) -> npt.NDArray[np.bool_]:
    """Return which of `count` places stay, bool (count,): all but `count - stay`, each as likely to be left out.

    One is drawn from each of equal segments of a ring whose start is drawn too: distinct without drawing again, the
    same chance for every place, and spread over all shards.
    """
    mask = np.ones(count, dtype=np.bool_)
    leave = count - stay
    if leave:
        edges = np.arange(leave + 1, dtype=np.int64) * count // leave
        within = chance.uniform("left out", seed, epoch, np.arange(leave)) * np.diff(edges)
        start = chance.integers(count, "left out, start", seed, epoch)
        mask[(edges[:-1] + within.astype(np.int64) + start) % count] = False
    return mask


def _permuted_shards(counts: Integers, seed: int, epoch: int) -> Integers:
    """Return places in storage order (n,), shards permuted and each front to back."""
    shards = chance.permutation(len(counts), "order of shards", seed, epoch)
    starts = np.cumsum(counts) - counts
    permuted = counts[shards]
    shift = starts[shards] - (np.cumsum(permuted) - permuted)
    return np.repeat(shift, permuted) + np.arange(counts.sum(), dtype=np.int64)


def _blocks(nbytes: Integers, sizes: Integers, limit: int) -> Integers:
    """Return the number of each row's block, ascending, (m,); no block crosses lanes or holds over `limit` bytes.

    A lane's blocks are of equal bytes, give or take a row, so that none is a small rest that mixes badly. Where `limit`
    is less than the largest row, every row is a block of its own.
    """
    change = np.zeros(len(nbytes), dtype=np.bool_)
    stop = 0
    for size in sizes:
        start, stop = stop, stop + int(size)
        if start == stop:
            continue
        lane = nbytes[start:stop]
        ends = np.cumsum(lane)
        # A block may run over its share by less than one row, hence the room for it.
        room = max(limit - int(lane.max()), 1)
        share = -(-int(ends[-1]) // -(-int(ends[-1]) // room))
        block = (ends - lane) // share
        change[start] = start > 0
        change[start + 1 : stop] = block[1:] != block[:-1]
    return np.cumsum(change)


def _permute_within(blocks: Integers, seed: int, epoch: int) -> Integers:
    """Return a permutation of range(m) that permutes inside each block alone; blocks (m,) ascend.

    Block, hash and index share one word (high, middle and low bits), so that a single sort of plain words does it.
    """
    count = len(blocks)
    index = np.arange(count, dtype=np.uint64)
    low_bits = np.uint64((1 << max(count - 1, 0).bit_length()) - 1)
    block_bits = int(blocks[-1]).bit_length() if count else 0
    words = chance.counter_hash("order in blocks", seed, epoch, index)
    words >>= np.uint64(block_bits)
    words |= blocks.astype(np.uint64) << np.uint64(min(64 - block_bits, 63))
    words &= ~low_bits
    words |= index
    words.sort()
    words &= low_bits
    return words.view(np.int64)
