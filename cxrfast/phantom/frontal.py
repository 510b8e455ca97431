"""A healthy frontal chest, ready for findings to be painted into.

Drawn from outlines that hang on the patient's `Anatomy`, so that organs keep clear of each other whatever is drawn;
there is no scatter, no magnification and no depth, which nobody misses at 320 pixels.
"""

import numpy as np

from cxrfast.phantom.anatomy import LEFT, RIGHT, Anatomy
from cxrfast.phantom.canvas import Canvas, Field, Points, mirrored, moved, ribbon, smooth
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.scene import SIDES, Scene, lung_vessels

PAIRS = 10


def paint(canvas: Canvas, anatomy: Anatomy, dice: Dice, *, heart: float, mediastinum: float, portable: bool) -> Scene:
    """Paint a healthy chest; `heart` and `mediastinum` are widths, `portable` an AP image with the arms at the body."""
    lungs = {side: canvas.fill(anatomy.lung(side), soft=0.018) for side in SIDES}
    centre = canvas.fill(anatomy.heart_outline(heart), _great_vessels(anatomy, mediastinum), soft=0.018)
    air = (lungs[RIGHT] + lungs[LEFT]).clip(0, 1)
    depth = canvas.blur(air, 0.11)
    air *= (1 - 0.96 * centre) * (0.42 + 0.58 * depth)
    soft = _soft_tissue(canvas, anatomy, portable)
    soft += 0.13 * centre + 0.16 * _abdomen(canvas, anatomy)
    soft -= _trachea(canvas, anatomy)
    bone = _spine(canvas, anatomy) + _rib_cage(canvas, anatomy, depth) + _shoulders(canvas, anatomy, portable)
    return Scene(canvas, anatomy, dice, air, _vessels(canvas, anatomy), bone, soft, lungs)


def rib(anatomy: Anatomy, pair: int, side: int) -> tuple[Points, Points]:
    """Return the middle lines of a rib's posterior and anterior part, each (n, 2); `pair` counts from 0."""
    start = -0.03 + pair * anatomy.ribs
    fall = anatomy.slope * (0.5 + 0.09 * pair)
    end = start + fall
    wall = float(anatomy.wall_at(end + 0.03)) + 0.015
    t = np.linspace(0, 1, 24)
    posterior = np.stack(
        [0.10 + (wall - 0.10) * np.sin(t * np.pi / 2) ** 0.9, start - 0.07 * np.sin(t * np.pi) + fall * t**2.6], 1
    )
    reach = wall - 0.30 - 0.035 * pair
    anterior = np.stack([wall - reach * t**1.6, end + (0.30 + 0.022 * pair) * t**0.8], 1)
    return mirrored(posterior, side), mirrored(anterior, side)


def _great_vessels(anatomy: Anatomy, width: float) -> Points:
    knob = width + anatomy.aorta
    right = [(-0.13, -0.5), (-0.14, 0.0), (-width, 0.25), (-width * 0.95, 0.75), (-0.15, 1.2)]
    left = [(0.15, 1.2), (width * 1.1, 0.72), (width * 0.92, 0.56), (knob, 0.43), (knob * 0.9, 0.30), (0.14, 0.05)]
    return smooth([*right, *left, (0.13, -0.5)])


