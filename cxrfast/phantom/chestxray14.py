"""A synthetic ChestX-ray14 release as its first mirror lays it out: folders of parts, a table whose header lies.

The table's header has a comma at its end, and a comma inside two column names, so it has one cell more than the rows;
readers by position go wrong there, and here as well. Labels tell the plain truth, although the released ones were read
from reports by a program: what noise in labels does, CheXpert's phantom shows. Rare classes are more common than in the
release. Boxes are plausible numbers that nothing was drawn into. Images are 320 pixels wide and high, not 1024.

Counts and oddities: Wang et al., ChestX-ray8, CVPR 2017, and the released tables.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from cxrfast.phantom.anatomy import Anatomy
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.radiograph import draw
from cxrfast.phantom.release import Progress, check_enough, write_files
from cxrfast.phantom.truth import draw_findings

NAME = "ChestX-ray14"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
SIDE = 320
LEAST_IMAGES = 24

# Label: what is painted for it, and its share of images.
_CLASSES: dict[str, tuple[str, float]] = {
    "Infiltration": ("Lung Opacity", 0.16),
    "Effusion": ("Pleural Effusion", 0.14),
    "Cardiomegaly": ("Cardiomegaly", 0.08),
    "Atelectasis": ("Atelectasis", 0.12),
    "Consolidation": ("Consolidation", 0.06),
    "Pneumothorax": ("Pneumothorax", 0.06),
    "Nodule": ("Lung Lesion", 0.06),
    "Mass": ("Mass", 0.06),
    "Edema": ("Edema", 0.05),
    "Emphysema": ("Emphysema", 0.05),
    "Fibrosis": ("Fibrosis", 0.05),
    "Pleural_Thickening": ("Pleural Other", 0.05),
    "Pneumonia": ("Pneumonia", 0.05),
    "Hernia": ("Hernia", 0.04),
}
_LEANING = {
    "Effusion": {"Infiltration": 0.3},
    "Atelectasis": {"Effusion": 0.6},
    "Edema": {"Cardiomegaly": 0.5},
    "Pneumonia": {"Consolidation": 0.4},
}
_HEALTHY = 0.45
# The eight classes with boxes; the box table calls Infiltration by another name.
_BOXED = dict.fromkeys(
    ("Atelectasis", "Cardiomegaly", "Effusion", "Mass", "Nodule", "Pneumonia", "Pneumothorax", "Infiltration"), ""
) | {"Infiltration": "Infiltrate"}


@dataclass(frozen=True)
class Image:
    """An image of the release, the `number`-th of its patient."""

    patient: int
    number: int
    age: int
    female: bool
    portable: bool
    dice: Dice
    anatomy: Anatomy

    @property
    def name(self) -> str:
        """Return the image's index in the table."""
        return f"{self.patient:08d}_{self.number:03d}.png"

    @property
    def in_test(self) -> bool:
        """Return whether the patient is on the test list: every fourth one."""
        return self.patient % 4 == 0


def write_release(
    out: Path, *, images: int = 500, seed: int = 0, workers: int | None = None, progress: Progress | None = None
) -> Path:
    """Write a release of `images` images (24 at least), about a quarter of them on the test list; return `out`/NAME.

    The same arguments give the same bytes of every file, whatever the number of `workers` (threads). `progress` is
    called with how many more images are done. SourceError where the folder holds another release.
    """
    check_enough("ChestX-ray14", images, LEAST_IMAGES)
    planned = plan_images(images, seed=seed)
    truth = draw_truth(planned)
    drawings = {
        f"images_{1 + 2 * row // images:03d}/images/{image.name}": partial(_encode, image, truth[image], row)
        for row, image in enumerate(planned)
    }
    return write_files(Path(out) / NAME, _tables(planned, truth), drawings, workers=workers, progress=progress)


def plan_images(images: int, *, seed: int) -> list[Image]:
    """Return images in the table's order: by patient and number."""
    planned: list[Image] = []
    patient = 1
    while len(planned) < images:
        planned += _patient_images(patient, Dice.of("chestxray14", seed, patient))
        patient += 1
    return planned[:images]


def _patient_images(patient: int, dice: Dice) -> Iterator[Image]:
    female = dice.happens("female", 0.435)
    age = int(np.clip(dice.uniform("age a", 10, 70) + dice.uniform("age b", 0, 24), 10, 94))
    anatomy = Anatomy.of(dice.child("anatomy"), female=female, age=age)
    for number in range(max(1 + int(6 * dice.uniform("images") ** 2), 3 if patient == 2 else 1)):
        image = dice.child(number)
        told = 411 if (patient, number) == (3, 0) else age + number // 2  # the table has 16 ages over 140
        yield Image(patient, number, told, female, image.happens("portable", 0.4), image, anatomy)


def draw_truth(planned: list[Image]) -> dict[Image, frozenset[str]]:
    """Return each image's labels without No Finding, with exact shares among those of either list."""
    shares = {label: share for label, (_, share) in _CLASSES.items()}
    truth: dict[Image, frozenset[str]] = {}
    for in_test in (False, True):
        part = [image for image in planned if image.in_test == in_test]
        found = draw_findings([image.dice for image in part], shares, leaning=_LEANING, healthy=_HEALTHY)
        truth |= dict(zip(part, found, strict=True))
    return truth


def _tables(planned: list[Image], truth: dict[Image, frozenset[str]]) -> dict[str, bytes]:
    rows = [HEADER, *(_row(image, truth[image]) for image in planned)]
    lists = {
        name: "\n".join(image.name for image in planned if image.in_test == in_test)
        for name, in_test in (("train_val_list.txt", False), ("test_list.txt", True))
    }
    texts = {"Data_Entry_2017.csv": "\n".join(rows) + "\n", "BBox_List_2017.csv": _boxes(planned, truth), **lists}
    return {path: text.encode() for path, text in texts.items()}


def _row(image: Image, labels: frozenset[str]) -> str:
    spacing = image.dice.pick("spacing", ("0.143", "0.168", "0.171", "0.194311"))
    width, height = image.dice.pick("detector", ((2500, 2048), (2048, 2500), (2994, 2991), (2048, 2048)))
    cells = (
        image.name, "|".join(sorted(labels)) or "No Finding", image.number, image.patient, image.age,
        "F" if image.female else "M", "AP" if image.portable else "PA", width, height, spacing, spacing,
    )  # fmt: skip
    return ",".join(map(str, cells))


def _boxes(planned: list[Image], truth: dict[Image, frozenset[str]]) -> str:
    """Return the table of boxes: for each class that has any, two images, those on the test list first."""
    rows = ["Image Index,Finding Label,Bbox [x,y,w,h],,,"]
    for label, other_name in _BOXED.items():
        having = sorted((image for image in planned if label in truth[image]), key=lambda image: not image.in_test)
        for image in having[:2]:
            box = image.dice.uniforms(f"box {label}", 4, 120, 480)
            rows.append(",".join([image.name, other_name or label, *(f"{number:.12f}" for number in box), "", "", ""]))
    return "\n".join(rows) + "\n"


def _encode(image: Image, labels: frozenset[str], row: int) -> bytes:
    gray = draw(
        image.anatomy,
        {_CLASSES[label][0] for label in labels},
        study=image.dice,
        image=image.dice.child("image"),
        width=SIDE,
        height=SIDE,
        portable=image.portable,
    )
    odd = row % 20 == 3  # 519 of the released images are RGBA
    return cv2.imencode(".png", cv2.cvtColor(gray, cv2.COLOR_GRAY2BGRA) if odd else gray)[1].tobytes()
