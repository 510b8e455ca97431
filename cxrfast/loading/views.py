"""A view is a matrix: all that augmentation does to geometry is one affine map, so each view is resampled once.

A chain of resize, rotate, shift and crop steps would blur the image once a step and would tie what is drawn to the
backend that draws it. Here all parameters of n views come from one vectorised counter hash of (seed, epoch, key,
view, parameter), and their matrices from a few array operations; backends only resample.

Coordinates are those of corners: pixel i covers [i, i + 1), so an image of width w spans [0, w] whatever its
resolution, and resizing maps [0, w] to [0, size] without a half-pixel term. What lies outside the image is 0. Two
small differences from a chain of steps follow: a rotated random crop shows its surroundings in the corners, where a
chain would show black; and shifts and crops are not rounded to whole pixels.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from cxrfast import chance
from cxrfast.chance import UInt64Array
from cxrfast.errors import LoaderError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ViewSpec:
    """From what distribution a view is drawn; `paper`, `simclr` and `plain` are the study's three.

    `frame="pad"` takes the whole image, zero-padded to a square; `frame="crop"` a random square part of the unpadded
    image, whose area is U(area) of it.
    """

    frame: Literal["pad", "crop"] = "pad"
    area: tuple[float, float] = (0.08, 1.0)
    """Smallest and largest area of the crop, as a share of the image; for `frame="crop"`."""
    rotation: float = 0.0
    """Rotation about the centre is U(-rotation, rotation) degrees."""
    shift: float = 0.0
    """The shift of each axis is U(-shift, shift) of the output size."""
    scale: tuple[float, float] = (1.0, 1.0)
    """The image is enlarged by U(scale)."""
    flip: float = 0.0
    """How likely a horizontal flip is."""

    def __post_init__(self) -> None:
        if not np.isfinite([*self.area, *self.scale, self.rotation, self.shift, self.flip]).all():
            raise LoaderError(f"{self} has a number that is not finite")
        if self.frame not in ("pad", "crop"):
            raise LoaderError(f"frame={self.frame!r} is not a frame: 'pad' or 'crop'")
        for name, (low, high), most in (("area", self.area, 1.0), ("scale", self.scale, float("inf"))):
            if not 0.0 < low <= high <= most:
                raise LoaderError(f"{name}=({low}, {high}) must be two numbers, 0 < low <= high <= {most}")
        if not 0.0 <= self.flip <= 1.0:
            raise LoaderError(f"flip={self.flip} is not a probability")

    @classmethod
    def plain(cls) -> "ViewSpec":
        """Return the study's views for validation and test: zero padding to a square and resizing, nothing random."""
        return cls()

    @classmethod
    def paper(cls) -> "ViewSpec":
        """Return the study's views for the classifier and both MoCo stages: padding, then mild affine maps."""
        return cls(rotation=15.0, shift=0.05, scale=(0.95, 1.05), flip=0.5)

    @classmethod
    def simclr(cls) -> "ViewSpec":
        """Return the study's views for SimCLR: a random square crop of the unpadded image, rotation, flip."""
        return cls(frame="crop", rotation=20.0, flip=0.5)


def matrices(
    spec: ViewSpec,
    *,
    widths: Integers,
    heights: Integers,
    size: int,
    seed: int,
    epoch: int,
    keys: UInt64Array,
    view: int,
) -> Floats:
    """Return the maps from stored pixels to output pixels, (x', y') = A (x, y) + b: float64 (n, 2, 3), rows [A | b].

    `widths` and `heights` (n,) are those of the stored images, `keys` (n,) the hashes of their keys. What an image gets
    depends on its own key, width and height alone, never on its neighbours in the batch.
    """
    draws = _Draws(seed, epoch, keys, view)
    side, middle_x, middle_y = _square(spec, widths.astype(np.float64), heights.astype(np.float64), draws)
    angle = np.deg2rad(draws.between("rotation", -spec.rotation, spec.rotation))
    scale = size / side * draws.between("scale", *spec.scale)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    out = np.empty((len(keys), 2, 3))
    out[:, 0, 0], out[:, 0, 1] = cosine, -sine
    out[:, 1, 0], out[:, 1, 1] = sine, cosine
    middle = 0.5 * size
    shift_x = size * draws.between("shift x", -spec.shift, spec.shift)
    shift_y = size * draws.between("shift y", -spec.shift, spec.shift)
    out[:, 0, 2] = middle + shift_x - (cosine * middle_x - sine * middle_y)
    out[:, 1, 2] = middle + shift_y - (sine * middle_x + cosine * middle_y)
    flipped = draws.between("flip", 0.0, 1.0) < spec.flip
    out[flipped, 0] *= -1.0
    out[flipped, 0, 2] += size
    return out


