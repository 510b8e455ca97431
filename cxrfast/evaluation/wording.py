"""What a table shows, in sentences: drawn from the numbers, so that no report can claim more than its table.

Sentences are made here rather than written by hand for each run, because the study's own text calls four cells
significant that its rule does not. They say what the rule gives, what the intervals rest on, and stop there.
"""

import numpy as np
import pandas as pd

from cxrfast.evaluation.comparison import Comparison
from cxrfast.evaluation.table import FEWEST_FOR_COMFORT, FEWEST_FOR_INTERVAL, TOTAL, Evaluation


def findings(comparison: Comparison) -> str:
    """Say in a paragraph what the comparison shows, by the study's rule and no more."""
    base = comparison.baseline
    single = len(base.targets) == 1
    what = f"an AUROC for {base.targets[0]}" if single else "a total AUROC"
    said = [f"On {_counted(base.images, 'test image', 'test images')}, {base.model} reaches {what} of {_total(base)}."]
    for other in comparison.others:
        said.append(f"{other.model} reaches {_total(other)}, {_mark(comparison, other)}.")
        if not single:
            said.append(_by_class(comparison, other))
    if comparison.others:
        said.append(
            f"A shift counts as significant where a model's {100 * base.confidence:g} % interval does not cover the "
            f"centre of {base.model}'s; that is the study's rule, not a test of the difference."
        )
    return " ".join(said)


def provisos(evaluation: Evaluation | Comparison) -> list[str]:
    """Return what a reader must know before trusting the table, a sentence each; empty where there is nothing."""
    models = evaluation.evaluations if isinstance(evaluation, Comparison) else (evaluation,)
    # Models share labels and replicates, so the first speaks for all.
    first = models[0]
    classes = first.table.iloc[:-1]
    fewest = classes[["positives", "negatives"]].min(axis=1)
    none, few = fewest == 0, fewest < FEWEST_FOR_INTERVAL
    said = [_left_out(first, classes[none])] if none.any() else []
    if (few & ~none).any():
        names = _with_counts(classes[few & ~none])
        said.append(
            f"AUROC without an interval, for fewer than {FEWEST_FOR_INTERVAL} positives or negatives: {names}. "
            "One image more or less could change it entirely."
        )
    rough = ~few & (fewest < FEWEST_FOR_COMFORT)
    if rough.any():
        names = _with_counts(classes[rough])
        said.append(f"Rough intervals, for fewer than {FEWEST_FOR_COMFORT} positives or negatives: {names}.")
    return said + _thinned(first, classes[classes["replicates"] < 1])


def plus_minus(row: "pd.Series[float]", prefix: str = "") -> str:
    """Return "0.973 ± 0.012"; the bare AUROC where there is no interval; "–" where the class was left out.

    `row`: a row of `Evaluation.table`, or of `Comparison.table` with the model's `prefix` ("fine_tuned.").
    """
    if not np.isnan(row[f"{prefix}half_width"]):
        return f"{row[f'{prefix}centre']:.3f} ± {row[f'{prefix}half_width']:.3f}"
    return "–" if np.isnan(row[f"{prefix}auroc"]) else f"{row[f'{prefix}auroc']:.3f}"


def _total(evaluation: Evaluation) -> str:
    return plus_minus(evaluation.row(TOTAL))


def _mark(comparison: Comparison, other: Evaluation) -> str:
    significant = comparison.significant(other).iloc[-1]
    if pd.isna(significant):
        return "too few images for an interval"
    if not significant:
        return "no significant shift"
    higher = other.row(TOTAL)["centre"] > comparison.baseline.row(TOTAL)["centre"]
    return f"significantly {'higher' if higher else 'lower'}"


def _by_class(comparison: Comparison, other: Evaluation) -> str:
    judged = int(comparison.significant(other).drop(TOTAL).notna().sum())
    if not judged:
        return "No class has an interval."
    higher, lower = comparison.shifted(other)
    of = _counted(judged, "class", "classes")
    return f"Of {of} with an interval it is significantly higher in {_listed(higher)}, lower in {_listed(lower)}."


def _listed(names: list[str]) -> str:
    return f"{len(names)} ({', '.join(names)})" if names else "none"


def _left_out(evaluation: Evaluation, rows: pd.DataFrame) -> str:
    images = _counted(evaluation.images, "test image", "test images")
    return f"Left out, with no positive or no negative among the {images}: {_with_counts(rows)}."


def _with_counts(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{name} ({_counted(positives, 'positive', 'positives')}, {_counted(negatives, 'negative', 'negatives')})"
        for name, positives, negatives in rows[["class", "positives", "negatives"]].itertuples(index=False)
    )


def _thinned(evaluation: Evaluation, rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    shares = ", ".join(f"{row['class']} {_share(row['replicates'])}" for _, row in rows.iterrows())
    return [
        "A bootstrap replicate that lacks a positive or a negative of a class is left out for that class. Shares of "
        f"the {evaluation.replicates:,} replicates used: {shares}; every other measured class uses all."
    ]


def _share(share: float) -> str:
    # Rounding must not make 100.0 % of a share below it.
    return f"{min(100 * share, 99.9):.1f} %"


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
