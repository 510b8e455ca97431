"""The bootstrap against a plain loop over the same replicates, and the draw itself."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cxrfast.errors import EvaluationError
from cxrfast.evaluation import bootstrap_auroc, draw_counts
from cxrfast.evaluation.bootstrap import interval, support_weighted


@pytest.fixture
def study_like() -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of 202 images and 5 classes, from common to a single positive, with masked labels."""
    rng = np.random.default_rng(5)
    labels = np.zeros((202, 5))
    for column, positives in enumerate((117, 42, 8, 1, 0)):
        labels[rng.permutation(202)[:positives], column] = 1
    scores = np.round(rng.normal(size=(202, 5)) + labels, 1)
    labels[rng.random((202, 5)) < 0.03] = np.nan
    labels[np.flatnonzero(labels[:, 3] == 1), 3] = 1
    return scores, labels


@pytest.mark.parametrize(("images", "replicates"), [(1, 1), (1, 40), (202, 500), (5000, 37)])
def test_a_replicate_holds_as_many_images_as_the_set(images: int, replicates: int):
    """Each row of counts sums to n."""
    counts = draw_counts(images, replicates, 3)
    assert counts.shape == (replicates, images)
    assert (counts.sum(axis=1) == images).all()


def test_a_replicate_depends_on_seed_and_number_alone(monkeypatch: pytest.MonkeyPatch):
    """More replicates, or another piece size, leave the first ones as they were; another seed does not."""
    counts = draw_counts(300, 40, 7)
    np.testing.assert_array_equal(draw_counts(300, 25, 7), counts[:25])
    assert (draw_counts(300, 40, 8) != counts).any(axis=1).all()
    monkeypatch.setattr("cxrfast.evaluation.bootstrap._PIECE", 1000)
    np.testing.assert_array_equal(draw_counts(300, 40, 7), counts)


def test_counts_are_those_of_drawing_with_replacement():
    """Over many replicates an image's count has mean 1 and variance 1 - 1/n, and images fall out alike."""
    counts = draw_counts(100, 20_000, 0).astype(float)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(counts.var(axis=0), 0.99, atol=0.06)
    np.testing.assert_allclose((counts == 0).mean(), 0.99**100, atol=0.002)


def test_equal_to_a_plain_loop(study_like: tuple[np.ndarray, np.ndarray]):
    """Every replicate of every class and of the total equals scikit-learn on the repeated rows, to 1e-12."""
    scores, labels = study_like
    counts = draw_counts(len(scores), 60, 1)
    sampled = bootstrap_auroc(scores, labels, counts)
    for number, row in enumerate(counts):
        picked = np.repeat(np.arange(len(scores)), row)
        values, positives = [], []
        for column in range(labels.shape[1]):
            rows = picked[~np.isnan(labels[picked, column])]
            truth = labels[rows, column]
            both = len(np.unique(truth)) == 2
            values.append(roc_auc_score(truth, scores[rows, column]) if both else np.nan)
            positives.append(truth.sum() if both else 0)
        np.testing.assert_allclose(sampled.by_class[number], values, rtol=0, atol=1e-12)
        total = np.average(np.nan_to_num(values), weights=positives)
        np.testing.assert_allclose(sampled.total[number], total, rtol=0, atol=1e-12)


def test_share_of_replicates_used(study_like: tuple[np.ndarray, np.ndarray]):
    """A class with one positive rests on the replicates that drew it (63 % of them); one with none on none."""
    scores, labels = study_like
    counts = draw_counts(len(scores), 500, 0)
    used = bootstrap_auroc(scores, labels, counts).used
    only = int(np.flatnonzero(labels[:, 3] == 1)[0])
    assert used[3] == np.mean(counts[:, only] > 0)
    assert 0.55 < used[3] < 0.71
    assert used[0] == 1
    assert used[4] == 0


def test_other_statistics_share_the_draw(study_like: tuple[np.ndarray, np.ndarray]):
    """Another statistic of (scores, labels, counts) runs on the same replicates and is totalled alike."""
    scores, labels = study_like
    counts = draw_counts(len(scores), 9, 0)
    sampled = bootstrap_auroc(scores, labels, counts, statistic=lambda s, y, c: np.full((len(c), s.shape[1]), 0.25))
    np.testing.assert_allclose(sampled.total, 0.25)


def test_total_leaves_missing_classes_out():
    """A class that cannot be measured carries no weight; where none can, the total is NaN."""
    values = np.array([[0.5, 1.0, np.nan], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(support_weighted(values, [1, 3, 100]), [0.875, np.nan])


def test_interval_is_of_the_quantiles():
    """The interval runs from the 0.025 to the 0.975 quantile of the replicates that could be used."""
    assert interval(np.append(np.arange(1001) / 1000, np.nan)) == pytest.approx((0.025, 0.975))
    assert np.isnan(interval(np.array([np.nan]))).all()


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_refuses_a_confidence_outside_0_1(confidence: float):
    """95 is a likely slip for 0.95."""
    with pytest.raises(EvaluationError, match=r"0\.95"):
        interval(np.arange(3.0), confidence)


@pytest.mark.parametrize(("images", "replicates"), [(0, 5), (5, 0)])
def test_refuses_to_draw_nothing(images: int, replicates: int):
    """No images or no replicates is a mistake upstream."""
    with pytest.raises(EvaluationError, match="positive"):
        draw_counts(images, replicates, 0)
