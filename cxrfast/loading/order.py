"""In what order an epoch visits its rows: pure functions of sizes, seed and epoch, never of ranks or threads.

The trade-off is between mixing and reading. One permutation of all rows (`Global`) mixes best and touches every shard
all the time: on a hard disk or a network file system most of what is fetched is thrown away. `Block` permutes shards,
then rows inside blocks that fit in memory, so that bytes are used soon after they are near; since packing has already
shuffled globally, its batches are as mixed. `Sequential` is for evaluation.

All three cut the epoch into `lanes` equal runs. Each global batch takes batch_size / lanes rows from every lane, and a
rank takes whole lanes. So a rank reads its own shards front to back, and the global batches, ranks laid end to end,
are the same on 1, 2, 4 or 8 ranks. What a lane reads together, its groups, is part of the order too (see `groups`).
"""

from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from cxrfast import chance
from cxrfast.errors import LoaderError
from cxrfast.loading.groups import groups_of_batches, groups_of_bytes, permute_within
from cxrfast.loading.memory import parse_memory

Integers = npt.NDArray[np.int64]
Last = Literal["drop", "keep"]

READ_TOGETHER = 4 * 1024**2
"""Most stored bytes that `Sequential` reads together."""
_CHUNK = 1 << 16
NOT_SEQUENTIAL = (
    "sampling and order=Sequential() do not go together, since each row comes once in its turn: use Block or Global, "
    "or no sampling"
)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the n rows of a set lie, as far as an order cares; everything in storage order, front to back."""

    rows: Integers
    """(n,) row numbers of the set."""
    counts: Integers
    """(k,) how many of them are in each shard that has any."""
    nbytes: Integers
    """(n,) stored bytes of each."""
    copies: Integers | None = None
    """(n,) which copy of its row each is, from 0 on; None where every row comes once."""

    @classmethod
    def of(cls, *, shardset: Integers, shard: Integers, offset: Integers, nbytes: Integers) -> "Layout":
        """Sort rows, given by columns (n,) of the manifest, into storage order."""
        file = shardset.astype(np.int64) * (int(shard.max(initial=0)) + 1) + shard
        steps = np.diff(file)
        if ((steps > 0) | ((steps == 0) & (np.diff(offset) > 0))).all():  # as manifests are, and what is picked of them
            rows = np.arange(len(file), dtype=np.int64)
        else:
            rows = np.lexsort((offset, file)).astype(np.int64)
            steps = np.diff(file[rows])
        ends = np.append(np.flatnonzero(steps) + 1, len(file))
        return cls(rows, np.diff(ends, prepend=0).astype(np.int64), nbytes[rows].astype(np.int64))

    def repeated(self, times: Integers) -> "Layout":
        """Return the layout in which row r lies times[r] times, (n,), in one place: what an epoch of a sampling has.

        A row's bytes count as often as it comes: what is read together then holds, if anything, less than it may.
        """
        times = times[self.rows]
        in_shards = np.add.reduceat(times, np.cumsum(self.counts) - self.counts)
        copies = np.repeat(np.cumsum(times) - times, times)
        np.subtract(np.arange(len(copies)), copies, out=copies)
        rows, nbytes = np.repeat(self.rows, times), np.repeat(self.nbytes, times)
        return Layout(rows, in_shards[in_shards > 0], nbytes, copies)

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
    """One permutation of all rows: for data in memory or on fast local storage.

    What a lane gives to a batch is read together.
    """

    def arrange(self, layout: Layout, *, sizes: Integers, each: int, seed: int, epoch: int) -> "Arranged":
        """Arrange an epoch of lanes of `sizes` rows that give `each` to a batch."""
        places = chance.permutation(len(layout.rows), "order", seed, epoch)[: sizes.sum()]
        return places, groups_of_batches(sizes, each)


@dataclass(frozen=True, kw_only=True)
class Sequential(_Lanes):
    """Rows as the set has them, for evaluation: each lane is a run of neighbours, so `lanes=1` gives 0, 1, 2, ...

    Runs of at most 4 MiB stored bytes are read together.
    """

    def arrange(self, layout: Layout, *, sizes: Integers, each: int, seed: int, epoch: int) -> "Arranged":
        """Arrange an epoch of lanes of `sizes` rows that give `each` to a batch."""
        if layout.copies is not None:
            raise LoaderError(NOT_SEQUENTIAL)
        places = np.empty(len(layout.rows), dtype=np.int64)
        places[layout.rows] = np.arange(len(places))
        places = _stay(places, int(sizes.sum()), seed, epoch)
        return places, groups_of_bytes(layout.nbytes, places, sizes, READ_TOGETHER)


@dataclass(frozen=True, kw_only=True)
class Block(_Lanes):
    """Shards in random order, rows permuted inside blocks of at most `memory / lanes` stored bytes; the default.

    A block is read together. So that not all lanes change blocks at once, the first block of lane l of L takes
    (l + 1) / L of a block's share of bytes, and its last one the rest of a share (see `groups_of_bytes`).
    """

    memory: str | int = "256MB"
    """What the blocks that all lanes together are in may hold, such as "256MB"."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "memory", parse_memory(self.memory, name="memory"))

    def arrange(self, layout: Layout, *, sizes: Integers, each: int, seed: int, epoch: int) -> "Arranged":
        """Arrange an epoch of lanes of `sizes` rows that give `each` to a batch."""
        places = _stay(_permuted_shards(layout.counts, seed, epoch), int(sizes.sum()), seed, epoch)
        blocks = groups_of_bytes(layout.nbytes, places, sizes, int(self.memory) // self.lanes)
        permute_within(places, blocks, seed, epoch)
        return places, blocks


Order = Global | Block | Sequential
Arranged = tuple[Integers, Integers]
"""Places in a layout, lane after lane, (m,), and the boundaries of what is read together, (g + 1,)."""


@dataclass(frozen=True, eq=False)
class EpochOrder:
    """The rows of one epoch, lane after lane, how batches are taken from them, and what is read together."""

    rows: Integers
    """(m,) row numbers, lane after lane."""
    sizes: Integers
    """(lanes,) how many of them are in each lane."""
    batch_size: int
    groups: Integers
    """(g + 1,) ascending boundaries into `rows`, 0 first, m last: rows groups[i] to groups[i + 1] are read together,
    before the first of them is used. No group crosses lanes."""
    copies: Integers | None = None
    """(m,) which copy of its row each is, from 0 on; None without sampling, where every row comes once."""

    @property
    def batches(self) -> int:
        """How many batches every rank sees."""
        return -(-len(self.rows) // self.batch_size)

    def batch(self, number: int, lanes: range) -> Integers:
        """Return the rows of these lanes in global batch `number`, lane after lane: batch_size / all lanes from each.

        In the last batch of an epoch that keeps every row a lane may have fewer, or none.
        """
        return self.rows[self.positions(number, lanes)]

    def positions(self, number: int, lanes: range) -> Integers:
        """Return where in `rows` these lanes' part of global batch `number` stands, as `batch` gives it: int64 (b,)."""
        each = self.batch_size // len(self.sizes)
        ends = np.cumsum(self.sizes)
        starts = np.minimum(ends - self.sizes + number * each, ends)
        full = (number + 1) * self.batch_size <= len(self.rows)
        stops = starts + each if full else ends
        return np.concatenate([np.arange(starts[lane], stops[lane], dtype=np.int64) for lane in lanes])


def epoch_order(order: Order, layout: Layout, *, batch_size: int, last: Last, seed: int, epoch: int) -> EpochOrder:
    """Return the order of one epoch.

    `last="drop"` leaves out n % batch_size rows, drawn afresh in each epoch, so that all batches are full;
    `last="keep"` visits each row once, or as often as a repeated layout has it. Raises LoaderError where the
    sizes do not fit.
    """
    check_sizes(len(layout.rows), batch_size=batch_size, lanes=order.lanes, last=last)
    sizes = lane_sizes(len(layout.rows), batch_size=batch_size, lanes=order.lanes, last=last)
    places, groups = order.arrange(layout, sizes=sizes, each=batch_size // order.lanes, seed=seed, epoch=epoch)
    copies = None if layout.copies is None else layout.copies[places]
    # Rows take the place of places, so that millions of them are never held twice.
    for start in range(0, len(places), _CHUNK):
        places[start : start + _CHUNK] = layout.rows[places[start : start + _CHUNK]]
    return EpochOrder(places, sizes, batch_size, groups, copies)


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


def _stay(places: Integers, stay: int, seed: int, epoch: int) -> Integers:
    """Return `stay` of the places (n,) in their order, moved up in place, each as likely to be left out.

    One is left out of each of equal segments of a ring whose start is drawn too: distinct without drawing again, the
    same chance for every place, and spread over all shards.
    """
    count = len(places)
    leave = count - stay
    if not leave:
        return places
    edges = np.arange(leave + 1, dtype=np.int64) * count // leave
    within = chance.uniform("left out", seed, epoch, np.arange(leave)) * np.diff(edges)
    start = chance.integers(count, "left out, start", seed, epoch)
    out = np.sort((edges[:-1] + within.astype(np.int64) + start) % count).tolist()
    for number, (left_out, following) in enumerate(pairwise([*out, count])):
        places[left_out - number : following - number - 1] = places[left_out + 1 : following]
    return places[:stay]


def _permuted_shards(counts: Integers, seed: int, epoch: int) -> Integers:
    """Return places in storage order (n,), shards permuted and each front to back."""
    shards = chance.permutation(len(counts), "order of shards", seed, epoch)
    permuted = counts[shards]
    ends = np.cumsum(counts)[shards]
    # Each place is its neighbour's plus 1, but for the first of a shard: summed in place, with no array beside it.
    places = np.ones(counts.sum(), dtype=np.int64)
    first = np.cumsum(permuted) - permuted
    places[first] = (ends - permuted) - np.append(0, ends[:-1] - 1)
    return np.cumsum(places, out=places)