def _soft_tissue(canvas: Canvas, anatomy: Anatomy, portable: bool) -> Field:
    flank = anatomy.wall + 0.10 + 0.20 * anatomy.fat
    half = [(0.24, -1.2), (0.25, -0.42), (0.42, -0.36), (0.75, -0.36), (1.15, -0.26), (1.50, 0.05)]
    half += [(1.38, 0.5), (flank + 0.04, 0.85), (flank, 1.3), (flank, 1.9), (flank + 0.05, 3.2)]
    outline = np.concatenate([smooth(half, closed=False), mirrored(smooth(half, closed=False), -1)[::-1]])
    torso = canvas.fill(outline, soft=0.012)
    torso *= 0.25 + 0.42 * canvas.blur(torso, 0.14) + 0.05 * anatomy.fat
    field = np.maximum(torso, _arms(canvas, anatomy, flank, portable))
    field += 0.16 * canvas.blob(0, -0.78, 0.36, 0.24, soft=0.04)
    if anatomy.female:
        size = 0.30 + 0.16 * anatomy.fat + anatomy.dice.uniform("breast", 0, 0.08)
        for side in SIDES:
            field += (0.07 + 0.06 * anatomy.fat) * canvas.blob(
                0.60 * side, 1.22 + 0.1 * anatomy.fat, size, size, soft=0.035
            )
    return field


def _arms(canvas: Canvas, anatomy: Anatomy, flank: float, portable: bool) -> Field:
    hand = flank + (0.22 if portable else 0.75) + anatomy.dice.uniform("arm", 0, 0.12)
    line = smooth([(1.20, 0.16), ((1.30 + hand) / 2, 0.9), (hand, 1.8), (hand + 0.1, 3.0)], closed=False)
    arms = [mirrored(line, side) for side in SIDES]
    flesh = canvas.fill(*(ribbon(arm, 0.34 + 0.12 * anatomy.fat) for arm in arms), soft=0.015)
    flesh *= 0.18 + 0.26 * canvas.blur(flesh, 0.06)
    return flesh + 0.12 * canvas.fill(*(ribbon(arm, 0.13) for arm in arms), soft=0.012)


def _abdomen(canvas: Canvas, anatomy: Anatomy) -> Field:
    x_right, y_right = anatomy.angle(RIGHT)
    x_left, y_left = anatomy.angle(LEFT)
    top = [
        (-x_right, y_right),
        (-x_right + 0.14, y_right - 0.16),
        (-0.68, anatomy.domes[0] + 0.025),
        (-0.45, anatomy.domes[0]),
    ]
    top += [
        (-0.2, anatomy.domes[0] + 0.06),
        (0.0, anatomy.domes[1] + 0.1),
        (0.22, anatomy.domes[1] + 0.06),
        (0.45, anatomy.domes[1]),
    ]
    top += [(0.68, anatomy.domes[1] + 0.025), (x_left - 0.14, y_left - 0.16), (x_left, y_left)]
    curve = smooth(top, closed=False)
    sides = [(x_left + 0.04, y_left + 0.3), (x_left, 3.5), (-x_right, 3.5), (-x_right - 0.04, y_right + 0.3)]
    field = canvas.fill(np.concatenate([curve, np.array(sides)]), soft=0.02)
    dice = anatomy.dice
    bubble = dice.uniform("bubble", 0.04, 0.16)
    y = anatomy.domes[1] + 0.10 + bubble
    field -= 1.5 * dice.uniform("gas", 0.2, 1) * canvas.blob(0.52, y, 1.5 * bubble, bubble, soft=0.03)
    gas = np.maximum(canvas.clouds(dice, "bowel", size=0.22) - 0.5, 0) * canvas.fill(moved(curve, 0, 0.35), soft=0.1)
    field -= 0.5 * gas * canvas.blob(0.3, y + 0.45, 0.7, 0.35, soft=0.1)
    return field


def _trachea(canvas: Canvas, anatomy: Anatomy) -> Field:
    bend = 0.03 + 0.3 * anatomy.aorta
    pipe = smooth([(0, -0.9), (0.0, -0.2), (-0.2 * bend, 0.2), (-bend, 0.58)], closed=False)
    bronchi = [smooth([(-bend, 0.55), (0.30 * side, 0.78)], closed=False) for side in SIDES]
    field = 0.11 * canvas.fill(ribbon(pipe, 0.12), soft=0.015)
    return field + 0.05 * canvas.fill(*(ribbon(line, 0.08) for line in bronchi), soft=0.02)


