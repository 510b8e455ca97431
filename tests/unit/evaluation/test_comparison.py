"""The study's rule on the study's own numbers, and what does not compare."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrfast.errors import EvaluationError
from cxrfast.evaluation import Comparison, Evaluation, compare, evaluate, findings, plus_minus, provisos
from cxrfast.evaluation.table import COLUMNS, TOTAL

# STUDY.md: (positives among the 202, B1, F1), each as centre and half-width.
STUDY = {
    "Support Devices": (99, (0.656, 0.073), (0.744, 0.065)),
    "Lung Opacity": (117, (0.794, 0.067), (0.859, 0.051)),
    "Pleural Effusion": (64, (0.849, 0.051), (0.889, 0.042)),
    "Atelectasis": (75, (0.771, 0.067), (0.813, 0.058)),
    "Edema": (42, (0.748, 0.078), (0.860, 0.058)),
    "Cardiomegaly": (66, (0.535, 0.086), (0.711, 0.076)),
    "No Finding": (26, (0.843, 0.069), (0.891, 0.048)),
    "Enlarged Cardiomediastinum": (105, (0.314, 0.071), (0.456, 0.077)),
    TOTAL: (643, (0.660, 0.032), (0.746, 0.030)),
}
MEANT = {"Support Devices", "Lung Opacity", "Edema", "Cardiomegaly", "Enlarged Cardiomediastinum"}


def printed(model: str, place: int) -> Evaluation:
    """Return an evaluation that holds the study's printed numbers."""
    rows = []
    for name, row in STUDY.items():
        centre, half = row[place]
        rows.append((name, row[0], 202 - row[0], centre, centre, half, centre - half, centre + half, 1.0, ""))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Evaluation(model, tuple(table["class"][:-1]), table, 202, 500, 0.95, np.zeros((500, len(STUDY))))


def made(model: str, lift: float, seed: int = 0, positives: tuple[int, ...] = (30, 12, 7, 1, 0)) -> Evaluation:
    rng = np.random.default_rng(seed)
    labels = np.zeros((80, len(positives)))
    for column, count in enumerate(positives):
        labels[:count, column] = 1
    scores = rng.normal(size=labels.shape) + lift * labels
    return evaluate(scores, labels, ("A", "B", "C", "D", "E")[: len(positives)], model=model, replicates=200)


def test_the_rule_on_the_studys_own_numbers():
    """The rule as stated takes Pleural Effusion and No Finding of F1, which the study marks, as not significant."""
    fine_tuned = printed("Fine-tuned", 2)
    comparison = compare(printed("Baseline", 1), fine_tuned)
    higher, lower = comparison.shifted(fine_tuned)
    assert (set(higher), lower) == (MEANT, [])
    assert comparison.significant(fine_tuned)[TOTAL]


def test_the_rule_holds_the_baselines_centre_against_the_others_interval():
    """It is not symmetric: the other's interval counts, not the baseline's."""
    for baseline, other in ((made("a", 0), made("b", 1)), (made("b", 1), made("a", 0))):
        rows = compare(baseline, other).table.set_index("class")
        prefix = other.model
        centre = rows[f"{baseline.model}.centre"]
        for name in ("A", "B", "C", TOTAL):
            covered = rows.loc[name, f"{prefix}.low"] <= centre[name] <= rows.loc[name, f"{prefix}.high"]
            assert rows.loc[name, f"{prefix}.significant"] == (not covered)


def test_no_interval_no_verdict():
    """Where either interval is absent the shift is neither significant nor not."""
    comparison = compare(made("a", 0), made("b", 3))
    significant = comparison.significant(comparison.others[0])
    assert significant[["D", "E"]].isna().all()
    assert significant[["A", "B", "C", TOTAL]].notna().all()


def test_table_csv(tmp_path: Path):
    """One row a class and Total, a column set a model, read back as written."""
    comparison = compare(made("Baseline", 0), made("Fine-tuned", 1), made("Fine-tuned, six sets", 2))
    path = tmp_path / "made" / "table.csv"
    comparison.write_csv(path)
    back = pd.read_csv(path, keep_default_na=True)
    assert back.columns.tolist() == comparison.table.columns.tolist()
    assert back["class"].tolist() == ["A", "B", "C", "D", "E", TOTAL]
    for column in ("baseline.auroc", "fine_tuned.low", "fine_tuned_six_sets.half_width"):
        np.testing.assert_allclose(back[column], comparison.table[column].astype(float), atol=5e-7)


def test_one_model_alone_compares_with_none():
    """A baseline alone gives a table too, for a run of one pipeline."""
    comparison = compare(made("Baseline", 1))
    assert comparison.others == ()
    assert "significant" not in findings(comparison)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (made("b", 0, positives=(30, 12)), "targets"),
        (made("b", 0, positives=(30, 12, 8, 1, 0)), "same test images"),
        (made("A!", 0), "share a name"),
    ],
)
def test_refuses_what_does_not_compare(other: Evaluation, words: str):
    """Other targets, another test set, or two models of one column name."""
    with pytest.raises(EvaluationError, match=words):
        compare(made("a", 0), other)


def test_printed_value():
    """Centre ± half-width; the bare AUROC without an interval; a dash where left out."""
    evaluation = made("a", 1)
    assert plus_minus(evaluation.row("A")).count("±") == 1
    assert plus_minus(evaluation.row("D")) == f"{evaluation.row('D')['auroc']:.3f}"
    assert plus_minus(evaluation.row("E")) == "–"


def test_findings_state_the_table():
    """The paragraph names each significantly shifted class, and both totals as printed."""
    fine_tuned = printed("Fine-tuned", 2)
    text = findings(compare(printed("Baseline", 1), fine_tuned))
    assert "0.660 ± 0.032" in text
    assert "0.746 ± 0.030, significantly higher" in text
    assert "Of 8 classes with an interval it is significantly higher in 5" in text
    assert "lower in none" in text
    assert "No Finding" not in text


def test_findings_of_a_single_class():
    """With one class there is no talk of totals or of classes."""
    text = findings(compare(made("a", 0, positives=(30,)), made("b", 4, positives=(30,))))
    assert "an AUROC for A of" in text
    assert "total" not in text
    assert "classes" not in text


def test_findings_without_any_interval():
    """Two positives give AUROCs and no verdict."""
    text = findings(compare(made("a", 0, positives=(2, 1)), made("b", 4, positives=(2, 1))))
    assert "too few images for an interval" in text
    assert "No class has an interval" in text


@pytest.mark.parametrize("whole", [made("a", 1), compare(made("a", 1), made("b", 2))])
def test_provisos_name_each_class_once(whole: Evaluation | Comparison):
    """Left out, without interval, rough: each class by name with its counts; then the replicates used."""
    out, none, rough, shares = provisos(whole)
    assert "E (0 positives, 80 negatives)" in out
    assert "D (1 positive, 79 negatives)" in none
    assert "C (7 positives, 73 negatives)" in rough
    assert "D 6" in shares
    assert "100.0 %" not in shares


def test_no_provisos_where_there_is_nothing_to_mind():
    """A large test set gets no warnings."""
    assert provisos(made("a", 1, positives=(30, 40))) == []
