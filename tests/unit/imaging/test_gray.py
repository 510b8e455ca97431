"""Shrinking and stretching."""

import numpy as np
from pictures import GRAY, scene

from cxrfast.imaging import shrink
from cxrfast.imaging.gray import stretched


def test_shrinking_keeps_the_aspect_and_never_enlarges():
    """For sides 1 to 70 by several limits: the longer side is the limit, the other within half a pixel, at least 1."""
    for height in range(1, 70, 4):
        for width in range(1, 70, 3):
            for limit in (1, 7, 32, 64):
                result = shrink(np.zeros((height, width), dtype=np.uint8), limit).shape
                longer = max(height, width)
                if longer <= limit:
                    assert result == (height, width)
                    continue
                assert max(result) == limit
                for side, new in zip((height, width), result, strict=True):
                    assert new == 1 or abs(new - side * limit / longer) <= 0.5


def test_shrinking_takes_area_means():
    """A quarter of the size is the mean of 4 x 4 blocks, rounded; a flat image stays flat."""
    means = scene(64, 64).reshape(16, 4, 16, 4).mean(axis=(1, 3))
    assert np.abs(shrink(scene(64, 64), 16) - means).max() <= 0.5
    assert (shrink(np.full((300, 201), 77, dtype=np.uint8), 130) == 77).all()


def test_zero_leaves_an_image_as_it_is():
    """No limit, no change."""
    assert shrink(GRAY, 0) is GRAY


def test_stretching_takes_each_range_to_0_and_255():
    """For every pair of ends the float formula, rounded; a flat image stays as it is."""
    for low in range(0, 256, 15):
        for high in range(low, 256, 17):
            levels = np.arange(low, high + 1, dtype=np.uint8)[None]
            expected = levels if low == high else np.rint((levels.astype(np.float64) - low) / (high - low) * 255)
            assert np.abs(stretched(levels) - expected).max() <= (0 if low == high else 1)
            assert low == high or (stretched(levels).min(), stretched(levels).max()) == (0, 255)
