"""A drawn radiograph is gray, plausible, the patient's own, and shows each finding that it was asked for."""

import numpy as np
import pytest

from cxrfast.phantom.anatomy import Anatomy
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.radiograph import FINDINGS, draw


def _draw(patient=1, findings=(), *, image="a", width=240, height=200, **options):
    dice = Dice.of("test", patient)
    anatomy = Anatomy.of(dice, female=patient % 2 == 0, age=55)
    return draw(
        anatomy, findings, study=dice.child("study"), image=dice.child(image), width=width, height=height, **options
    )


@pytest.mark.parametrize("projection", ["frontal", "lateral"])
@pytest.mark.parametrize(("width", "height"), [(390, 320), (320, 390), (64, 64), (65, 97), (700, 512)])
def test_any_size_is_a_plausible_gray_image(projection, width, height):
    """At any size the picture is uint8 (height, width) with dark and bright parts, and all findings at once fit in."""
    for findings in ((), FINDINGS):
        image = _draw(3, findings, width=width, height=height, projection=projection)
        assert image.shape == (height, width)
        assert image.dtype == np.uint8
        assert image.std() > 30
        assert np.percentile(image, 5) < 90
        assert np.percentile(image, 95) > 170


def test_lungs_are_darker_than_heart_and_abdomen():
    """In a healthy frontal image both lungs are darker than what lies between and below them, for every patient."""
    for patient in range(12):
        image = _draw(patient).astype(float)
        lungs = [image[70:100, 55:75].mean(), image[70:100, 165:185].mean()]
        assert max(lungs) + 25 < min(image[70:100, 112:128].mean(), image[180:198, 60:75].mean())


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("projection", ["frontal", "lateral"])
def test_every_finding_changes_the_picture(finding, projection):
    """A finding changes pixels beyond rounding, the rest of the draws staying as they were; most pixels stay too."""
    change = np.abs(_draw(5, (finding,), projection=projection).astype(int) - _draw(5, projection=projection))
    assert (change > 8).sum() > 20
    assert np.median(change) < 25


def test_images_of_a_patient_are_more_alike_than_those_of_two():
    """Two exposures of one patient correlate better than images of different patients, on average."""
    shots = [[_draw(patient, image=name).astype(float).ravel() for name in "ab"] for patient in range(8)]
    same = np.mean([np.corrcoef(first, second)[0, 1] for first, second in shots])
    other = np.mean([np.corrcoef(shots[i][0], shots[(i + 1) % 8][1])[0, 1] for i in range(8)])
    assert same > other


def test_an_unknown_finding_is_refused():
    """A name that nothing draws is an error, never a healthy picture with a wrong label."""
    with pytest.raises(ValueError, match="Scoliosis"):
        _draw(1, ("Scoliosis",))
