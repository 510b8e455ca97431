"""Splits: patients stay whole, shares stay equal, and the answer is a pure function."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrfast.errors import SplitError
from cxrfast.shardset.split import _kinds, patient_split

# Positives on CheXpert's 191,027 frontal training images of 64,540 patients, uncertain ones counted.
POSITIVES = (
    16974, 19473, 30092, 98642, 8148, 61493, 37364, 20656, 59583, 20401, 86477, 4317, 7935, 108085,
)  # fmt: skip


def cohort(num_images, num_patients, seed):
    """Return each image's patient: everyone has one image, and some have very many, as in CheXpert."""
    generator = np.random.default_rng(seed)
    weights = generator.pareto(1.5, num_patients) + 0.3
    more = generator.choice(num_patients, size=num_images - num_patients, p=weights / weights.sum())
    return np.sort(np.concatenate([np.arange(num_patients), more]))


def findings(patients, positives, seed):
    """Return targets with exactly so many positives, alike among a patient's images: float32 (n, C)."""
    generator = np.random.default_rng(seed)
    targets = np.zeros((len(patients), len(positives)), dtype=np.float32)
    for column, count in enumerate(positives):
        leaning = generator.normal(size=patients.max() + 1)[patients] + 0.7 * generator.normal(size=len(patients))
        targets[np.argsort(-leaning)[:count], column] = 1
    return targets


@pytest.fixture(scope="module")
def chexpert():
    """Return names and targets of CheXpert's size and counts."""
    patients = cohort(191_027, 64_540, seed=0)
    names = np.array([f"chexpert/patient{number + 1:05d}" for number in patients], dtype=object)
    return names, findings(patients, POSITIVES, seed=1)


def assert_balanced(first, targets, fraction):
    """Images within 0.1 % of the fraction, prevalences within 0.2 % relative or 0.02 points, in both parts."""
    assert abs(first.mean() - fraction) <= 0.001 * fraction
    whole = np.nanmean(targets, axis=0)
    for part in (first, ~first):
        off = np.abs(np.nanmean(targets[part], axis=0) - whole)
        assert (off <= np.maximum(0.002 * whole, 0.0002)).all(), off


@pytest.mark.parametrize(("fraction", "by"), [(0.8, "patient"), (0.5, "patient"), (0.1, "patient"), (0.8, "image")])
def test_a_set_of_chexperts_size_is_split_within_the_bounds(chexpert, fraction, by):
    """Every target keeps its prevalence in both parts, the rarest too, whole patients or not."""
    names, targets = chexpert
    first = patient_split(names, targets, fraction=fraction, seed=1234, by=by)
    assert_balanced(first, targets, fraction)
    if by == "patient":
        assert not set(names[first]) & set(names[~first])


def test_masked_targets_are_shared_out_as_well(chexpert):
    """Prevalence among known labels is kept where a tenth of each target is masked, and one target mostly."""
    names, targets = chexpert
    targets = targets.copy()
    masked = np.random.default_rng(2).random(targets.shape) < np.linspace(0, 0.2, targets.shape[1])
    targets[masked] = np.nan
    assert_balanced(patient_split(names, targets, fraction=0.8, seed=1, by="patient"), targets, 0.8)


