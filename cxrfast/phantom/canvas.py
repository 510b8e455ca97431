"""Soft shapes in body coordinates, drawn to float masks.

Shapes are closed outlines filled with sub-pixel anti-aliasing and blurred, not per-pixel formulas: a filled outline
costs tens of microseconds and can be any organ, while a formula a pixel costs milliseconds and only ever gives
ellipses. One unit is half the inner width of the thorax, x points to the image's right, y points down and is 0 at the
lungs' apices; a canvas holds the affine map from there to pixels.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cxrfast.phantom.dice import Dice

Field = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

_SHIFT = 4  # fixed-point bits of cv2.fillPoly
_COARSE_FROM = 4.0  # pixels of sigma from which a blur is done at a quarter of the size


class Canvas:
    """A picture's size and its map from body coordinates to pixels."""

    def __init__(
        self, width: int, height: int, *, unit: float, centre: tuple[float, float], degrees: float = 0
    ) -> None:
        """Make the map.

        `unit`: pixels a body unit. `centre`: the body point in the picture's middle. `degrees`: clockwise turn.
        """
        self.width, self.height, self.unit = width, height, unit
        turn = np.deg2rad(degrees)
        self._linear = unit * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        self._offset = np.array([width / 2, height / 2]) - self._linear @ np.asarray(centre)

    def blank(self, value: float = 0.0) -> Field:
        """Return a field of one value: float32 (height, width)."""
        return np.full((self.height, self.width), value, dtype=np.float32)

    def pixels(self, points: Points) -> Points:
        """Map body points (n, 2) to pixel coordinates (n, 2)."""
        return np.asarray(points @ self._linear.T + self._offset)

    def fill(self, *outlines: Points, soft: float = 0.0) -> Field:
        """Fill closed outlines with 1, edges blurred with a sigma of `soft` units: float32 (height, width)."""
        mask = np.zeros((self.height, self.width), dtype=np.uint8)
        for outline in outlines:
            fixed = np.round(self.pixels(outline) * 2**_SHIFT).astype(np.int32)
            cv2.fillPoly(mask, [fixed], [255], lineType=cv2.LINE_AA, shift=_SHIFT)
        return np.asarray(self.blur(mask, soft) * np.float32(1 / 255), dtype=np.float32)

    def blur(self, field: Field | npt.NDArray[np.uint8], soft: float) -> Field:
        """Blur with a Gaussian of sigma `soft` units; wide ones at a quarter of the size, where nobody sees it."""
        sigma = soft * self.unit
        if sigma < _COARSE_FROM:
            return _gaussian(field, sigma)
        quarter = max(self.width // 4, 1), max(self.height // 4, 1)
        small = _gaussian(cv2.resize(field, quarter, interpolation=cv2.INTER_AREA), sigma / 4)
        return np.asarray(cv2.resize(small, (self.width, self.height), interpolation=cv2.INTER_LINEAR))

    def blob(self, x: float, y: float, radius_x: float, radius_y: float, *, soft: float = 0.0) -> Field:
        """Fill an ellipse."""
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        outline = np.stack([x + radius_x * np.cos(angle), y + radius_y * np.sin(angle)], axis=1)
        return self.fill(outline, soft=soft)

    def clouds(self, dice: Dice, name: str, *, size: float, octaves: int = 3) -> Field:
        """Return smooth noise with lumps of about `size` units, values about -1 to 1: float32 (height, width)."""
        half = (self.width + 1) // 2, (self.height + 1) // 2  # the finest lumps are wider than two pixels
        total = np.zeros(half[::-1], dtype=np.float32)
        for octave in range(octaves):
            step = max(size * self.unit / 2**octave, 1.0)
            rows, columns = int(self.height / step) + 3, int(self.width / step) + 3
            lumps = dice.uniforms(f"{name} {octave}", rows * columns, -1, 1).reshape(rows, columns).astype(np.float32)
            total += cv2.resize(lumps, half, interpolation=cv2.INTER_CUBIC) * np.float32(0.6**octave)
        return np.asarray(cv2.resize(total, (self.width, self.height), interpolation=cv2.INTER_LINEAR))


def _gaussian(field: npt.NDArray[Any], sigma: float) -> Field:
    """Blur to floats. A plain separable filter: half the time of `cv2.GaussianBlur`, whose tails reach further."""
    if sigma < 0.3:
        return field.astype(np.float32)
    kernel = cv2.getGaussianKernel(2 * round(2.6 * sigma) + 1, sigma)
    return np.asarray(cv2.sepFilter2D(field, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE))


def smooth(points: Sequence[tuple[float, float]] | Points, *, closed: bool = True, steps: int = 8) -> Points:
    """Pass a Catmull-Rom curve through control points (n, 2): `steps` points a control point, (n * steps, 2)."""
    knots = np.asarray(points, dtype=np.float64)
    padded = (
        np.concatenate([knots[-1:], knots, knots[:2]]) if closed else np.concatenate([knots[:1], knots, knots[-1:]])
    )
    before, start, end, after = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, knots[-1:]])


def ribbon(line: Points, width: float | Points) -> Points:
    """Return outlines of bands along open lines (..., n, 2), of one width or a width a point (n,): (..., 2n, 2)."""
    along = np.empty_like(line)
    along[..., 1:-1, :] = line[..., 2:, :] - line[..., :-2, :]
    along[..., 0, :], along[..., -1, :] = line[..., 1, :] - line[..., 0, :], line[..., -1, :] - line[..., -2, :]
    half = np.asarray(width) / (2 * np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-9))
    side = np.stack([-along[..., 1] * half, along[..., 0] * half], axis=-1)
    return np.concatenate([line + side, (line - side)[..., ::-1, :]], axis=-2)


def moved(points: Points, x: float, y: float) -> Points:
    """Return the points shifted by (x, y)."""
    return np.asarray(points + np.array([x, y]))


def mirrored(points: Points, side: int) -> Points:
    """Return the points for the image's right side (side 1) or mirrored to its left (side -1)."""
    return np.asarray(points * np.array([side, 1.0]))
