"""AUROC against scikit-learn, by its own symmetries, and its refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cxrfast.errors import EvaluationError
from cxrfast.evaluation.auroc import auroc, auroc_of_counts


def make(images: int, classes: int, levels: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scores on `levels` values (few: many ties) and labels, a tenth of them masked."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, classes)) < rng.random(classes)).astype(float)
    scores = rng.integers(levels, size=(images, classes)) + labels * rng.integers(2, size=(images, classes))
    labels[rng.random((images, classes)) < 0.1] = np.nan
    return scores.astype(np.float32), labels.astype(np.float32)


def by_sklearn(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> list[float]:
    result = []
    for column in range(scores.shape[1]):
        known = ~np.isnan(labels[:, column]) & (np.ones(len(scores)) if weights is None else weights).astype(bool)
        truth = labels[known, column]
        weight = None if weights is None else weights[known]
        both = len(np.unique(truth)) == 2
        result.append(roc_auc_score(truth, scores[known, column], sample_weight=weight) if both else np.nan)
    return result


@settings(max_examples=150, deadline=None)
@given(
    images=st.integers(1, 60),
    classes=st.integers(1, 5),
    levels=st.sampled_from([1, 2, 5, 10**6]),
    seed=st.integers(0, 2**32),
)
def test_equal_to_sklearn(images: int, classes: int, levels: int, seed: int):
    """Every class equals scikit-learn's value to 1e-12, with ties and masks, and is NaN where a label value lacks."""
    scores, labels = make(images, classes, levels, seed)
    np.testing.assert_allclose(auroc(scores, labels), by_sklearn(scores, labels), rtol=0, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(images=st.integers(2, 40), levels=st.sampled_from([2, 10**6]), seed=st.integers(0, 2**32))
def test_counts_are_weights(images: int, levels: int, seed: int):
    """A replicate of counts equals scikit-learn with these counts as sample weights, zeros included."""
    scores, labels = make(images, 3, levels, seed)
    counts = np.random.default_rng(seed).integers(0, 4, size=(5, images), dtype=np.uint16)
    expected = [by_sklearn(scores, labels, row) for row in counts]
    np.testing.assert_allclose(auroc_of_counts(scores, labels, counts), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("levels", [3, 10**6])
def test_depends_on_ranks_alone(levels: int):
    """A rising transformation changes nothing; negated scores give one minus the value."""
    scores, labels = make(200, 4, levels, 0)
    np.testing.assert_array_equal(auroc(np.arctan(scores.astype(float)), labels), auroc(scores, labels))
    np.testing.assert_allclose(auroc(-scores, labels), 1 - auroc(scores, labels), rtol=0, atol=1e-15)


def test_piece_size_is_invisible(monkeypatch: pytest.MonkeyPatch):
    """How many replicates are worked on at once changes no bit of the result."""
    scores, labels = make(50, 3, 10, 1)
    counts = np.random.default_rng(1).integers(0, 3, size=(23, 50), dtype=np.uint16)
    whole = auroc_of_counts(scores, labels, counts)
    monkeypatch.setattr("cxrfast.evaluation.auroc._PIECE", 120)
    np.testing.assert_array_equal(auroc_of_counts(scores, labels, counts), whole)


def test_no_images_or_no_classes():
    """Nothing to measure gives NaN or nothing, not an error."""
    assert np.isnan(auroc(np.zeros((0, 2)), np.zeros((0, 2)))).all()
    assert auroc(np.zeros((3, 0)), np.zeros((3, 0))).shape == (0,)


def test_infinite_logits_rank_as_ends():
    """A saturated logit is the largest score, and ties with its like."""
    labels = np.array([[0], [1], [1], [0]])
    assert auroc(np.array([[0.0], [np.inf], [1.0], [np.inf]]), labels)[0] == 0.625


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        (np.zeros((3, 2)), np.zeros((3, 1)), r"\(3, 2\).*\(3, 1\)"),
        (np.zeros(3), np.zeros(3), "images, classes"),
        (np.array([[0.0], [np.nan]]), np.zeros((2, 1)), "score in row 1, column 0"),
        (np.zeros((2, 2)), np.array([[0, 1], [0, -1]]), "label in row 1, column 1 is -1"),
    ],
)
def test_refuses(scores: np.ndarray, labels: np.ndarray, words: str):
    """What cannot be measured is refused, naming where it stands."""
    with pytest.raises(EvaluationError, match=words):
        auroc(scores, labels)


@pytest.mark.parametrize("counts", [np.ones((2, 4), int), np.ones(3, int), np.ones((2, 3))])
def test_refuses_counts_that_do_not_fit(counts: np.ndarray):
    """Counts must be whole numbers with a column an image."""
    with pytest.raises(EvaluationError, match=r"\(replicates, 3\)"):
        auroc_of_counts(np.zeros((3, 1)), np.zeros((3, 1)), counts)
