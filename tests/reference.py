"""What every backend is measured against: bilinear resampling in float64, written from the definition.

Corner-based coordinates: pixel i covers [i, i + 1), its value stands at i + 1/2, outside is 0. Sources are halved first
while the output scale is at most 1/2.
"""

import numpy as np


def render(image, matrix, size):
    """Resample uint8 (h, w) by a map (2, 3) from stored to output pixels: float64 (size, size), not rounded."""
    linear, offset = matrix[:, :2].copy(), matrix[:, 2]
    while np.sqrt(abs(linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0])) <= 0.5:
        image = halve(image)
        linear *= 2
    back = np.linalg.inv(linear)
    y, x = np.mgrid[:size, :size] + 0.5
    source = np.tensordot(back, np.stack([x - offset[0], y - offset[1]]), axes=1)
    return bilinear(image, source[0], source[1])


def halve(image):
    """Return 2x2 means rounded half up; an odd last row or column counts twice."""
    height, width = image.shape
    even = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge").astype(np.int64)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    return np.floor(total / 4 + 0.5).astype(np.uint8)


def bilinear(image, x, y):
    """Return the image's values at corner-based (x, y)."""
    padded = np.pad(image.astype(np.float64), 1)
    # A border of zeros is enough: everything further out is zero as well.
    column = np.clip(x + 0.5, 0, padded.shape[1] - 1)
    row = np.clip(y + 0.5, 0, padded.shape[0] - 1)
    left = np.minimum(np.floor(column).astype(int), padded.shape[1] - 2)
    top = np.minimum(np.floor(row).astype(int), padded.shape[0] - 2)
    across, down = column - left, row - top
    above = padded[top, left] * (1 - across) + padded[top, left + 1] * across
    below = padded[top + 1, left] * (1 - across) + padded[top + 1, left + 1] * across
    return above * (1 - down) + below * down


def zone_plate(size):
    """Return rings whose frequency grows from the middle to 0.5 a pixel at the edge: what aliasing shows on."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.round(127.5 + 127.5 * np.cos(np.pi * (x**2 + y**2) / size)).astype(np.uint8)
