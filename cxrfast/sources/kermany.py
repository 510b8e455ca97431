"""Chest X-Ray Pneumonia (Kermany et al., Cell 2018): labels in folders and file names, no table.

Everything is read off the path, so copies with other folders around work too; in return a renamed file loses its
patient. Patients are numbered apart in four series, so a patient is (series, number): by number alone 291 people would
be in both train and test.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from cxrfast.errors import SourceError
from cxrfast.labels import VOCABULARIES
from cxrfast.sources.base import Expected, Release, make_key, not_found, record_table, walk_files

_SPLITS = ("train", "val", "test")
_CLASSES = ("NORMAL", "PNEUMONIA")
_SUFFIXES = (".jpeg", ".jpg", ".png")
_NORMAL = re.compile(r"(NORMAL2-IM|IM)-(\d+)-")
_PNEUMONIA = re.compile(r"person(\d+)_(bacteria|virus)_")

_KAGGLE = Expected(
    images={("train", "frontal"): 5216, ("val", "frontal"): 16, ("test", "frontal"): 624},
    positives={
        ("train", "NORMAL"): 1341, ("train", "PNEUMONIA"): 3875, ("val", "NORMAL"): 8, ("val", "PNEUMONIA"): 8,
        ("test", "NORMAL"): 234, ("test", "PNEUMONIA"): 390,
    },
)  # fmt: skip
_MENDELEY = Expected(
    images={("train", "frontal"): 5232, ("test", "frontal"): 624},
    positives={
        ("train", "NORMAL"): 1349, ("train", "PNEUMONIA"): 3883, ("test", "NORMAL"): 234, ("test", "PNEUMONIA"): 390,
    },
)  # fmt: skip


class _Image(NamedTuple):
    path: str
    split: str
    label: str
    stem: str


class Kermany:
    """The source; see the module."""

    name = "kermany"
    title = "Chest X-Ray Pneumonia (Kermany)"
    vocabulary = VOCABULARIES["kermany"]
    home = "Mendeley Data, rscbjbr9sj, or Kaggle, paultimothymooney/chest-xray-pneumonia"
    terms = "CC BY 4.0: images and shards may be passed on with the authors' names (Kermany, Zhang, Goldbaum)."
    layout_help = (
        "    chest_xray/train/NORMAL/IM-0115-0001.jpeg\n"
        "    chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg\n"
        "    chest_xray/val/..., chest_xray/test/...   (val is absent in Mendeley's release)\n"
        "  SRC may be chest_xray, a folder above it, or the folder with train and test."
    )
    signs: tuple[str, ...] = (r"(^|/)(NORMAL2-)?IM-\d{4}-\d{4}(-\d{4})?\.jpe?g$", r"(^|/)person\d+_(bacteria|virus)_")

    def scan(self, src: Path) -> Release:
        """Read the release under `src`: all images frontal, patient and cause of pneumonia from the names."""
        found = list(_images(src)) if src.is_dir() else []
        if not found:
            raise not_found(self, src, "{train,val,test}/{NORMAL,PNEUMONIA}/*.jpeg, at any depth")
        images, findings = _once_each(found, src)
        patients = [_patient(image.stem) for image in images]
        unknown = sum(patient is None for patient in patients)
        if unknown:
            findings.append(f"{unknown} names say no patient, so each of these images counts as a patient of its own")
        table = record_table(
            {
                "key": [make_key(self.name, image.stem, f"{image.label}/{image.stem}") for image in images],
                "path": [image.path for image in images],
                "dataset": self.name,
                "patient": patients,
                "projection": "frontal",
                "release_split": [image.split for image in images],
            },
            _labels(images, patients),
        )
        layout = _layout(found, src)
        return Release(self.name, layout, table, _MENDELEY if "Mendeley" in layout else _KAGGLE, findings)


def _images(src: Path) -> Iterator[_Image]:
    """Yield every image under a split's and a class's folder; `src` itself may be the split's folder."""
    top = src.resolve().name
    for folder, files in walk_files(src):
        # Mendeley's zip holds retina scans beside, which have a NORMAL folder as well.
        parts = PurePosixPath(top, folder).parts
        if len(parts) < 2 or any(part.upper().startswith("OCT") for part in parts[1:]):
            continue
        split, label = parts[-2].lower(), parts[-1].upper()
        if split not in _SPLITS or label not in _CLASSES:
            continue
        for name in files:
            if name.lower().endswith(_SUFFIXES):
                yield _Image(f"{folder}/{name}", split, label, name.rpartition(".")[0])


def _once_each(found: list[_Image], src: Path) -> tuple[list[_Image], list[str]]:
    """Keep one image a name, the least deep: the zip nests chest_xray in chest_xray, so one file is met two times."""
    found.sort(key=lambda image: (image.path.count("/"), image.path))
    kept: dict[tuple[str, str], _Image] = {}
    moved = []
    for image in found:
        first = kept.setdefault((image.label, image.stem), image)
        if first is not image and _end(src / first.path) != _end(src / image.path):
            raise SourceError(
                f"{src} holds two different files of one name, {first.path} and {image.path}: in this set a name is an "
                "image. Name the folder of one release alone"
            )
        if first.split != image.split:
            moved.append(f"{image.path} repeats {first.path} in another split; the first is taken")
    copies = len(found) - len(kept) - len(moved)
    findings = [f"{copies} files are there more than once (nested copies); each is counted once"] if copies else []
    return sorted(kept.values(), key=lambda image: image.path), findings + moved[:20]


def _end(path: Path) -> tuple[int, bytes]:
    """Return a file's size and last 4 KiB: JPEGs that agree in both are one, and 5,856 copies are not read whole."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 4096))
        return size, file.read()


def _patient(stem: str) -> str | None:
    """Return `SERIES-NUMBER`; whether `bacteria-7` and `virus-7` are one person is not known."""
    if normal := _NORMAL.match(stem):
        return f"{normal[1]}-{int(normal[2]):04d}"
    if ill := _PNEUMONIA.match(stem):
        return f"{ill[2]}-{int(ill[1]):04d}"
    return None


def _labels(images: list[_Image], patients: list[str | None]) -> dict[str, list[float]]:
    """Return label columns; a cause is 0 for a normal chest, and blank for a pneumonia whose name does not tell it."""
    labels = {name: [float(image.label == name) for image in images] for name in _CLASSES}
    for cause in ("bacteria", "virus"):
        labels[cause] = [
            0.0 if image.label == "NORMAL" else np.nan if patient is None else float(patient.startswith(cause))
            for image, patient in zip(images, patients, strict=True)
        ]
    return labels


def _layout(found: list[_Image], src: Path) -> str:
    splits = {image.split for image in found}
    if any("chest_xray/chest_xray/" in f"{src.resolve().name}/{image.path}" for image in found):
        return "Kaggle's zip as unpacked (chest_xray inside chest_xray)"
    if "val" in splits:
        return "Kaggle (train, val, test)"
    # Mendeley put the 16 images of Kaggle's val among its training images.
    if any(image.stem in ("NORMAL2-IM-1427-0001", "person1946_bacteria_4874") for image in found):
        return "Mendeley (train, test)"
    return f"{' and '.join(sorted(splits, key=_SPLITS.index))}, without val"


SOURCE = Kermany()
