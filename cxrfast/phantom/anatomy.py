"""One patient's build: the numbers that all images of the patient share, and the outlines that follow from them.

Few numbers with plain meanings rather than a deformable atlas: enough that two images of a patient look alike and two
patients do not, and a finding can move one number (the heart's width) instead of painting over the picture.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrfast.phantom.canvas import Points, mirrored, smooth
from cxrfast.phantom.dice import Dice

RIGHT, LEFT = -1, 1  # the patient's right lung lies on the image's left


@dataclass(frozen=True)
class Anatomy:
    """A patient's build, in body units (`canvas`) or as a share of 1."""

    dice: Dice
    female: bool
    age: int
    length: float  # of the thorax
    wall: float  # half width of the chest wall's inside
    domes: tuple[float, float]  # height of the diaphragm's right and left dome (y)
    heart: float  # width, 1 is usual
    mediastinum: float  # half width of its upper part
    aorta: float  # how far the knob stands out
    scoliosis: float
    ribs: float  # distance of two neighbours
    slope: float  # of the ribs
    bone: float  # how bright
    fat: float
    clavicle: float  # slope

    @classmethod
    def of(cls, dice: Dice, *, female: bool, age: int) -> "Anatomy":
        """Draw the build of a patient of this sex and age (years)."""
        old = min(max((age - 30) / 60, 0.0), 1.0)
        length = dice.uniform("length", 0.9, 1.08) - 0.05 * female
        dome = length * dice.uniform("dome", 1.42, 1.62)
        return cls(
            dice=dice,
            female=female,
            age=age,
            length=length,
            wall=dice.uniform("wall", 1.0, 1.08),
            domes=(dome, dome + dice.uniform("dome left", 0.0, 0.12)),
            heart=dice.uniform("heart", 0.84, 1.05),
            mediastinum=dice.uniform("mediastinum", 0.15, 0.20) + 0.02 * old,
            aorta=dice.uniform("aorta", 0.02, 0.07) + 0.05 * old,
            scoliosis=dice.uniform("scoliosis", -0.05, 0.05) * (1 + old),
            ribs=length * dice.uniform("ribs", 0.165, 0.185),
            slope=dice.uniform("slope", 0.24, 0.46),
            bone=dice.uniform("bone", 0.8, 1.2) - 0.3 * old,
            fat=dice.uniform("fat") ** 1.5,
            clavicle=dice.uniform("clavicle", 0.05, 0.22),
        )

    def wall_at(self, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the half width of the rib cage's inside at heights y: narrow at the apex, then nearly straight."""
        rise = np.maximum((np.asarray(y, dtype=np.float64) / self.length + 0.14) / 0.36, 0)
        return np.asarray(self.wall * (1 - np.exp(-(rise**1.15))))

    def dome(self, side: int) -> float:
        """Return the height (y) of the dome on a side."""
        return self.domes[0] if side == RIGHT else self.domes[1]

    def angle(self, side: int) -> tuple[float, float]:
        """Return the costophrenic angle's |x| and y on a side."""
        y = self.dome(side) + 0.30 * self.length
        return float(self.wall_at(y)) - 0.015, y

    def lung(self, side: int, *, dome: float | None = None) -> Points:
        """Return a lung's outline, from the apex down the chest wall, along the dome and up the mediastinum."""
        top = self.dome(side) if dome is None else dome
        x, y = self.angle(side)
        heights = np.linspace(0.16, y - 0.12, 7)
        wall = [(float(w) - 0.01, float(h)) for w, h in zip(self.wall_at(heights), heights, strict=True)]
        floor = [(x, y), (x - 0.12, y - 0.16), (0.68, top + 0.025), (0.45, top), (0.22, top + 0.06), (0.06, top + 0.12)]
        return mirrored(
            smooth([(0.10, 0.20), (0.14, 0.05), (0.26, -0.02), (0.40, 0.03), *wall, *floor, (0.06, 0.9)]), side
        )

    def heart_outline(self, width: float) -> Points:
        """Return the heart's outline, its apex towards the image's right; `width` 1 is a ratio of about 0.46."""
        base = self.domes[1] + 0.03
        top = base - 0.92 * self.length
        drop = base - top
        left, right = 0.62 * width, 0.27 * width
        return smooth(
            [
                (-0.12, top),
                (-0.15, top + 0.30 * drop),
                (-right * 0.92, top + 0.56 * drop),
                (-right, top + 0.82 * drop),
                (-0.10, top + 1.06 * drop),
                (0.25, top + 1.10 * drop),
                (left * 0.88, top + 1.05 * drop),
                (left, top + 0.90 * drop),
                (left * 0.87, top + 0.68 * drop),
                (left * 0.60, top + 0.42 * drop),
                (0.23 + 0.12 * (width - 1), top + 0.22 * drop),
                (0.17, top),
            ]
        )