def halvings(maps: Floats) -> Integers:
    """Return how often a source is halved before it is resampled: int64 (n,) for maps (n, 2, 3).

    While the output scale sqrt(|det A|) is at most 1/2, bilinear sampling would skip pixels and alias, so the source is
    first replaced by its 2x2 means: rounded half up to 8 bits, an odd last row or column repeated. Every backend and
    the reference halve in just this way, so halved sources are equal to the bit.
    """
    # Written out, since `linalg.det` goes by logarithms and makes 1/8 a little more than it is.
    scale = np.sqrt(np.abs(maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0]))
    mantissa, exponent = np.frexp(scale)
    counts = np.where(mantissa == 0.5, 1 - exponent, -exponent)
    return np.asarray(np.maximum(counts, 0), dtype=np.int64)


def most_halvings(spec: ViewSpec, *, widths: Integers, heights: Integers, size: int) -> int:
    """Return the most halvings that any draw of the view asks for, over images of sizes (n,)."""
    wide, high = widths.astype(np.float64), heights.astype(np.float64)
    side = np.maximum(wide, high) if spec.frame == "pad" else _largest_crop(spec, wide, high)
    # A drawn scale may come out a few units of rounding smaller than the smallest; at a power of two that changes
    # nothing, since 1/2 itself is halved.
    least = size / side.max(initial=1.0) * spec.scale[0] * (1 - 1e-9)
    return int(halvings(np.array([[[least, 0.0, 0.0], [0.0, least, 0.0]]]))[0])


def back_maps(maps: Floats, counts: Integers) -> Floats:
    """Return the maps back, from output pixels to pixels of the halved sources, corner-based: float64 (n, 2, 3).

    Whoever resamples looks for the source of an output pixel. Written out, since `linalg.inv` is slow on small ones.
    """
    a, b, c, d = maps[:, 0, 0], maps[:, 0, 1], maps[:, 1, 0], maps[:, 1, 1]
    x, y = maps[:, 0, 2], maps[:, 1, 2]
    # A source that is halved k times has its points at 2**-k of their places.
    scale = np.exp2(-counts) / (a * d - b * c)
    back = np.empty_like(maps)
    back[:, 0, 0], back[:, 0, 1], back[:, 0, 2] = d * scale, -b * scale, (b * y - d * x) * scale
    back[:, 1, 0], back[:, 1, 1], back[:, 1, 2] = -c * scale, a * scale, (c * x - a * y) * scale
    return back


class _Draws:
    """The uniform numbers of n views, each found by its parameter's name."""

    def __init__(self, seed: int, epoch: int, keys: UInt64Array, view: int) -> None:
        self._common = chance.counter_hash("view", seed, epoch, keys, view)

    def between(self, parameter: str, low: float | Floats, high: float | Floats) -> Floats:
        """Return U(low, high) as float64 (n,); nothing is hashed where there is nothing to draw."""
        if isinstance(low, float) and low == high:
            return np.full(len(self._common), low)
        unit = chance.uniform(parameter, after=self._common)
        return np.asarray(low + (high - low) * unit, dtype=np.float64)


def _square(spec: ViewSpec, widths: Floats, heights: Floats, draws: _Draws) -> tuple[Floats, Floats, Floats]:
    """Return side and middle (x, y) of the square of stored pixels that fills the output, each (n,)."""
    if spec.frame == "pad":
        return np.maximum(widths, heights), widths / 2, heights / 2
    # A square of more than short/long of the area does not fit. torchvision draws again until one does, which is the
    # same as drawing from what fits; an image too narrow for the smallest crop gives its largest square.
    short, long = np.minimum(widths, heights), np.maximum(widths, heights)
    high = np.minimum(spec.area[1], short / long)
    area = draws.between("area", np.minimum(spec.area[0], high), high)
    side = np.minimum(np.sqrt(area * widths * heights), short)
    left = draws.between("left", np.zeros_like(side), widths - side)
    top = draws.between("top", np.zeros_like(side), heights - side)
    return side, left + side / 2, top + side / 2


def _largest_crop(spec: ViewSpec, widths: Floats, heights: Floats) -> Floats:
    short, long = np.minimum(widths, heights), np.maximum(widths, heights)
    return np.asarray(np.minimum(np.sqrt(np.minimum(spec.area[1], short / long) * widths * heights), short))
