import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference import halve

from cxrfast.loading.render_opencv import halved


@settings(max_examples=150, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 70), st.integers(1, 70))))
def test_halving_is_the_rounded_mean_to_the_bit(image):
    """Means of 2x2 rounded half up, odd edges repeated: integers, so no backend may differ at all."""
    np.testing.assert_array_equal(halved(image), halve(image))


@pytest.mark.parametrize("shape", [(1024, 1024), (1023, 777), (2, 3001)])
def test_large_images_are_halved_alike(shape):
    """OpenCV takes other code paths for long rows and for many pixels; they give the same bits."""
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(halved(image), halve(image))
    assert halved(image).shape == (-(-shape[0] // 2), -(-shape[1] // 2))
