"""One model on one test set: a row a class and a total, each with what its interval rests on.

A table could print an interval for every class, and did in the study, down to a single positive. Here a class says in
its row how many positives it has, how many replicates could be used, and gives no interval where there are too few to
mean anything; a class that cannot be measured stays in the table, named, rather than silently absent.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast.errors import EvaluationError
from cxrfast.evaluation.auroc import Floats, auroc, checked
from cxrfast.evaluation.bootstrap import Bootstrap, bootstrap_auroc, draw_counts, interval, support_weighted

TOTAL = "Total"
FEWEST_FOR_INTERVAL = 5
FEWEST_FOR_COMFORT = 10
COLUMNS = ("class", "positives", "negatives", "auroc", "centre", "half_width", "low", "high", "replicates", "note")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model scores on a test set.

    `table`: a row a class in the order of `targets`, then the row Total. `positives`, `negatives`: labelled images
    (those of Total: over the classes in it). `auroc`: on the test set as it is. `low`, `high`: the interval; `centre`,
    `half_width`: its middle and half its width, NaN where none is given. `replicates`: the share of replicates that it
    rests on. `note`: what to mind. `images`: rows of the test set. `draws`: the replicates, (R, C + 1), Total last.
    """

    model: str
    targets: tuple[str, ...]
    table: pd.DataFrame
    images: int
    replicates: int
    confidence: float
    draws: Floats

    def row(self, name: str) -> "pd.Series[float]":
        """Return the row of a class, or of "Total"."""
        return self.table[self.table["class"] == name].iloc[0]


def evaluate(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    targets: tuple[str, ...] | list[str],
    *,
    model: str = "Model",
    replicates: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> Evaluation:
    """Measure AUROC by class and its support-weighted total, with bootstrap intervals.

    `scores`: (n, C), logits or probabilities; `labels`: (n, C) of 0, 1 and NaN (masked); `targets`: C names; `model`:
    its name in tables, figures and sentences. The same seed and n give the same replicates, so that models can be
    paired.

    Raises EvaluationError where shapes or values are wrong, or no class has both a positive and a negative.
    """
    scores, labels = checked(scores, labels)
    if scores.shape[1] != len(targets) or len(set(targets)) != len(targets):
        raise EvaluationError(
            f"{scores.shape[1]} columns of scores for the {len(targets)} targets {', '.join(targets)}"
        )
    values = auroc(scores, labels)
    if np.isnan(values).all():
        raise EvaluationError(
            f"none of {', '.join(targets)} has both a positive and a negative among the {len(scores)} test images; "
            "AUROC needs both: is the right split selected?"
        )
    sampled = bootstrap_auroc(scores, labels, draw_counts(len(scores), replicates, seed))
    rows = _class_rows(targets, labels, values, sampled, confidence)
    table = pd.DataFrame([*rows, _total_row(rows, sampled.total, confidence)], columns=list(COLUMNS))
    draws = np.column_stack([sampled.by_class, sampled.total])
    return Evaluation(model, tuple(targets), table, len(scores), replicates, confidence, draws)


Row = dict[str, object]


def _class_rows(
    targets: tuple[str, ...] | list[str], labels: Floats, values: Floats, sampled: Bootstrap, confidence: float
) -> list[Row]:
    positives, negatives = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    return [
        _row(name, int(positives[c]), int(negatives[c]), float(values[c]), sampled.by_class[:, c], confidence)
        for c, name in enumerate(targets)
    ]


def _total_row(rows: list[Row], replicates: Floats, confidence: float) -> Row:
    frame = pd.DataFrame(rows)
    measured = frame[frame["auroc"].notna()]
    total = support_weighted(frame["auroc"].to_numpy(), frame["positives"].to_numpy())
    positives, negatives = int(measured["positives"].sum()), int(measured["negatives"].sum())
    return _row(TOTAL, positives, negatives, float(total), replicates, confidence)


def _row(name: str, positives: int, negatives: int, value: float, replicates: Floats, confidence: float) -> Row:
    row: Row = dict.fromkeys(COLUMNS, float("nan"))
    row |= {"class": name, "positives": positives, "negatives": negatives, "note": _note(positives, negatives)}
    if min(positives, negatives) == 0:
        return row
    row |= {"auroc": value, "replicates": float(np.mean(~np.isnan(replicates)))}
    if min(positives, negatives) >= FEWEST_FOR_INTERVAL:
        low, high = interval(replicates, confidence)
        row |= {"low": low, "high": high, "centre": (low + high) / 2, "half_width": (high - low) / 2}
    return row


def _note(positives: int, negatives: int) -> str:
    # The rarer label decides how far an AUROC can be trusted; in the study's test sets only positives are ever scarce.
    fewest, name = min((positives, "positive"), (negatives, "negative"))
    if fewest == 0:
        return f"left out: no {name}s"
    few = f"{fewest} {name}" if fewest == 1 else f"{fewest} {name}s"
    if fewest < FEWEST_FOR_INTERVAL:
        return f"no interval: {few}"
    return f"rough interval: {few}" if fewest < FEWEST_FOR_COMFORT else ""
