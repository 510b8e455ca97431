"""AUROC by class from ranks, for one test set or for hundreds of bootstrap replicates of it at once.

scikit-learn's `roc_auc_score` sorts anew at each call: 500 replicates of 14 classes would be 7,000 sorts and a Python
loop. A replicate is only another count for each image, so here a class is sorted once; what is left for a replicate is
a cumulative sum of its negatives' counts, looked up at its positives. All of it in whole numbers, with one division at
the end, so no replicate is off by rounding. The price is a table of counts, (replicates, images), which the caller
draws once and every class shares.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrfast.errors import EvaluationError

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.unsignedinteger] | npt.NDArray[np.signedinteger]

# Counts are worked through in pieces of about this many, so that a piece's cumulative sums stay in a core's cache.
_PIECE = 1 << 17


def auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """Return the area under the ROC curve of each class: float64 (C,), NaN where a class has one label value only.

    `scores`: (n, C), any monotone scale; `labels`: (n, C) of 0 and 1, NaN = masked. A tie between a positive and a
    negative counts one half, as in the Mann-Whitney U statistic (Hanley and McNeil, Radiology 143, 1982, p. 31).
    Raises EvaluationError where shapes differ, a score is NaN, or a label is none of 0, 1 and NaN.
    """
    scores, labels = checked(scores, labels)
    once = np.ones((1, len(scores)), dtype=np.uint16)
    return auroc_of_counts(scores, labels, once).reshape(-1)


def auroc_of_counts(scores: npt.ArrayLike, labels: npt.ArrayLike, counts: Counts) -> Floats:
    """Return the AUROC of each class in each replicate: float64 (R, C), NaN where a replicate lacks a label value.

    `counts`: (R, n) whole numbers, how often a replicate holds each image. Scores, labels and errors as in `auroc`.
    """
    scores, labels = checked(scores, labels)
    if counts.ndim != 2 or counts.shape[1] != len(scores) or counts.dtype.kind not in "iu":
        raise EvaluationError(
            f"counts are {counts.dtype} of shape {counts.shape}; whole numbers of shape (replicates, {len(scores)}) "
            "are needed, a column for each row of the scores"
        )
    ranked = [_rank(scores[:, column], labels[:, column]) for column in range(scores.shape[1])]
    result = np.full((len(counts), len(ranked)), np.nan)
    rows = max(1, _PIECE // max(1, len(scores)))
    for start in range(0, len(counts), rows):
        piece = slice(start, start + rows)
        for column, ranks in enumerate(ranked):
            result[piece, column] = _area(ranks, counts[piece])
    return result


def checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return scores and labels as float64 (n, C), or raise EvaluationError naming the first wrong row and column."""
    score_table, label_table = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if score_table.ndim != 2 or score_table.shape != label_table.shape:
        raise EvaluationError(
            f"scores have shape {score_table.shape}, labels {label_table.shape}; both must be (images, classes)"
        )
    _refuse(np.isnan(score_table), score_table, "score", "a number; did training diverge?")
    known = np.isnan(label_table) | (label_table == 0) | (label_table == 1)
    _refuse(~known, label_table, "label", "0, 1 or NaN (masked); choose a policy for uncertain labels first")
    return score_table, label_table


def _refuse(wrong: npt.NDArray[np.bool_], table: Floats, what: str, needed: str) -> None:
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise EvaluationError(
            f"the {what} in row {row}, column {column} is {table[row, column]:g} ({int(wrong.sum())} such); "
            f"it must be {needed}"
        )


@dataclass(frozen=True)
class _Ranks:
    """One class, sorted by score: image indices of positives and negatives.

    `below`, `upto`: how many negatives score below, and at most as high as, each positive.
    """

    positives: npt.NDArray[np.intp]
    negatives: npt.NDArray[np.intp]
    below: npt.NDArray[np.intp]
    upto: npt.NDArray[np.intp]


def _rank(scores: Floats, labels: Floats) -> _Ranks:
    order = np.argsort(scores, kind="stable")
    positives, negatives = order[labels[order] == 1], order[labels[order] == 0]
    below = np.searchsorted(scores[negatives], scores[positives], side="left")
    upto = np.searchsorted(scores[negatives], scores[positives], side="right")
    return _Ranks(positives, negatives, below, upto)


def _area(ranks: _Ranks, counts: Counts) -> Floats:
    """U / (positives x negatives) of one class: (R,)."""
    negatives = np.zeros((len(counts), len(ranks.negatives) + 1), dtype=np.int64)
    np.cumsum(counts.take(ranks.negatives, axis=1), axis=1, out=negatives[:, 1:])
    positives = counts.take(ranks.positives, axis=1).astype(np.int64)
    # Twice U stays whole: a positive beats the negatives below it twice, and those it ties with once.
    beaten = negatives.take(ranks.below, axis=1)
    beaten += beaten if np.array_equal(ranks.below, ranks.upto) else negatives.take(ranks.upto, axis=1)
    pairs = 2.0 * positives.sum(axis=1) * negatives[:, -1]
    twice_u = np.einsum("ri,ri->r", positives, beaten).astype(np.float64)
    area: Floats = np.divide(twice_u, pairs, out=np.full(len(counts), np.nan), where=pairs > 0)
    return area