@pytest.mark.parametrize("fraction", [0.8, 0.9, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_kermanys_size_is_split_to_the_nearest_image(fraction, seed):
    """5,216 images of 3,654 patients with one target: no count is further off than 1 image from the ideal."""
    patients = cohort(5216, 3654, seed)
    targets = np.isin(patients, np.random.default_rng(seed).permutation(3654)[:2600]).astype(np.float32)[:, None]
    first = patient_split([f"p{number}" for number in patients], targets, fraction=fraction, seed=seed)
    assert abs(first.sum() - 5216 * fraction) <= 1
    assert abs(targets[first].sum() - targets.sum() * fraction) <= 1


def test_patients_of_many_images_are_shared_out():
    """The number of images a patient is balanced too: means of the parts' patients differ by under 2 %."""
    patients = cohort(20_000, 6000, seed=3)
    first = patient_split(patients, np.zeros((20_000, 0)), fraction=0.5, seed=0)
    sizes = [len(patients[part]) / len(set(patients[part])) for part in (first, ~first)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


@settings(max_examples=60, deadline=None)
@given(
    patients=st.lists(st.one_of(st.none(), st.integers(0, 12)), max_size=40),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(-(2**70), 2**70),
    num_targets=st.integers(0, 3),
)
def test_small_sets_never_share_a_patient_nor_leave_a_side_empty(patients, fraction, seed, num_targets):
    """For any patients, named or not, any fraction and seed."""
    targets = np.resize(np.array([1, 0, np.nan, 0, 1], dtype=np.float32), (len(patients), num_targets))
    first = patient_split(pd.Series(patients, dtype=object), targets, fraction=fraction, seed=seed)
    assert first.shape == (len(patients),)
    named = [[patients[row] for row in np.flatnonzero(part) if patients[row] is not None] for part in (first, ~first)]
    assert not set(named[0]) & set(named[1])
    if len({name for name in patients if name is not None}) + patients.count(None) >= 2:
        assert first.any()
        assert not first.all()


def test_the_order_of_rows_does_not_matter(chexpert):
    """The same patients and images in another order are split the same."""
    names, targets = (part[:20_000] for part in chexpert)
    order = np.random.default_rng(4).permutation(len(names))
    first = patient_split(names, targets, fraction=0.8, seed=5)
    assert np.array_equal(first[order], patient_split(names[order], targets[order], fraction=0.8, seed=5))


def test_another_seed_is_another_split_and_the_same_seed_the_same(chexpert):
    """Seeds give splits that overlap as chance would, two calls the same."""
    names, targets = (part[:20_000] for part in chexpert)
    splits = [patient_split(names, targets, fraction=0.5, seed=seed) for seed in (0, 1, 0)]
    assert np.array_equal(splits[0], splits[2])
    assert 0.45 < (splits[0] == splits[1]).mean() < 0.55


@given(st.lists(st.lists(st.integers(0, 3), min_size=3, max_size=3), min_size=1, max_size=30))
def test_kinds_are_numbered_as_numpy_does(rows):
    """Equal rows have one number and numbers follow the rows' values, on which ties between moves rest."""
    counts = np.array(rows, dtype=np.float64)
    assert np.array_equal(_kinds(counts), np.unique(counts, axis=0, return_inverse=True)[1].ravel())


def test_a_known_split_stays_as_it_is():
    """A run's report holds the split's hash, so no change of code may move a patient unseen."""
    first = patient_split([f"p{number % 9}" for number in range(20)], np.eye(20, 2), fraction=0.6, seed=1)
    assert "".join(str(int(flag)) for flag in first) == "11110010011110010011"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fraction": 0.0}, "between 0 and 1"),
        ({"fraction": 1.0}, "between 0 and 1"),
        ({"fraction": float("nan")}, "between 0 and 1"),
        ({"fraction": "a"}, "'a'"),
        ({"fraction": None}, "None"),
        ({"seed": 1.5}, r"1\.5; it must be a whole number"),
        ({"seed": None}, "None; it must be a whole number"),
        ({"seed": "1"}, "'1'; it must be a whole number"),
        ({"by": "study"}, "'study'"),
        ({"targets": np.zeros((3, 1))}, r"\(3, 1\)"),
        ({"targets": np.zeros(4)}, r"\(4,\)"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(change, message):
    """The error names what was given."""
    arguments = {"targets": np.zeros((4, 1)), "fraction": 0.5, "seed": 0, "by": "patient"} | change
    with pytest.raises(SplitError, match=message):
        patient_split(["a", "b", "c", "d"], **arguments)
