"""A lateral radiograph, healthy or not: the patient faces the image's left.

Most users leave laterals out, so this is a sketch with one plain sign a finding and no more; findings take their size
from the study's dice, as on the frontal image, but not their exact place.
"""

from collections.abc import Callable, Collection

import numpy as np

from cxrfast.phantom.anatomy import LEFT, Anatomy
from cxrfast.phantom.canvas import Canvas, Field, Points, moved, ribbon, smooth
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.findings import emphysema, hernia, net, nodule, patch
from cxrfast.phantom.scene import SIDES, Scene, lung_vessels


def paint(canvas: Canvas, anatomy: Anatomy, dice: Dice, *, heart: float, mediastinum: float) -> Scene:
    """Paint a healthy chest from the side; `heart` and `mediastinum` are widths as on the frontal image."""
    lung = canvas.fill(_lung(anatomy), soft=0.02)
    heart_mask = canvas.fill(_heart(anatomy, heart), soft=0.03)
    depth = canvas.blur(lung, 0.10)
    air = lung * (1 - 0.62 * heart_mask) * (0.35 + 0.65 * depth)
    arch = smooth([(-0.12, 0.75), (-0.10, 0.48), (0.10, 0.36), (0.30, 0.5), (0.38, 0.9)], closed=False)
    air *= 1 - (0.30 + 2 * (mediastinum - 0.17)) * canvas.fill(ribbon(arch, 0.5 + 1.6 * mediastinum - 0.45), soft=0.04)
    soft = _soft_tissue(canvas, anatomy) - 0.10 * canvas.fill(_trachea(), soft=0.015)
    shapes = [
        shape for side in SIDES for shape in lung_vessels(dice.child("side", side), side, (0.02, 0.8), reach=0.62)
    ]
    vessels = 0.6 * canvas.fill(*shapes, soft=0.012) + canvas.blob(0.02, 0.8, 0.14, 0.16, soft=0.06)
    vessels += 0.22 * canvas.clouds(anatomy.dice, "interstitium", size=0.10)
    return Scene(canvas, anatomy, dice, air, vessels, _bones(canvas, anatomy, depth), soft, {LEFT: lung})


def add_findings(scene: Scene, findings: Collection[str]) -> None:
    """Paint one plain sign of each finding that can be seen from the side."""
    for name, painter in _PAINTERS.items():
        if name in findings:
            painter(scene, scene.dice.child(name))


def _lung(anatomy: Anatomy) -> Points:
    base = anatomy.domes[0]
    front = [(-0.10, 0.02), (-0.36, 0.20), (-0.58, 0.52), (-0.70, 0.95), (-0.75, base - 0.12), (-0.74, base + 0.03)]
    floor = [(-0.40, base - 0.03), (-0.05, base), (0.32, base + 0.14), (0.60, base + 0.38), (0.68, base + 0.42)]
    back = [(0.74, 1.3), (0.78, 0.85), (0.68, 0.42), (0.46, 0.08), (0.16, -0.03)]
    return smooth(front + floor + back)


def _heart(anatomy: Anatomy, width: float) -> Points:
    base = anatomy.domes[0] + 0.02
    top, back = base - 0.82 * anatomy.length, -0.62 + 0.68 * width
    outline = [(-0.22, top), (-0.50, top + 0.30), (-0.68, base - 0.28), (-0.64, base + 0.02), (-0.30, base + 0.08)]
    return smooth([*outline, (back - 0.1, base + 0.05), (back, base - 0.25), (back - 0.08, top + 0.28), (-0.02, top)])


def _trachea() -> Points:
    return ribbon(smooth([(-0.12, -0.9), (-0.06, -0.2), (0.02, 0.3), (0.06, 0.66)], closed=False), 0.12)


