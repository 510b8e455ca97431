"""Shapes land where the body map puts them, with the area that they should have."""

import numpy as np
import pytest

from cxrfast.phantom.canvas import Canvas, mirrored, moved, ribbon, smooth


@pytest.mark.parametrize("degrees", [0.0, 7.0, -30.0])
@pytest.mark.parametrize("soft", [0.0, 0.01, 0.08])
def test_a_disc_keeps_its_place_and_area(degrees, soft):
    """Whatever the turn and the blur, a disc's mask has its centre, and its area but for half a pixel of rim."""
    canvas = Canvas(300, 260, unit=100, centre=(0.1, 0.9), degrees=degrees)
    mask = canvas.blob(0.3, 1.0, 0.4, 0.4, soft=soft)
    x, y = canvas.pixels(np.array([[0.3, 1.0]]))[0]
    rows, columns = np.indices(mask.shape)
    assert mask.shape == (260, 300)
    assert mask.dtype == np.float32
    assert mask.sum() == pytest.approx(np.pi * 40**2, abs=0.7 * 2 * np.pi * 40)
    assert (mask * columns).sum() / mask.sum() == pytest.approx(x, abs=0.7)
    assert (mask * rows).sum() / mask.sum() == pytest.approx(y, abs=0.7)
    assert mask.min() >= 0
    assert mask.max() <= 1 + 1e-5


def test_a_ribbon_is_as_wide_as_asked():
    """A band along a straight line is a rectangle; a stack of lines gives a stack of bands."""
    line = np.stack([np.linspace(0, 1, 5), np.zeros(5)], axis=1)
    band = ribbon(line, 0.2)
    assert band.shape == (10, 2)
    assert np.allclose(np.abs(band[:, 1]), 0.1)
    assert np.allclose(ribbon(np.stack([line, moved(line, 0, 1)]), 0.2)[1], moved(band, 0, 1))


def test_a_curve_passes_through_its_knots():
    """Every control point lies on the smooth curve, closed or open."""
    knots = np.array([[0.0, 0.0], [1.0, 0.2], [1.2, 1.0], [0.1, 0.9]])
    for closed in (True, False):
        curve = smooth(knots, closed=closed)
        nearest = np.linalg.norm(curve[None] - knots[:, None], axis=-1).min(axis=1)
        assert np.allclose(nearest, 0)
    assert np.allclose(mirrored(knots, -1)[:, 0], -knots[:, 0])
