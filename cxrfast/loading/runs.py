"""What a rank reads, in the order in which it is needed: pure functions of an epoch's order and of where samples lie.

An order says which rows are best read together (`EpochOrder.groups`). A disk likes long requests, so rows of a group
that lie close together in a file become one run, and what lies between them is read over.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrfast.loading.order import EpochOrder
from cxrfast.loading.samples import Samples

Integers = npt.NDArray[np.int64]

LONGEST = 4 * 1024**2
"""A run asks for no more bytes than this, unless one payload is larger."""
MOST_ROWS = 400
"""A run holds no more rows: each takes two of the 1,024 pieces that one `preadv` fills (IOV_MAX)."""


@dataclass(frozen=True, eq=False)
class Reads:
    """The groups that a rank reads from some batch of an epoch on, in the order in which they are first needed."""

    groups: Integers
    """(g,) which group of the order it is."""
    starts: Integers
    """(g,) its first position in the order's rows that is still to come."""
    stops: Integers
    """(g,) the position after its last."""
    batches: Integers
    """(g,) the batch that needs it first."""


def reads_of(order: EpochOrder, lanes: range, start: int) -> Reads:
    """Return what is read for these lanes from batch `start` on."""
    each = order.batch_size // len(order.sizes)
    ends = np.cumsum(order.sizes)
    found = []
    for lane in lanes:
        stop, begin = int(ends[lane]), int(ends[lane] - order.sizes[lane])
        first = min(begin + start * each, stop)
        low, high = np.searchsorted(order.groups, [first, stop], side="right") - 1
        numbers = np.arange(low, high)
        starts = np.maximum(order.groups[low:high], first)
        found.append(np.stack([numbers, starts, order.groups[low + 1 : high + 1], (starts - begin) // each]))
    joined = np.concatenate(found, axis=1)
    joined = joined[:, np.argsort(joined[3], kind="stable")]
    return Reads(*joined)


def shards_of(samples: Samples, order: EpochOrder, reads: Reads) -> list[tuple[int, int]]:
    """Return the shards (shard set, shard) that some reads touch, each once, in the order in which they do."""
    if not len(reads.starts):
        return []
    positions = np.concatenate([np.arange(*ends) for ends in zip(reads.starts, reads.stops, strict=True)])
    rows = order.rows[positions]
    places = np.stack([samples.shardset[rows], samples.shard[rows]], axis=1)
    _, first = np.unique(places, axis=0, return_index=True)
    return [(int(shardset), int(shard)) for shardset, shard in places[np.sort(first)]]


@dataclass(frozen=True, eq=False)
class Run:
    """Bytes of one file that hold k payloads, in storage order, with what lies between them."""

    file: tuple[int, int]
    """Shard set and shard."""
    slots: Integers
    """(k,) which of the rows that were asked for it holds."""
    rows: list[int]
    offsets: list[int]
    """Where each payload starts in the file."""
    nbytes: list[int]

    @property
    def start(self) -> int:
        """Where the run starts in the file."""
        return self.offsets[0]

    @property
    def length(self) -> int:
        """How many bytes the run spans."""
        return self.offsets[-1] + self.nbytes[-1] - self.start


def runs_of(samples: Samples, rows: Integers, *, gap: int) -> list[Run]:
    """Join rows (n,), each named once, that lie at most `gap` bytes apart in a file; runs come in storage order."""
    shardset, shard, offset, nbytes = (
        column[rows] for column in (samples.shardset, samples.shard, samples.offset, samples.nbytes)
    )
    order = np.lexsort((offset, shard, shardset))
    shardset, shard, offset, nbytes = shardset[order], shard[order], offset[order], nbytes[order]
    stop = offset + nbytes
    cut = np.flatnonzero(
        (np.diff(shardset) != 0) | (np.diff(shard) != 0) | (offset[1:] - stop[:-1] > gap) | (offset[1:] < stop[:-1])
    )
    edges = [0, *(cut + 1).tolist(), len(rows)]
    runs = []
    for first, last in itertools.pairwise(edges):
        while first < last:
            reach = int(np.searchsorted(stop[first:last], offset[first] + LONGEST, side="right"))
            end = min(first + max(reach, 1), first + MOST_ROWS, last)
            part = slice(first, end)
            file = (int(shardset[first]), int(shard[first]))
            columns = (rows[order[part]].tolist(), offset[part].tolist(), nbytes[part].tolist())
            runs.append(Run(file, order[part], *columns))
            first = end
    return runs