def _soft_tissue(canvas: Canvas, anatomy: Anatomy) -> Field:
    fat = 0.14 * anatomy.fat
    front = [
        (-0.26, -1.3),
        (-0.28, -0.4),
        (-0.50, -0.05),
        (-0.76 - fat, 0.5),
        (-0.86 - fat, 1.2),
        (-0.90 - 2 * fat, 3.2),
    ]
    back = [
        (0.80 + fat, 3.2),
        (0.84 + fat, 1.8),
        (0.92 + fat, 1.0),
        (0.90, 0.4),
        (0.68, -0.2),
        (0.36, -0.6),
        (0.34, -1.3),
    ]
    torso = canvas.fill(np.concatenate([smooth(front, closed=False), smooth(back, closed=False)]), soft=0.012)
    field = torso * (0.24 + 0.42 * canvas.blur(torso, 0.14))
    if anatomy.female:
        field += 0.18 * canvas.blob(-0.86 - fat, 1.15, 0.16 + fat, 0.34, soft=0.03) * (1 - 0.6 * torso)
    arm = smooth([(0.42, 0.35), (0.05, -0.1), (-0.5, -0.5), (-1.3, -0.9)], closed=False)
    field += 0.20 * canvas.fill(ribbon(arm, 0.40), soft=0.05) + 0.07 * canvas.fill(ribbon(arm, 0.13), soft=0.015)
    floor = [(-0.80, anatomy.domes[0] + 0.03), (-0.40, anatomy.domes[0] - 0.03), (-0.05, anatomy.domes[0])]
    floor += [(0.32, anatomy.domes[0] + 0.14), (0.62, anatomy.domes[0] + 0.40), (0.80, anatomy.domes[0] + 0.44)]
    below = np.concatenate([smooth(floor, closed=False), np.array([[0.85, 3.5], [-0.9, 3.5]])])
    field += 0.10 * canvas.fill(below, soft=0.02) + 0.06 * canvas.fill(moved(below, 0.05, 0.09), soft=0.02)
    field -= 0.12 * canvas.blob(-0.25, anatomy.domes[1] + 0.22, 0.20, 0.09, soft=0.03)
    return field


def _bones(canvas: Canvas, anatomy: Anatomy, depth: Field) -> Field:
    column = smooth(
        [(0.30, -1.0), (0.40, -0.2), (0.56, 0.35), (0.62, 0.9), (0.56, 1.5), (0.46, 2.1), (0.44, 3.2)], closed=False
    )
    y = np.arange(-0.9, 3.1, 0.19 * anatomy.length)
    x = np.interp(y, column[:, 1], column[:, 0])
    bodies = [
        np.array([[a - 0.1, b], [a + 0.1, b], [a + 0.11, b + 0.15], [a - 0.09, b + 0.15]])
        for a, b in zip(x, y, strict=True)
    ]
    field = 0.07 * canvas.fill(ribbon(column, 0.2), soft=0.015) + 0.085 * canvas.fill(*bodies, soft=0.010)
    sternum = smooth([(-0.44, 0.12), (-0.66, 0.5), (-0.78, 1.0), (-0.80, 1.25)], closed=False)
    field += 0.13 * canvas.fill(ribbon(sternum, 0.07), soft=0.012)
    ribs = []
    for pair in range(9):
        top = -0.02 + pair * anatomy.ribs
        line = [(0.80, top + 0.1), (0.62, top), (0.2, top + 0.16), (-0.3, top + 0.40), (-0.62, top + 0.50)]
        ribs += [ribbon(moved(smooth(line, closed=False), 0, shift), 0.05) for shift in (0, 0.05)]
    field += 0.045 * canvas.fill(*ribs, soft=0.010) * depth
    blade = smooth([(0.60, 0.15), (0.95, 0.2), (0.80, 0.85)])
    return np.asarray(anatomy.bone * (field + 0.04 * canvas.fill(blade, soft=0.012)), dtype=np.float32)


def _place(dice: Dice) -> tuple[float, float]:
    return dice.uniform("x lateral", -0.40, 0.50), dice.uniform("y", 0.35, 1.2)


def _effusion(scene: Scene, dice: Dice) -> None:
    level = scene.anatomy.domes[0] + 0.42 - dice.uniform("level -1", 0.20, 0.75)
    surface = [
        (-0.9, level + 0.35),
        (-0.3, level + 0.25),
        (0.3, level + 0.12),
        (0.66, level - 0.05),
        (0.9, level - 0.3),
    ]
    outline = np.concatenate([smooth(surface, closed=False), np.array([[0.9, 3.0], [-0.9, 3.0]])])
    fluid = scene.canvas.fill(outline, soft=0.025)
    scene.opacify(fluid, 0.9)
    scene.soft += 0.06 * fluid * scene.lungs[LEFT]


