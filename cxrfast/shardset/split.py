"""Splits that keep a patient's images together and every target's share equal, decided without a generator.

A random split of patients leaves a rare target's share off by some percent; walking patients one by one to the part
that needs them most is exact but takes a Python step a patient. Here patients are sorted by how many images and which
findings they have and dealt out evenly along that order; then single patients, and pairs, change sides while that
brings the totals nearer. All sums are whole numbers below 2**53 in float64, so every machine and every BLAS finds the
same moves.
"""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast import chance
from cxrfast.errors import SplitError

Mask = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
Names: TypeAlias = "Sequence[Any] | npt.NDArray[Any] | pd.Series[Any]"

_MAX_MOVES = 2000
_NUM_CANDIDATES = 384
_BLOCK = 20
_ENOUGH = 0.1  # of what the smaller part may be off


def patient_split(
    patients: Names,
    targets: npt.NDArray[np.float32],
    *,
    fraction: float,
    seed: int,
    by: str = "patient",
) -> Mask:
    """Return which of n images go to the first part, which gets `fraction` of them: bool (n,).

    `patients`: a name an image, (n,); an image without one (NaN, None) is a patient of its own. The same name in two
    data sets is two people: the caller puts the set into the name. `targets`: (n, C), 1 for positive, NaN for masked;
    C may be 0. `by`: `patient`, or `image` to let a patient's images fall on both sides, for comparison.

    No patient is on both sides; with two or more patients neither side is empty. On a set of CheXpert's size images are
    within 0.1 % of the fraction and each target's prevalence within 0.2 % relative or 0.02 points of the whole's; on
    small sets the counts come as near as whole patients allow. The answer depends on the patients' names, not on the
    order of rows (but for images without a name, which go by their position).

    Raises SplitError where the fraction is not between 0 and 1, the seed is no whole number, `by` is another word, or
    lengths differ.
    """
    targets = np.asarray(targets, dtype=np.float32)
    _check(len(patients), targets, fraction, seed, by)
    groups, hashes = _groups(patients, by, seed)
    if len(hashes) < 2:
        return np.full(len(patients), len(hashes) == 1 and fraction >= 0.5, dtype=np.bool_)
    order = np.argsort(hashes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    groups = rank[groups]
    counts = _counts(groups, len(hashes), targets)
    first = _deal(counts, fraction, seed)
    return _improve(first, counts, fraction)[groups]


def _check(num_images: int, targets: npt.NDArray[np.float32], fraction: object, seed: object, by: str) -> None:
    if not isinstance(fraction, Real) or not 0 < float(fraction) < 1:
        raise SplitError(f"the fraction of a split is {fraction!r}; it must be a number between 0 and 1")
    if not isinstance(seed, Integral):
        raise SplitError(f"the seed of a split is {seed!r}; it must be a whole number")
    if by not in ("patient", "image"):
        raise SplitError(f"a split goes by 'patient' or by 'image', not by {by!r}")
    if targets.ndim != 2 or len(targets) != num_images:
        raise SplitError(f"{num_images} images have targets of shape {targets.shape}; (images, targets) is needed")


def _groups(patients: Names, by: str, seed: int) -> tuple[npt.NDArray[np.int64], chance.UInt64Array]:
    """Return each image's group, int64 (n,), and each group's hash, uint64 (groups,)."""
    num_images = len(patients)
    if by == "image":
        groups = np.arange(num_images)
        return groups, chance.counter_hash("split image", seed, groups)
    codes, names = pd.factorize(np.asarray(patients, dtype=object))
    nameless = np.flatnonzero(codes < 0)
    groups = codes.astype(np.int64)
    groups[nameless] = len(names) + np.arange(len(nameless))
    named = chance.counter_hash("split patient", seed, chance.hash_keys(str(name) for name in names))
    return groups, np.concatenate([named, chance.counter_hash("split image", seed, nameless)])


def _counts(groups: npt.NDArray[np.int64], num_groups: int, targets: npt.NDArray[np.float32]) -> FloatArray:
    """Return for each group what has to be shared out: float64 (groups, 1 + D) of whole numbers.

    The first column is images; the others are each target's positives and, where some are masked, its known images.
    """
    columns = [np.bincount(groups, minlength=num_groups)]
    for target in targets.T:
        columns.append(np.bincount(groups, weights=target == 1, minlength=num_groups))
        known = ~np.isnan(target)
        if not known.all():
            columns.append(np.bincount(groups, weights=known, minlength=num_groups))
    return np.stack(columns, axis=1).astype(np.float64)


def _deal(counts: FloatArray, fraction: float, seed: int) -> Mask:
    """Deal groups out evenly along an order in which likes are near: bool (groups,).

    Neighbours are mixed in blocks; without that a fixed profile would mean a fixed side, whatever the seed.
    """
    place = np.arange(len(counts))  # groups come in the order of their hashes, so ties and blocks are mixed by seed
    block = np.empty_like(place)
    block[np.lexsort([place, *(counts[:, 1:] > 0).T, counts[:, 0]])] = place // _BLOCK
    order = np.lexsort([place, block])
    steps = np.floor(np.arange(len(counts) + 1) * fraction + chance.uniform("split deal", seed))
    first = np.empty(len(counts), dtype=np.bool_)
    first[order] = np.diff(steps) > 0
    if first.all() or not first.any():
        first[order[0]] = not first[order[0]]
    return first


def _improve(first: Mask, counts: FloatArray, fraction: float) -> Mask:
    """Move groups, one or two at a time, while the squares of what is over or short shrink, each in its tolerance."""
    totals = counts.sum(axis=0)
    wanted = np.rint(totals * fraction)
    wanted[0] = np.clip(wanted[0], 1, totals[0] - 1)
    tolerance = _tolerance(totals)
    weights = np.rint(np.minimum(64 * (tolerance.max() / tolerance) ** 2, 4096))
    enough = _ENOUGH * min(fraction, 1 - fraction) * tolerance
    weighted = counts * weights
    squares = (weighted * counts).sum(axis=1)
    sign = np.where(first, -1.0, 1.0)
    kinds = _kinds(counts)
    excess = counts[first].sum(axis=0) - wanted
    for _ in range(_MAX_MOVES):
        if (np.abs(excess) <= enough).all():
            break
        change = 2 * sign * (weighted @ excess) + squares
        moved = _best_single(change, sign)
        if not len(moved):
            moved = _best_pair(change, sign, kinds, counts, weighted)
        if not len(moved):
            break
        excess += (sign[moved, None] * counts[moved]).sum(axis=0)
        sign[moved] *= -1
    return np.asarray(sign < 0)


def _kinds(counts: FloatArray) -> npt.NDArray[np.int64]:
    """Give equal rows one number, numbers in the order of the rows' values: int64 (groups,).

    Column by column, which takes a third of the time of NumPy's `unique` of whole rows.
    """
    kinds = np.zeros(len(counts), dtype=np.int64)
    for column in counts.astype(np.int64).T:
        kinds = np.unique(kinds * (column.max() + 1) + column, return_inverse=True)[1]
    return kinds


def _tolerance(totals: FloatArray) -> FloatArray:
    """Return what each total may be off: 0.1 % of the images, 0.2 % of a target or 0.02 points of the images."""
    tolerance = np.maximum(0.002 * totals, 0.0002 * totals[0])
    tolerance[0] = 0.001 * totals[0]
    return np.asarray(tolerance)


def _best_single(change: FloatArray, sign: FloatArray) -> npt.NDArray[np.int64]:
    """Return the group whose move helps most, if any does; a side's last group stays."""
    alone = np.where(sign == -1, np.count_nonzero(sign == -1) == 1, np.count_nonzero(sign == 1) == 1)
    cost = np.where(alone, np.inf, change)
    best = int(np.argmin(cost))
    return np.array([best] if cost[best] < 0 else [], dtype=np.int64)


def _best_pair(
    change: FloatArray, sign: FloatArray, kinds: npt.NDArray[np.int64], counts: FloatArray, weighted: FloatArray
) -> npt.NDArray[np.int64]:
    """Return the two groups whose common move helps most, if any does; they are sought among the likeliest.

    One group stands for all of its kind on its side, or a common kind would be the only candidate.
    """
    unlike = np.unique(2 * kinds + (sign > 0), return_index=True)[1]
    near = unlike[np.argsort(change[unlike], kind="stable")[:_NUM_CANDIDATES]]
    signed = sign[near, None] * counts[near]
    pairs = change[near, None] + change[None, near] + 2 * signed @ (sign[near, None] * weighted[near]).T
    for side in (-1.0, 1.0):
        if np.count_nonzero(sign == side) == 2:
            pairs[np.ix_(sign[near] == side, sign[near] == side)] = np.inf
    np.fill_diagonal(pairs, np.inf)
    a, b = np.unravel_index(int(np.argmin(pairs)), pairs.shape)
    return near[[a, b]] if pairs[a, b] < 0 else np.array([], dtype=np.int64)
