"""What a row of the table says, by how many positives and negatives it rests on."""

import numpy as np
import pytest

from cxrfast.errors import EvaluationError
from cxrfast.evaluation import evaluate
from cxrfast.evaluation.auroc import auroc
from cxrfast.evaluation.table import COLUMNS, TOTAL


def labelled(*positives: int, images: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return scores that know a little, and labels with these numbers of positives a class."""
    rng = np.random.default_rng(0)
    labels = np.zeros((images, len(positives)))
    for column, count in enumerate(positives):
        labels[rng.permutation(images)[:count], column] = 1
    return rng.normal(size=labels.shape) + labels, labels


def test_a_row_a_class_and_a_total():
    """Rows follow the targets, Total is last, and the total is weighted by positives."""
    scores, labels = labelled(20, 10, 0)
    result = evaluate(scores, labels, ("C", "A", "B"), replicates=50)
    assert tuple(result.table.columns) == COLUMNS
    assert result.table["class"].tolist() == ["C", "A", "B", TOTAL]
    values = auroc(scores, labels)
    total = result.row(TOTAL)
    assert total["auroc"] == pytest.approx((20 * values[0] + 10 * values[1]) / 30, abs=1e-12)
    assert (total["positives"], total["negatives"]) == (30, 50)
    assert result.draws.shape == (50, 4)
    assert result.images == 40


@pytest.mark.parametrize("fewest", range(13))
@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_interval_by_the_rarer_label(fewest: int, kind: str):
    """None: left out by name. Under 5: no interval. Under 10: an interval with a warning. From 10 on: no remark."""
    scores, labels = labelled(fewest if kind == "positive" else 40 - fewest, 20)
    row = evaluate(scores, labels, ("Rare", "Common"), replicates=100).row("Rare")
    assert np.isnan(row["auroc"]) == (fewest == 0)
    assert np.isnan(row["half_width"]) == (fewest < 5)
    assert row["note"].startswith("left out" if fewest == 0 else "no interval") == (fewest < 5)
    assert row["note"].startswith("rough interval") == (5 <= fewest < 10)
    assert (row["note"] == "") == (fewest >= 10)
    assert fewest >= 10 or kind in row["note"]


def test_centre_and_half_width_span_the_interval():
    """Centre ± half-width are the interval's ends, and the interval holds the bootstrap's middle."""
    scores, labels = labelled(20)
    row = evaluate(scores, labels, ("A",)).row("A")
    assert row["centre"] - row["half_width"] == pytest.approx(row["low"])
    assert row["centre"] + row["half_width"] == pytest.approx(row["high"])
    assert row["low"] < row["auroc"] < row["high"]


def test_a_single_class_is_its_own_total():
    """With one class the total repeats it, interval included."""
    scores, labels = labelled(15)
    table = evaluate(scores, labels, ("A",)).table.drop(columns=["class", "note"])
    np.testing.assert_allclose(table.iloc[0].to_numpy(float), table.iloc[1].to_numpy(float), rtol=1e-12)


def test_masked_labels_do_not_count():
    """A masked label is neither positive nor negative."""
    scores, labels = labelled(20)
    labels[:5] = np.nan
    row = evaluate(scores, labels, ("A",)).row("A")
    assert row["positives"] + row["negatives"] == 35


def test_same_seed_same_table():
    """The table is a function of scores, labels and seed."""
    scores, labels = labelled(20, 8)
    first, again, other = (evaluate(scores, labels, ("A", "B"), seed=seed) for seed in (1, 1, 2))
    assert first.table.equals(again.table)
    assert not first.table.equals(other.table)


@pytest.mark.parametrize("targets", [("A",), ("A", "A"), ("A", "B", "C")])
def test_refuses_other_targets(targets: tuple[str, ...]):
    """As many distinct names as columns of scores."""
    scores, labels = labelled(20, 10)
    with pytest.raises(EvaluationError, match="targets"):
        evaluate(scores, labels, targets)


def test_refuses_one_label_value_throughout():
    """A test set in which no class has both label values cannot be evaluated, and is told so in words."""
    scores, labels = labelled(0, 40)
    with pytest.raises(EvaluationError, match="both a positive and a negative"):
        evaluate(scores, labels, ("A", "B"))
