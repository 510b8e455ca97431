"""Models beside each other, by the study's rule: a shift counts where an interval does not cover the baseline's centre.

The rule is kept because it makes our tables comparable with the study's; it is not a test. It overlooks that the
baseline's centre is uncertain too (which makes it say "significant" too readily), that both models are judged on the
same images (which makes their difference less uncertain than their values), and that 14 classes give 14 chances.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxrfast.durable import write_whole
from cxrfast.errors import EvaluationError
from cxrfast.evaluation.table import TOTAL, Evaluation

_SHARED = ["class", "positives", "negatives"]
_OWN = ["auroc", "centre", "half_width", "low", "high", "replicates"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Models on one test set, the first the baseline.

    `table`: `class, positives, negatives`; for each model `<model>.auroc` ... `<model>.replicates` as in `Evaluation`,
    and for each but the first `<model>.shift` (of centres) and `<model>.significant` (True, False, or <NA> where either
    interval is absent); then `note`.
    """

    evaluations: tuple[Evaluation, ...]
    table: pd.DataFrame

    def write_csv(self, path: Path) -> None:
        """Write the table, a row a class and Total, numbers to six places, whole or not at all."""
        write_whole(path, self.table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode())

    @property
    def baseline(self) -> Evaluation:
        """The model that the others are held against."""
        return self.evaluations[0]

    @property
    def others(self) -> tuple[Evaluation, ...]:
        """The models after the baseline."""
        return self.evaluations[1:]

    @staticmethod
    def prefix(evaluation: Evaluation) -> str:
        """Return how a model's columns begin: "Fine-tuned" -> "fine_tuned"."""
        return _column_name(evaluation.model)

    def significant(self, other: Evaluation) -> "pd.Series[Any]":
        """Return, by class and Total, whether a model's shift is significant: True, False or <NA>."""
        return self.table.set_index("class")[f"{self.prefix(other)}.significant"]

    def shifted(self, other: Evaluation) -> tuple[list[str], list[str]]:
        """Return the classes, without Total, that are significantly higher and lower than the baseline's."""
        significant = self.significant(other).drop(TOTAL).fillna(False)
        shift = self.table.set_index("class")[f"{self.prefix(other)}.shift"].drop(TOTAL)
        names = significant.index
        return names[significant & (shift > 0)].tolist(), names[significant & (shift < 0)].tolist()


def _column_name(model: str) -> str:
    return "_".join("".join(letter if letter.isalnum() else " " for letter in model.lower()).split())


def compare(baseline: Evaluation, *finetuned: Evaluation) -> Comparison:
    """Put evaluations of the same test set side by side and apply the study's rule of significance.

    Raises EvaluationError where the test sets or targets differ, or two models have the same name.
    """
    models = (baseline, *finetuned)
    names = [_column_name(model.model) for model in models]
    if len(set(names)) != len(names):
        raise EvaluationError(f"two models share a name among {', '.join(model.model for model in models)}")
    for other in finetuned:
        _refuse_other_test_set(baseline, other)
    table = baseline.table[_SHARED].copy()
    for name, model in zip(names, models, strict=True):
        for column in _OWN:
            table[f"{name}.{column}"] = model.table[column]
        if model is not baseline:
            table[f"{name}.shift"] = model.table["centre"] - baseline.table["centre"]
            table[f"{name}.significant"] = _significant(baseline, model)
    table["note"] = baseline.table["note"]
    return Comparison(models, table)


def _significant(baseline: Evaluation, other: Evaluation) -> "pd.Series[bool]":
    centre, low, high = baseline.table["centre"], other.table["low"], other.table["high"]
    outside = ((centre < low) | (centre > high)).astype("boolean")
    return outside.mask(centre.isna() | low.isna())


def _refuse_other_test_set(baseline: Evaluation, other: Evaluation) -> None:
    if other.targets != baseline.targets:
        raise EvaluationError(
            f"{baseline.model} was evaluated on the targets {', '.join(baseline.targets)}, "
            f"{other.model} on {', '.join(other.targets)}; only equal targets compare"
        )
    counts = ["positives", "negatives"]
    if other.images != baseline.images or not other.table[counts].equals(baseline.table[counts]):
        raise EvaluationError(
            f"{baseline.model} and {other.model} were not evaluated on the same test images "
            f"({baseline.images:,} and {other.images:,}, or other labels); evaluate both on one set"
        )
