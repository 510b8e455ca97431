"""Which rows of a lane are read together, and how they are mixed: pure functions of sizes and bytes.

Reading in large groups turns scattered small reads into few long ones, but a group must be there before its first row
is used and stay until its last, so its bytes are bounded. And lanes that changed groups all at once would ask for all
their bytes at once, then for none: so the first group of lane l of L takes (l + 1) / L of a share, its last one the
rest of a share, and all through the epoch the lanes change groups one after another. The price is that a lane's ends
are mixed in smaller groups.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cxrfast import chance

Integers = npt.NDArray[np.int64]

_CHUNK = 1 << 16
"""Rows that are permuted in one sort, unless a single group has more. It bounds memory; it also is part of the order,
since how many bits of hash a row has depends on it."""


def groups_of_bytes(nbytes: Integers, places: Integers, sizes: Integers, limit: int) -> Integers:
    """Cut lanes into groups of at most `limit` bytes: ascending boundaries, int64 (g + 1,), 0 first, m last.

    `nbytes` are the bytes at each place, `places` (m,) the lanes' places, lane after lane, `sizes` (lanes,) how many
    each lane has. No group crosses lanes or is empty.

    Where every lane fits into one group, it is one. Else all lanes have equally many shares of equal bytes, and groups
    are shares, give or take a row, moved on by (l + 1) / L of one in lane l of L: so a lane's first group has that part
    of a share, and its last what is left of one, a whole share in the last lane. A row of over `limit / 2` bytes is a
    group of its own: else all groups would have to be much smaller to leave room for it.
    """
    stops = np.cumsum(sizes)
    lanes = [places[start:stop] for start, stop in zip(stops - sizes, stops, strict=True)]
    shares = max(_shares(nbytes[lane], limit) for lane in lanes)
    cuts = [_cuts(nbytes[lane], limit, shares, number + 1, len(lanes)) for number, lane in enumerate(lanes)]
    return np.concatenate([np.zeros(1, dtype=np.int64), *map(np.add, cuts, stops - sizes)])


def groups_of_batches(sizes: Integers, each: int) -> Integers:
    """Cut lanes into the `each` rows that they give to a batch, the last one fewer: int64 (g + 1,), as above."""
    stops = np.cumsum(sizes)
    starts = stops - sizes
    bounds = [np.append(np.arange(start + each, stop, each), stop) for start, stop in zip(starts, stops, strict=True)]
    filled = [bound for bound, size in zip(bounds, sizes, strict=True) if size]
    return np.concatenate([np.zeros(1, dtype=np.int64), *filled])


def permute_within(places: Integers, groups: Integers, seed: int, epoch: int) -> None:
    """Permute places (m,) inside each group alone, in place.

    Group, hash and index share one word (high, middle and low bits), so that a single sort of plain words does it.
    """
    for first, last in _chunks(groups):
        bounds = groups[first : last + 1]
        start, stop = int(bounds[0]), int(bounds[-1])
        index = np.arange(stop - start, dtype=np.uint64)
        low_bits = np.uint64((1 << (stop - start - 1).bit_length()) - 1)
        group_bits = (last - first - 1).bit_length()
        words = chance.hashes_of_range(start, stop, "order in blocks", seed, epoch)
        words >>= np.uint64(group_bits)
        words &= ~low_bits
        words |= index
        if group_bits:
            words |= np.repeat(np.arange(last - first, dtype=np.uint64) << np.uint64(64 - group_bits), np.diff(bounds))
        words.sort()
        words &= low_bits
        places[start:stop] = places[start:stop][words.view(np.int64)]


def _shares(nbytes: Integers, limit: int) -> int:
    """Return into how many equal shares a lane is to be cut, so that none with a row too many is over the limit."""
    small = nbytes[nbytes <= limit // 2]
    total, largest = int(small.sum()), int(small.max(initial=0))
    return 1 if total <= limit else -(-total // (limit - largest))


def _cuts(nbytes: Integers, limit: int, shares: int, part: int, parts: int) -> Integers:
    """Return where a lane's groups end, int64 (g,): the first after part / parts of a share."""
    large = nbytes > limit // 2
    starts = np.where(large, 0, nbytes)
    total = int(starts.sum())
    np.subtract(np.cumsum(starts), starts, out=starts)
    alone = np.flatnonzero(large)
    cuts = [alone, alone + 1, np.array([len(nbytes)])]
    if shares > 1:
        # In whole numbers, and without a product that might overflow. A row belongs to the share that it starts in.
        numerators = part + np.arange(shares, dtype=np.int64) * parts
        quotient, remainder = divmod(total, shares * parts)
        cuts.append(np.searchsorted(starts, numerators * quotient + numerators * remainder // (shares * parts)))
    ends = np.unique(np.concatenate(cuts))
    return ends[ends > 0]


def _chunks(groups: Integers) -> Iterator[tuple[int, int]]:
    """Yield runs of groups, first and one past the last, of at most `_CHUNK` rows together, or of a single group."""
    first = 0
    while first < len(groups) - 1:
        last = max(int(np.searchsorted(groups, groups[first] + _CHUNK, side="right")) - 1, first + 1)
        yield first, last
        first = last
