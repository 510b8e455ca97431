"""A synthetic CheXpert release in the layout and with the habits of the small one.

What stands in the table and what is in the picture are two things, as in the real release, whose labels were read from
reports by a program: -1 is a finding that is there half the time, a blank nearly always an absent one, and only the
validation set, read by radiologists there, tells the plain truth. Shares of classes are near the released ones, except
that rare classes are more common, so that a test set of a hundred images has some of each.

Counts, patient numbers (validation from 64541 on) and oddities: Irvin et al., CheXpert, AAAI 2019, and the released
tables.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from cxrfast.errors import SourceError
from cxrfast.labels import CHEXPERT
from cxrfast.phantom.anatomy import Anatomy
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.radiograph import FINDINGS, draw
from cxrfast.phantom.release import Drawing, Progress, write_files
from cxrfast.phantom.truth import draw_findings

NAME = "CheXpert-v1.0-small"
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT)
FIRST_PATIENT = {"train": 1, "valid": 64541}
LAST_PATIENT = {"train": 64540, "valid": 99999}
JPEG_QUALITY = 90

# Class: share of studies that have it; of those without it, how many say 0 (in train; others are blank); share of -1.
# Drawn in this order, and later ones lean on earlier ones (`_LEANING`).
_SHARES: dict[str, tuple[float, float, float]] = {
    "Cardiomegaly": (0.22, 0.10, 0.04),
    "Edema": (0.26, 0.14, 0.06),
    "Pleural Effusion": (0.34, 0.25, 0.05),
    "Enlarged Cardiomediastinum": (0.14, 0.12, 0.06),
    "Consolidation": (0.14, 0.16, 0.10),
    "Pneumonia": (0.12, 0.02, 0.08),
    "Atelectasis": (0.22, 0.02, 0.14),
    "Lung Lesion": (0.10, 0.01, 0.01),
    "Pneumothorax": (0.12, 0.30, 0.015),
    "Pleural Other": (0.08, 0.01, 0.012),
    "Fracture": (0.09, 0.02, 0.005),
    "Lung Opacity": (0.34, 0.05, 0.03),
    "Support Devices": (0.44, 0.04, 0.005),
}
_LEANING: dict[str, dict[str, float]] = {
    "Edema": {"Cardiomegaly": 0.8},
    "Pleural Effusion": {"Edema": 0.6, "Cardiomegaly": 0.3},
    "Enlarged Cardiomediastinum": {"Cardiomegaly": 0.5},
    "Pneumonia": {"Consolidation": 0.7},
    "Atelectasis": {"Pleural Effusion": 0.6},
    "Lung Opacity": {"Consolidation": 0.7, "Pneumonia": 0.7, "Edema": 0.4, "Lung Lesion": 0.3},
    "Support Devices": {"Edema": 0.4, "Pneumothorax": 0.6, "Pleural Effusion": 0.3},
}
_HEALTHY = 0.14
_MISSED = 0.03  # positives of a train report that nobody wrote down


@dataclass(frozen=True)
class Study:
    """A study of the release; `views` are (projection, AP/PA) of its images."""

    split: str
    patient: int
    number: int
    sex: str
    age: int
    views: tuple[tuple[str, str], ...]
    dice: Dice
    anatomy: Anatomy


def write_release(
    out: Path,
    *,
    images: int = 500,
    seed: int = 0,
    valid: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a release of `images` images, `valid` of them (None: a quarter) in valid/, and return `out`/NAME.

    The same arguments give the same bytes of every file, whatever the number of `workers` (threads). `progress` is
    called with how many more images are done. SourceError where the folder holds another release or the numbers do not
    fit CheXpert's patient numbers.
    """
    sizes = _split_sizes(images, images // 4 if valid is None else valid)
    tables: dict[str, bytes] = {}
    drawings: dict[str, Drawing] = {}
    for split, size in sizes.items():
        studies = plan_studies(split, size, seed=seed)
        truth = draw_truth([study.dice for study in studies])
        tables[f"{split}.csv"] = _table(studies, _labels(split, studies, truth, seed))
        for study, findings in zip(studies, truth, strict=True):
            drawings |= {file[0]: partial(_encode, study, *file, findings) for file in _files(study)}
    return write_files(Path(out) / NAME, tables, drawings, workers=workers, progress=progress)


def _split_sizes(images: int, valid: int) -> dict[str, int]:
    if images < 2 or not 0 < valid < images:
        raise SourceError(
            f"a phantom of {images} images, {valid} for validation, cannot be: each part needs one at least"
        )
    return {"train": images - valid, "valid": valid}


def plan_studies(split: str, images: int, *, seed: int) -> list[Study]:
    """Return studies whose views add up to `images`, in the table's order: by patient, studies in no order."""
    studies: list[Study] = []
    number, left = FIRST_PATIENT[split], images
    while left > 0:
        if number > LAST_PATIENT[split]:
            raise SourceError(
                f"{images} {split} images need more patients than CheXpert's numbers allow; ask for fewer"
            )
        for study in _patient_studies(split, number, Dice.of("chexpert", seed, number)):
            views = study.views[:left]
            left -= len(views)
            if views:
                studies.append(replace(study, views=views))
        number += 1
    return studies


def _patient_studies(split: str, patient: int, dice: Dice) -> Iterator[Study]:
    sex = "Female" if dice.happens("female", 0.41) else "Male"
    age = int(np.clip(dice.uniform("age a", 18, 76) + dice.uniform("age b", 0, 30), 18, 90))
    anatomy = Anatomy.of(dice.child("anatomy"), female=sex == "Female", age=age)
    # The real table has one Sex Unknown and three ages of 0; early patients have them here, so that every test does.
    sex = "Unknown" if (split, patient) == ("train", 4) else sex
    age = 0 if (split, patient) == ("train", 7) else age
    count = 1 if split == "valid" else 1 + int(4 * dice.uniform("studies") ** 2)
    order = sorted(range(1, count + 1), key=lambda number: dice.uniform(f"order {number}"))
    for number in order:
        study = dice.child("study", number)
        yield Study(split, patient, number, sex, age, _views(study, split), study, anatomy)


def _views(dice: Dice, split: str) -> tuple[tuple[str, str], ...]:
    """Return a study's images: mostly one frontal; upright patients (PA) mostly have a lateral too."""
    upright = dice.happens("upright", 0.18)
    position = "PA" if upright else "AP"
    if split == "train" and dice.happens("odd position", 0.012):
        position = "LL"
    frontal, lateral = ("frontal", position), ("lateral", "")
    if upright and dice.happens("with lateral", 0.75):
        return (frontal, lateral, frontal) if dice.happens("three", 0.08) else (frontal, lateral)
    return (frontal, frontal) if dice.happens("two", 0.06) else (frontal,)


def _files(study: Study) -> Iterator[tuple[str, str, str]]:
    for number, (projection, position) in enumerate(study.views, start=1):
        folder = f"{study.split}/patient{study.patient:05d}/study{study.number}"
        yield f"{folder}/view{number}_{projection}.jpg", projection, position


def draw_truth(dice: list[Dice]) -> list[frozenset[str]]:
    """Return the findings of studies, for each class exactly its share of them."""
    shares = {name: share for name, (share, _, _) in _SHARES.items()}
    return draw_findings(dice, shares, leaning=_LEANING, healthy=_HEALTHY, apart=("Support Devices",))


def _told(truth: frozenset[str]) -> dict[str, str]:
    """Label a study as the validation set does: 1.0 or 0.0, from the images."""
    row = {name: "1.0" if name in truth else "0.0" for name in CHEXPERT}
    row["No Finding"] = "0.0" if truth - {"Support Devices"} else "1.0"
    return row


def _written(study: Study, truth: frozenset[str]) -> dict[str, str]:
    """Label a study as the train set does, from a report: 1.0, 0.0, -1.0 or blank."""
    row = dict.fromkeys(CHEXPERT, "")
    for name, (share, denied, doubtful) in _SHARES.items():
        present = name in truth
        lot = study.dice.uniform(f"written {name}")
        if lot < 0.5 * doubtful / (share if present else 1 - share):  # so half of all -1 are present
            row[name] = "-1.0"
        elif present:
            row[name] = "" if lot > 1 - _MISSED else "1.0"
        else:
            row[name] = "0.0" if lot > 1 - denied else ""
    if not any(row[name] in ("1.0", "-1.0") for name in CHEXPERT if name != "Support Devices"):
        row["No Finding"] = "1.0"
    return row


def _labels(split: str, studies: list[Study], truth: list[frozenset[str]], seed: int) -> list[dict[str, str]]:
    if split == "valid":
        return [_told(findings) for findings in truth]
    labels = [_written(study, findings) for study, findings in zip(studies, truth, strict=True)]
    if len(studies) > 30:  # the real table has 12 rows without any label
        labels[Dice.of("chexpert", seed).pick("nothing said", range(len(studies)))] = dict.fromkeys(CHEXPERT, "")
    return labels


def _table(studies: list[Study], labels: list[dict[str, str]]) -> bytes:
    lines = [",".join(COLUMNS)]
    for study, label in zip(studies, labels, strict=True):
        for path, projection, position in _files(study):
            cells = [f"{NAME}/{path}", study.sex, str(study.age), projection.capitalize(), position]
            lines.append(",".join([*cells, *(label[name] for name in CHEXPERT)]))
    return ("\n".join(lines) + "\n").encode()


def _encode(study: Study, path: str, projection: str, position: str, truth: frozenset[str]) -> bytes:
    image = study.dice.child(path)
    long, short = int(image.uniform("long", 376, 402)), 320
    landscape = image.happens("landscape", {"AP": 0.8, "": 0.1}.get(position, 0.5))
    pixels = draw(
        study.anatomy,
        truth & set(FINDINGS),
        study=study.dice,
        image=image,
        width=long if landscape else short,
        height=short if landscape else long,
        projection=projection,
        portable=position == "AP",
    )
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
