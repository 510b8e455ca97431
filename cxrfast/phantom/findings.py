"""Findings of a frontal radiograph, each a few strokes on a healthy `Scene`.

They follow what a reader looks for (a blunted angle, a pleural line, a perihilar haze) in the plainest form that still
looks right. Size and place are drawn a study, from faint to plain, so that a small network learns the large ones from a
few hundred images and none of them perfectly. A wide heart and mediastinum are not here: they are anatomy (`frontal`).
"""

from collections.abc import Callable

import numpy as np

from cxrfast.phantom import frontal
from cxrfast.phantom.anatomy import Anatomy
from cxrfast.phantom.canvas import Field, Points, mirrored, moved, ribbon, smooth
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.scene import SIDES, Scene


def patch(scene: Scene, dice: Dice, place: tuple[float, float], *, radius: float, lumps: float, amount: float) -> None:
    """Fill the air about a place in an uneven, soft-edged patch; `lumps` is the size of its unevenness."""
    shape = scene.canvas.blob(*place, radius, radius * dice.uniform("flat", 0.7, 1.3), soft=0.3 * radius)
    texture = 0.85 + 0.28 * scene.canvas.clouds(dice, "texture", size=lumps)
    scene.opacify(np.clip(shape * texture, 0, 1), amount)


def nodule(
    scene: Scene, dice: Dice, place: tuple[float, float], *, smallest: float = 0.07, largest: float = 0.16
) -> None:
    """Add a round, sharp-edged lump of a radius between these two."""
    radius = dice.uniform("radius", smallest, largest)
    scene.soft += 0.26 * scene.canvas.blob(*place, radius, radius * dice.uniform("flat", 0.85, 1.15), soft=0.015)


def _place(scene: Scene, dice: Dice, low: float = 0.30, high: float = 1.25) -> tuple[float, float]:
    """Return a point well inside a lung."""
    side = dice.pick("side", SIDES)
    y = dice.uniform("y", low, high) * scene.anatomy.length
    return side * dice.uniform("x", 0.42, 0.78) * float(scene.anatomy.wall_at(y)), y


def _effusion(scene: Scene, dice: Dice) -> None:
    sides = SIDES if dice.happens("both", 0.35) else (dice.pick("side", SIDES),)
    for side in sides:
        level = scene.anatomy.angle(side)[1] - dice.uniform(f"level {side}", 0.20, 0.75)
        wall = float(scene.anatomy.wall_at(level)) + 0.1
        surface = [(wall, level - 0.22), (wall - 0.14, level - 0.05), (0.55, level + 0.06), (0.0, level + 0.10)]
        outline = np.concatenate([smooth(surface, closed=False), np.array([[0.0, 2.6], [wall, 2.6]])])
        fluid = scene.canvas.fill(mirrored(outline, side), soft=0.025)
        scene.opacify(fluid, 0.95)
        scene.soft += 0.09 * fluid * scene.lungs[side]


def _edema(scene: Scene, dice: Dice) -> None:
    strength = dice.uniform("strength", 0.22, 0.72)
    haze = scene.canvas.blank()
    for side in SIDES:
        haze += scene.canvas.blob(0.40 * side, 0.92, 0.30, 0.52, soft=0.14)
    texture = 0.85 + 0.28 * scene.canvas.clouds(dice, "texture", size=0.20)
    scene.vessels *= 1.25
    scene.opacify(np.clip(haze * texture, 0, 1), strength)
    septa = [ribbon(_short_line(scene.anatomy, dice, number), 0.010) for number in range(16)]
    scene.soft += 0.08 * scene.canvas.fill(*septa, soft=0.005) * scene.air


