"""Splits that keep a patient's images together and every target's share equal, decided without a generator.

A random split of patients leaves a rare target's share off by some percent; walking patients one by one to the part
that needs them most is exact but takes a Python step a patient. Here patients are sorted by how many images and which
findings they have and dealt out evenly along that order; then single patients, and pairs, change sides while that
brings the totals nearer. All sums are whole numbers below 2**53 in float64, so every machine and every BLAS finds the
same moves.
"""

from collections.abc import Sequence
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

    Raises SplitError where the fraction is not between 0 and 1, `by` is another word, or lengths differ.
    """
    targets = np.asarray(targets, dtype=np.float32)
    _check(len(patients), targets, fraction, by)
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


def _check(num_images: int, targets: npt.NDArray[np.float32], fraction: float, by: str) -> None:
    if not 0 < fraction < 1:
        raise SplitError(f"the fraction of a split is {fraction}; it must lie between 0 and 1")
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
    """Deal groups out evenly along an order in which likes are neighbours: bool (groups,)."""
    keys = [np.arange(len(counts)), *(counts[:, 1:] > 0).T, counts[:, 0]]
    order = np.lexsort(keys)
    steps = np.floor(np.arange(len(counts) + 1) * fraction + chance.uniform("split deal", seed))
    first = np.empty(len(counts), dtype=np.bool_)
    first[order] = np.diff(steps) > 0
    if first.all() or not first.any():
        first[order[0]] = not first[order[0]]
    return first


def _improve(first: Mask, counts: FloatArray, fraction: float) -> Mask:
    """Move groups, one or two at a time, while the weighted squares of what is over or short shrink."""
    totals = counts.sum(axis=0)
    wanted = np.rint(totals * fraction)
    wanted[0] = np.clip(wanted[0], 1, totals[0] - 1)
    weights = _weights(totals)
    weighted = counts * weights
    squares = (weighted * counts).sum(axis=1)
    sign = np.where(first, -1.0, 1.0)
    excess = counts[first].sum(axis=0) - wanted
    for _ in range(_MAX_MOVES):
        change = 2 * sign * (weighted @ excess) + squares
        moved = _best_move(change, sign, counts, weighted)
        if not len(moved):
            break
        excess += (sign[moved, None] * counts[moved]).sum(axis=0)
        sign[moved] *= -1
    return np.asarray(sign < 0)


def _weights(totals: FloatArray) -> FloatArray:
    """Weigh each column by the inverse square of what it may be off: 0.2 % of it or 0.02 points of the images."""
    tolerance = np.maximum(0.002 * totals, 0.0002 * totals[0])
    tolerance[0] = 0.001 * totals[0]
    return np.asarray(np.rint(np.minimum(64 * (tolerance.max() / tolerance) ** 2, 4096)), dtype=np.float64)


def _best_move(change: FloatArray, sign: FloatArray, counts: FloatArray, weighted: FloatArray) -> npt.NDArray[np.int64]:
    """Return the groups to move: the best one, else the best pair among the likeliest, else none.

    A move that would empty a side costs infinity.
    """
    sizes = {side: np.count_nonzero(sign == side) for side in (-1.0, 1.0)}
    alone = np.where(sign == -1, sizes[-1.0] == 1, sizes[1.0] == 1)
    single = np.where(alone, np.inf, change)
    best = int(np.argmin(single))
    if single[best] < 0:
        return np.array([best])
    near = np.sort(np.argsort(change, kind="stable")[: min(_NUM_CANDIDATES, len(change))])
    signed = sign[near, None] * counts[near]
    pairs = change[near, None] + change[None, near] + 2 * signed @ (sign[near, None] * weighted[near]).T
    for side, size in sizes.items():
        if size == 2:
            pairs[np.ix_(sign[near] == side, sign[near] == side)] = np.inf
    np.fill_diagonal(pairs, np.inf)
    a, b = np.unravel_index(int(np.argmin(pairs)), pairs.shape)
    return near[[a, b]] if pairs[a, b] < 0 else np.array([], dtype=np.int64)
