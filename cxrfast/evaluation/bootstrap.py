"""Bootstrap of test images: how far an AUROC would move with another test set of the same size.

Replicates are drawn once, as counts, and every class, total and model uses the same: intervals cost one draw, and
two models' replicates can be paired. What this does not see is the spread of training (another seed) and images of one
patient, which it resamples as if they were independent; intervals are the narrower for it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrfast import chance
from cxrfast.errors import EvaluationError
from cxrfast.evaluation.auroc import Counts, Floats, auroc_of_counts, checked

# (scores (n, C), labels (n, C), counts (R, n)) -> (R, C), NaN where a replicate cannot say.
Statistic = Callable[[Floats, Floats, Counts], Floats]

_PIECE = 1 << 17


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A statistic's replicates: `by_class` (R, C), NaN where a replicate lacks a label value, and `total` (R,)."""

    by_class: Floats
    total: Floats

    @property
    def used(self) -> Floats:
        """The share of replicates that each class rests on: (C,)."""
        return np.asarray(np.mean(~np.isnan(self.by_class), axis=0), dtype=np.float64)


def draw_counts(images: int, replicates: int, seed: int) -> npt.NDArray[np.uint16]:
    """Draw `replicates` samples of `images` images with replacement: uint16 (R, n), how often each image is in each.

    Every row sums to `images`. A replicate depends on seed, its number and `images` alone.
    """
    if images < 1 or replicates < 1:
        raise EvaluationError(
            f"cannot draw {replicates} bootstrap replicates of {images} images; both must be positive"
        )
    counts = np.empty((replicates, images), dtype=np.uint16)
    rows = max(1, _PIECE // images)
    draws = np.arange(images, dtype=np.int64)
    for start in range(0, replicates, rows):
        numbers = np.arange(start, min(start + rows, replicates), dtype=np.int64)[:, None]
        picked = chance.integers(images, "bootstrap", seed, numbers, draws)
        picked += (numbers - start) * images
        counted = np.bincount(picked.ravel(), minlength=len(numbers) * images)
        counts[start : start + rows] = counted.reshape(-1, images)
    return counts


def bootstrap_auroc(
    scores: npt.ArrayLike, labels: npt.ArrayLike, counts: Counts, *, statistic: Statistic = auroc_of_counts
) -> Bootstrap:
    """Compute the AUROC (or another statistic of counts) of each class and their total in each replicate.

    `scores`, `labels`: (n, C), NaN labels masked; `counts`: (R, n) of `draw_counts`. The total of a replicate is
    weighted by the replicate's own positives, over the classes that it can measure; NaN where there is none.
    """
    scores, labels = checked(scores, labels)
    by_class = statistic(scores, labels, counts)
    positives = counts.astype(np.float64) @ (labels == 1)
    return Bootstrap(by_class, support_weighted(by_class, positives))


def support_weighted(values: Floats, positives: npt.ArrayLike) -> Floats:
    """Average over the last axis, weighted by positives, leaving NaN out: (..., C) -> (...), NaN where none is left."""
    weights = np.where(np.isnan(values), 0.0, positives)
    whole = weights.sum(axis=-1)
    summed = (weights * np.nan_to_num(values)).sum(axis=-1)
    return np.asarray(np.divide(summed, whole, out=np.full_like(whole, np.nan), where=whole > 0), dtype=np.float64)


def interval(values: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Return the central interval of replicates by their quantiles, leaving NaN out; (NaN, NaN) where all are NaN."""
    if not 0 < confidence < 1:
        raise EvaluationError(f"confidence is {confidence:g}; it must lie between 0 and 1, such as 0.95")
    kept = values[~np.isnan(values)]
    if not len(kept):
        return float("nan"), float("nan")
    low, high = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