def _short_line(anatomy: Anatomy, dice: Dice, number: int) -> Points:
    """Return a septal (Kerley B) line: short, level, at the lower chest wall."""
    side = SIDES[number % 2]
    y = 1.0 + 0.055 * (number // 2)
    wall = float(anatomy.wall_at(y))
    return np.array([[side * (wall - 0.02), y], [side * (wall - dice.uniform(f"line {number}", 0.10, 0.2)), y + 0.01]])


def _consolidation(scene: Scene, dice: Dice) -> None:
    radius = dice.uniform("radius", 0.20, 0.36)
    patch(scene, dice, _place(scene, dice), radius=radius, lumps=0.20, amount=dice.uniform("amount", 0.7, 0.95))


def _pneumonia(scene: Scene, dice: Dice) -> None:
    radius = dice.uniform("radius", 0.22, 0.40)
    place = _place(scene, dice, 0.75, 1.35)
    patch(scene, dice, place, radius=radius, lumps=0.12, amount=dice.uniform("amount", 0.55, 0.85))


def _opacity(scene: Scene, dice: Dice) -> None:
    texture = np.clip(0.75 + 0.5 * scene.canvas.clouds(dice, "texture", size=0.35), 0, 1)
    weaker = dice.pick("weaker", SIDES)
    for side in SIDES:
        share = dice.uniform("share", 0.3, 1.0) if side == weaker else 1.0
        scene.opacify(scene.lungs[side] * texture, share * dice.uniform("amount", 0.22, 0.45))


def _atelectasis(scene: Scene, dice: Dice) -> None:
    side = dice.pick("side", SIDES)
    dome = scene.anatomy.dome(side)
    bands = []
    for number in range(1 + int(dice.uniform("bands", 0, 3))):
        y = dome - dice.uniform(f"y {number}", 0.06, 0.40)
        tilt = dice.uniform(f"tilt {number}", -0.14, 0.10)
        line = smooth([(0.25, y - tilt), (0.55, y + 0.02), (0.9, y + tilt)], closed=False)
        bands.append(ribbon(mirrored(line, side), dice.uniform(f"width {number}", 0.035, 0.075)))
    scene.opacify(scene.canvas.blob(0.5 * side, dome, 0.45, 0.16, soft=0.08), 0.5)
    scene.soft += 0.17 * scene.canvas.fill(*bands, soft=0.012) * scene.lungs[side]


def _pneumothorax(scene: Scene, dice: Dice) -> None:
    side = dice.pick("side", SIDES)
    hilum = np.array([0.12 * side, 1.4])
    shrunken = hilum + (scene.anatomy.lung(side) - hilum) * dice.uniform("size", 0.62, 0.88)
    inside = scene.canvas.fill(shrunken, soft=0.008)
    rim = scene.lungs[side] * (1 - inside)
    scene.vessels *= 1 - rim
    scene.air += 0.22 * rim * (scene.air > 0.15)
    scene.opacify(inside * scene.lungs[side], 0.22)
    edge = scene.canvas.fill(ribbon(np.concatenate([shrunken, shrunken[:1]]), 0.016), soft=0.004)
    scene.soft += 0.11 * edge * scene.air


def _pleural_other(scene: Scene, dice: Dice) -> None:
    side = dice.pick("side", SIDES)
    y = np.linspace(dice.uniform("top", 0.1, 0.6), dice.uniform("bottom", 1.1, 1.5), 20)
    width = dice.uniform("width", 0.10, 0.20) * np.sin(np.linspace(0.25, np.pi - 0.25, 20))
    line = np.stack([scene.anatomy.wall_at(y) - 0.02 - width / 2, y], axis=1)
    scene.opacify(scene.canvas.fill(mirrored(ribbon(line, width), side), soft=0.012), 0.9)


def _fracture(scene: Scene, dice: Dice) -> None:
    side, first = dice.pick("side", SIDES), 2 + int(dice.uniform("pair", 0, 5))
    for pair in range(first, first + 1 + int(dice.uniform("ribs", 0, 3))):
        line = frontal.rib(scene.anatomy, pair, side)[0]
        at = 14 + int(dice.uniform(f"at {pair}", 0, 6))
        (x, y), (end_x, end_y) = line[at], line[at + 1]
        scene.bone *= 1 - 0.9 * scene.canvas.fill(ribbon(line[at - 1 : at + 2], 0.10), soft=0.006)
        stump = moved(line[max(at - 7, 0) : at], 0, 0.05)
        scene.bone += 0.10 * scene.canvas.fill(ribbon(stump, 0.06), soft=0.008)
        scene.bone += 0.14 * scene.canvas.blob((x + end_x) / 2, (y + end_y) / 2 + 0.03, 0.055, 0.055, soft=0.02)


def emphysema(scene: Scene, dice: Dice) -> None:
    """Blow the lungs up: more air, thinned vessels."""
    amount = dice.uniform("amount", 0.5, 1.0)
    lungs = np.clip(sum(scene.lungs.values()), 0, 1)
    scene.vessels *= 1 - 0.7 * amount * lungs
    scene.air += 0.16 * amount * lungs * (scene.air > 0.15)


def _fibrosis(scene: Scene, dice: Dice) -> None:
    top = dice.uniform("top", 0.7, 1.05)
    for side in SIDES:
        scene.opacify(scene.canvas.blob(0.62 * side, top + 0.4, 0.34, 0.45, soft=0.10), dice.uniform("haze", 0.2, 0.45))
        net(scene, dice.child("net", side), (0.62 * side, top + 0.4), spread=0.36)


def net(scene: Scene, dice: Dice, centre: tuple[float, float], *, spread: float) -> None:
    """Add a net of short lines, as of scars, about a centre; only where there is air."""
    x, y = centre
    starts = np.stack(
        [x + dice.uniforms("x", 30, -spread, spread), y + dice.uniforms("y", 30, -spread, spread)], axis=1
    )
    turns = dice.uniforms("turn", 30, 0, np.pi)
    ends = starts + 0.14 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    scene.soft += 0.12 * scene.canvas.fill(*ribbon(np.stack([starts, ends], axis=1), 0.018), soft=0.006) * scene.air


def hernia(scene: Scene, dice: Dice) -> None:
    """Add a stomach above the diaphragm: a round wall behind the heart, fluid below and gas above."""
    radius = dice.uniform("radius", 0.20, 0.34)
    x, y = dice.uniform("x", 0.0, 0.16), scene.anatomy.domes[1] - 0.75 * radius
    ring = scene.canvas.blob(x, y, radius, radius, soft=0.012)
    gas = scene.canvas.blob(x, y - 0.35 * radius, 0.75 * radius, 0.45 * radius, soft=0.02)
    scene.soft += 0.20 * ring - 0.34 * gas


def _calcification(scene: Scene, dice: Dice) -> None:
    grains = []
    for number in range(3 + int(dice.uniform("count", 0, 4))):
        x, y = _place(scene, dice.child(number), 0.2, 1.2)
        radius = dice.uniform(f"radius {number}", 0.02, 0.045)
        grains.append(smooth([(x - radius, y), (x, y - radius), (x + radius, y), (x, y + radius)]))
    scene.bone += 0.34 * scene.canvas.fill(*grains, soft=0.006)


def _tuberculosis(scene: Scene, dice: Dice) -> None:
    """Fill one upper zone or both, with a few small nodules about it."""
    sides = SIDES if dice.happens("both", 0.3) else (dice.pick("side", SIDES),)
    for side in sides:
        y = dice.uniform(f"y {side}", 0.25, 0.50) * scene.anatomy.length
        x = side * dice.uniform(f"x {side}", 0.45, 0.65) * float(scene.anatomy.wall_at(y))
        radius, amount = dice.uniform(f"radius {side}", 0.20, 0.34), dice.uniform(f"amount {side}", 0.65, 0.95)
        patch(scene, dice.child(side), (x, y), radius=radius, lumps=0.10, amount=amount)
        for angle, far in dice.uniforms(f"nodules {side}", 8).reshape(4, 2):
            turn, distance = 2 * np.pi * angle, 0.10 + 0.22 * far
            near = (x + distance * float(np.cos(turn)), y + distance * float(np.sin(turn)))
            scene.soft += 0.16 * scene.canvas.blob(*near, 0.04, 0.04, soft=0.015) * scene.air


def _devices(scene: Scene, dice: Dice) -> None:
    makers = (_pacemaker, _central_line, _tracheal_tube, _gastric_tube, _leads, _sternal_wires)
    likely = dice.uniforms("which", len(makers))
    kept = [number for number in range(len(makers)) if likely[number] < 0.33] or [int(likely.argmin())]
    for number in kept:
        field = makers[number](scene, dice.child(number))
        scene.soft += field


def _pacemaker(scene: Scene, dice: Dice) -> Field:
    side = 1 if dice.happens("left", 0.8) else -1
    x, y = 0.66 * side, dice.uniform("y", 0.20, 0.42)
    box = smooth([(x - 0.13, y - 0.09), (x + 0.13, y - 0.09), (x + 0.14, y + 0.08), (x - 0.12, y + 0.13)])
    base = scene.anatomy.domes[1]
    lead = [
        (x - 0.12 * side, y),
        (0.25 * side, 0.12),
        (-0.14, 0.35),
        (-0.16, 0.9),
        (0.0, base - 0.12),
        (0.38, base - 0.06),
    ]
    wires = [smooth(lead, closed=False), smooth([*lead[:4], (-0.24, 1.05), (-0.12, 1.0)], closed=False)]
    return 0.42 * scene.canvas.fill(box, *(ribbon(wire, 0.022) for wire in wires), soft=0.004)


def _central_line(scene: Scene, dice: Dice) -> Field:
    tip = dice.uniform("tip", 0.6, 0.95)
    start = [(-0.24, -0.7), (-0.20, -0.1)] if dice.happens("jugular", 0.6) else [(-0.9, 0.05), (-0.45, 0.16)]
    line = smooth([*start, (-0.15, 0.3), (-0.17, tip)], closed=False)
    return 0.26 * scene.canvas.fill(ribbon(line, 0.024), soft=0.004)


def _tracheal_tube(scene: Scene, dice: Dice) -> Field:
    line = smooth([(0.01, -1.2), (0.0, -0.2), (-0.02, dice.uniform("tip", 0.25, 0.5))], closed=False)
    walls = 0.14 * scene.canvas.fill(ribbon(line, 0.065), soft=0.004) - 0.10 * scene.canvas.fill(ribbon(line, 0.035))
    stripe = scene.canvas.fill(ribbon(moved(line, 0.02, 0), 0.012))
    return np.asarray(walls + 0.25 * stripe, dtype=np.float32)


def _gastric_tube(scene: Scene, dice: Dice) -> Field:
    base = scene.anatomy.domes[1]
    end = (dice.uniform("end", 0.35, 0.65), base + dice.uniform("depth", 0.2, 0.5))
    line = smooth([(0.03, -1.2), (0.04, 0.2), (0.06, 0.9), (0.10, base), (0.25, base + 0.25), end], closed=False)
    return 0.28 * scene.canvas.fill(ribbon(line, 0.024), soft=0.004)


def _leads(scene: Scene, dice: Dice) -> Field:
    field = scene.canvas.blank()
    for number in range(3 + int(dice.uniform("count", 0, 3))):
        side = SIDES[number % 2]
        x, y = side * dice.uniform(f"x {number}", 0.35, 1.0), dice.uniform(f"y {number}", 0.0, 1.7)
        bend = (x + dice.uniform(f"bend {number}", -0.3, 0.3), y + 0.4)
        wire = smooth([(x, y), bend, (side * 0.6, y + 0.9), (side * 0.3, 3.0)], closed=False)
        field += 0.38 * scene.canvas.blob(x, y, 0.045, 0.045, soft=0.005)
        field += 0.26 * scene.canvas.fill(ribbon(wire, 0.018))
    return field


def _sternal_wires(scene: Scene, dice: Dice) -> Field:
    field = scene.canvas.blank()
    for number, y in enumerate(np.linspace(0.3, 1.25, 6)):
        angle = np.linspace(0, 2 * np.pi, 24) + dice.uniform(f"turn {number}", -0.4, 0.4)
        ring = np.stack([0.055 * np.cos(angle), y + 0.035 * np.sin(angle)], axis=1)
        field += 0.40 * scene.canvas.fill(ribbon(ring, 0.018))
    return field


PAINTERS: dict[str, Callable[[Scene, Dice], None]] = {
    "Lung Opacity": _opacity,
    "Edema": _edema,
    "Consolidation": _consolidation,
    "Pneumonia": _pneumonia,
    "Lung Lesion": lambda scene, dice: nodule(scene, dice, _place(scene, dice)),
    "Atelectasis": _atelectasis,
    "Pneumothorax": _pneumothorax,
    "Pleural Other": _pleural_other,
    "Pleural Effusion": _effusion,
    "Fracture": _fracture,
    "Support Devices": _devices,
    "Mass": lambda scene, dice: nodule(scene, dice, _place(scene, dice), smallest=0.18, largest=0.32),
    "Emphysema": emphysema,
    "Fibrosis": _fibrosis,
    "Hernia": hernia,
    "Calcification": _calcification,
    "Tuberculosis": _tuberculosis,
}