def _edema(scene: Scene, dice: Dice) -> None:
    scene.vessels *= 1.25
    patch(scene, dice, (0.02, 0.9), radius=0.55, lumps=0.16, amount=dice.uniform("strength", 0.22, 0.72))


def _opacity(scene: Scene, dice: Dice) -> None:
    texture = np.clip(0.75 + 0.5 * scene.canvas.clouds(dice, "texture", size=0.35), 0, 1)
    scene.opacify(scene.lungs[LEFT] * texture, dice.uniform("amount", 0.22, 0.45))


def _focus(scene: Scene, dice: Dice) -> None:
    patch(scene, dice, _place(dice), radius=dice.uniform("radius", 0.20, 0.36), lumps=0.1, amount=0.75)


def _atelectasis(scene: Scene, dice: Dice) -> None:
    y = scene.anatomy.domes[0] - dice.uniform("y 0", 0.06, 0.40)
    line = smooth([(-0.3, y), (0.2, y + 0.08), (0.55, y + 0.2)], closed=False)
    scene.soft += 0.15 * scene.canvas.fill(ribbon(line, dice.uniform("width 0", 0.035, 0.075)), soft=0.012)


def _pneumothorax(scene: Scene, dice: Dice) -> None:
    lung = _lung(scene.anatomy)
    shrunken = np.array([0.1, 1.2]) + (lung - [0.1, 1.2]) * dice.uniform("size", 0.62, 0.88)
    rim = scene.lungs[LEFT] * (1 - scene.canvas.fill(shrunken, soft=0.008))
    scene.vessels *= 1 - 0.6 * rim
    scene.air += 0.12 * rim * (scene.air > 0.15)
    scene.soft += 0.08 * scene.canvas.fill(ribbon(np.concatenate([shrunken, shrunken[:1]]), 0.016)) * scene.air


def _pleural_other(scene: Scene, dice: Dice) -> None:
    line = smooth([(0.64, 0.40), (0.72, 0.8), (0.70, 1.25)], closed=False)
    scene.opacify(scene.canvas.fill(ribbon(line, dice.uniform("width", 0.10, 0.20)), soft=0.012), 0.9)


def _fracture(scene: Scene, dice: Dice) -> None:
    y = dice.uniform("spine", 0.5, 1.3)
    wedge = np.array([[0.44, y], [0.72, y - 0.03], [0.72, y + 0.12], [0.44, y + 0.03]])
    scene.bone += 0.14 * scene.canvas.fill(wedge, soft=0.010)


def _devices(scene: Scene, dice: Dice) -> None:
    line = [(-0.62, 0.32), (-0.2, 0.15), (-0.06, 0.6), (-0.1, 1.1), (-0.52, scene.anatomy.domes[0] - 0.1)]
    shapes = [ribbon(smooth(line, closed=False), 0.022)]
    if dice.happens("box", 0.5):
        shapes.append(smooth([(-0.84, 0.22), (-0.72, 0.22), (-0.74, 0.46), (-0.86, 0.46)]))
    scene.soft += 0.34 * scene.canvas.fill(*shapes, soft=0.004)


def _fibrosis(scene: Scene, dice: Dice) -> None:
    net(scene, dice, (0.1, 1.2), spread=0.45)


def _calcification(scene: Scene, dice: Dice) -> None:
    scene.bone += 0.34 * scene.canvas.blob(*_place(dice), 0.05, 0.05, soft=0.006)


_PAINTERS: dict[str, Callable[[Scene, Dice], None]] = {
    "Lung Opacity": _opacity,
    "Edema": _edema,
    "Consolidation": _focus,
    "Pneumonia": _focus,
    "Lung Lesion": lambda scene, dice: nodule(scene, dice, _place(dice)),
    "Atelectasis": _atelectasis,
    "Pneumothorax": _pneumothorax,
    "Pleural Other": _pleural_other,
    "Pleural Effusion": _effusion,
    "Fracture": _fracture,
    "Support Devices": _devices,
    "Mass": lambda scene, dice: nodule(scene, dice, _place(dice), smallest=0.18, largest=0.32),
    "Emphysema": emphysema,
    "Fibrosis": _fibrosis,
    "Hernia": hernia,
    "Calcification": _calcification,
    "Tuberculosis": lambda scene, dice: patch(
        scene, dice, (0.0, dice.uniform("y", 0.2, 0.4)), radius=0.24, lumps=0.1, amount=0.8
    ),
}