def _spine(canvas: Canvas, anatomy: Anatomy) -> Field:
    y = np.linspace(-0.8, 3.0, 60)
    x = anatomy.scoliosis * np.sin((y + anatomy.dice.uniform("spine")) * 1.9)
    line = np.stack([x, y], axis=1)
    field = canvas.fill(ribbon(line, 0.21), soft=0.02)
    discs, pedicles = [], []
    for level in np.arange(-0.8, 3.0, 0.185 * anatomy.length):
        at = float(np.interp(level, y, x))
        discs.append(
            np.array([[at - 0.11, level], [at + 0.11, level], [at + 0.11, level + 0.035], [at - 0.11, level + 0.035]])
        )
        pedicles += [
            ribbon(np.array([[at + s * 0.065, level + 0.06], [at + s * 0.065, level + 0.12]]), 0.05) for s in SIDES
        ]
    field = 0.085 * field - 0.045 * canvas.fill(*discs, soft=0.012) + 0.035 * canvas.fill(*pedicles, soft=0.012)
    return np.asarray(field * anatomy.bone, dtype=np.float32)


def _rib_cage(canvas: Canvas, anatomy: Anatomy, depth: Field) -> Field:
    outer, inner, front = [], [], []
    for pair in range(PAIRS):
        for side in SIDES:
            posterior, anterior = rib(anatomy, pair, side)
            width = 0.062 + 0.003 * pair
            outer.append(ribbon(posterior, width))
            inner.append(ribbon(posterior, width * 0.5))
            if 0 < pair < 8:
                front.append(ribbon(anterior, width * np.linspace(1.0, 1.25, len(anterior))))
    field = 0.105 * canvas.fill(*outer, soft=0.007) - 0.035 * canvas.fill(*inner, soft=0.007)
    field += 0.06 * canvas.fill(*front, soft=0.010)
    return np.asarray(anatomy.bone * field * (0.55 + 0.45 * depth), dtype=np.float32)


def _shoulders(canvas: Canvas, anatomy: Anatomy, portable: bool) -> Field:
    tilt = anatomy.clavicle + (0.08 if portable else 0.0)
    inward = 0.0 if portable else 0.14
    bar = smooth(
        [(0.09, 0.24), (0.32, 0.17), (0.62, 0.16 - tilt), (0.92, 0.03 - tilt), (1.08, 0.03 - tilt)], closed=False
    )
    blade = smooth([(0.98, 0.10), (1.28, 0.14), (1.16, 0.42), (1.02, 0.95), (0.90, 0.98), (0.86, 0.55)])
    blade = moved(blade, inward, 0)
    field = canvas.blank()
    for side in SIDES:
        line = mirrored(bar, side)
        field += 0.125 * canvas.fill(ribbon(line, 0.075), soft=0.008) - 0.045 * canvas.fill(
            ribbon(line, 0.035), soft=0.008
        )
        shape = mirrored(blade, side)
        field += 0.045 * canvas.fill(shape, soft=0.012)
        field += 0.05 * canvas.fill(ribbon(shape[24:40], 0.035), soft=0.01)
        field += 0.12 * canvas.blob(1.36 * side, 0.22, 0.13, 0.14, soft=0.015)
    return np.asarray(anatomy.bone * field, dtype=np.float32)


def _vessels(canvas: Canvas, anatomy: Anatomy) -> Field:
    outlines = [
        shape
        for side in SIDES
        for shape in lung_vessels(anatomy.dice.child("vessels", side), side, (0.22, 0.84 - 0.04 * side))
    ]
    field = canvas.fill(*outlines, soft=0.010)
    for side in SIDES:
        field += 1.3 * canvas.blob(0.24 * side, 0.86 - 0.04 * side, 0.09, 0.15, soft=0.05)
    return field + 0.22 * canvas.clouds(anatomy.dice, "interstitium", size=0.10)
