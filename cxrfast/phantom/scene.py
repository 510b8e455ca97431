"""A radiograph in the making: what the beam meets, as fields that findings change in place.

A radiograph is a shadow: densities along the beam add, air takes away. So everything is a mask added to one of four
fields, and a tone curve makes brightness of their sum at the very end. That gives ribs over the heart, vessels that
fade behind the diaphragm and a dark trachea on the spine for nothing; painting brightness would need each by hand.
"""

from dataclasses import dataclass

import numpy as np

from cxrfast.phantom.anatomy import LEFT, RIGHT, Anatomy
from cxrfast.phantom.canvas import Canvas, Field, Points, mirrored, ribbon
from cxrfast.phantom.dice import Dice

SIDES = (RIGHT, LEFT)
_BRANCHES, _STEPS = 9, 18  # of a lung's vessels, and points a vessel


@dataclass
class Scene:
    """What the beam meets, each field float32 (height, width).

    `air`: the share of the way that is air, 0 to 1. `vessels`: the lungs' markings, shown where there is air. `bone`
    and `soft`: densities. `lungs`: each lung's mask by side. `dice`: of the study, so that its images agree.
    """

    canvas: Canvas
    anatomy: Anatomy
    dice: Dice
    air: Field
    vessels: Field
    bone: Field
    soft: Field
    lungs: dict[int, Field]

    def attenuation(self) -> Field:
        """Return the sum that the tone curve turns into brightness: 0 (nothing) to about 1.2 (dense)."""
        return np.asarray(self.soft - 0.50 * self.air + 0.095 * self.vessels * self.air + self.bone, dtype=np.float32)

    def opacify(self, mask: Field, amount: float) -> None:
        """Replace a share of the air inside a mask by something dense, such as fluid."""
        self.air *= np.clip(1 - amount * mask, 0, 1)


def lung_vessels(dice: Dice, side: int, hilum: tuple[float, float], *, reach: float = 1.0) -> list[Points]:
    """Return outlines of a lung's vessels: branches that fan out from the hilum, each with twigs."""
    angles = np.linspace(-1.25, 1.35, _BRANCHES)
    bends, lengths = dice.uniforms("bend", 45, -0.5, 0.5), reach * dice.uniforms("length", 45, 0.6, 1.0)
    starts = np.broadcast_to([abs(hilum[0]), hilum[1]], (_BRANCHES, 2))
    branches = _curves(starts, angles, 0.72 * lengths[:_BRANCHES], 1.5 * bends[:_BRANCHES])
    joints = branches[:, 4:14:3].reshape(-1, 2)  # four twigs a branch, to either side in turn
    turns = np.repeat(angles, 4) + np.tile([-0.55, 0.55], 2 * _BRANCHES) + 0.4 * bends[_BRANCHES:]
    twigs = _curves(joints, turns, 0.34 * lengths[_BRANCHES:], bends[_BRANCHES:])
    thick, thin = ribbon(branches, np.linspace(0.042, 0.004, _STEPS)), ribbon(twigs, np.linspace(0.017, 0.003, _STEPS))
    return [*mirrored(thick, side), *mirrored(thin, side)]


def _curves(starts: Points, angles: Points, lengths: Points, bends: Points) -> Points:
    """Return k curves that set out at angles and bend evenly: (k, steps, 2)."""
    direction = angles[:, None] + bends[:, None] * np.linspace(0, 1, _STEPS)
    step = np.stack([np.cos(direction), np.sin(direction)], axis=-1) * (lengths / _STEPS)[:, None, None]
    return np.asarray(starts[:, None, :] + np.cumsum(step, axis=1))
