"""A synthetic Chest X-Ray Pneumonia release as Kaggle's zip unpacks: everything in it twice, labels in names alone.

The zip holds `chest_xray` once more inside itself, and what macOS adds; so each image is there two times and its name
three times, and who counts files counts wrongly. Four series number their patients apart: bacteria-1 is in train and
virus-1 in test here, as in the release, and no patient of a series is in two splits. A bacterial pneumonia is drawn as
a dense patch, a viral one as a haze over both lungs. Images are 300 to 440 pixels wide, not 400 to 2,900.

Names and counts: Kermany et al., Cell 2018, and the released files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cxrfast.phantom import jpeg
from cxrfast.phantom.anatomy import Anatomy
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.radiograph import draw
from cxrfast.phantom.release import Progress, check_enough, write_files

NAME = "chest_xray"
SPLITS = ("train", "val", "test")
LEAST_IMAGES = 24

_VAL = 4  # images; 16 in the release
_NORMAL = {"train": 0.26, "val": 0.5, "test": 0.375}  # shares of a split's images; the rest has pneumonia
_BACTERIA = 0.65  # share of pneumonias
# Splits in the order in which a series numbers its patients.
_ORDER = {
    "IM": ("test", "train", "val"), "NORMAL2-IM": ("train", "val", "test"),
    "bacteria": ("train", "val", "test"), "virus": ("test", "val", "train"),
}  # fmt: skip
_FINDINGS = {"IM": (), "NORMAL2-IM": (), "bacteria": ("Consolidation",), "virus": ("Edema", "Lung Opacity")}


@dataclass(frozen=True)
class Image:
    """An image of the release, the `number`-th of its patient and the `serial`-th of its series."""

    split: str
    series: str
    patient: int
    number: int
    serial: int
    dice: Dice  # of the patient

    @property
    def path(self) -> str:
        """Return where it lies below the release's folder."""
        if self.series in ("IM", "NORMAL2-IM"):
            further = f"-{self.number:04d}" if self.number > 1 else ""
            return f"{self.split}/NORMAL/{self.series}-{self.patient:04d}-0001{further}.jpeg"
        # Further images of a patient count on in the one series, and have a suffix in the other.
        running = f"{self.serial}" if self.series == "bacteria" else f"{self.serial - self.number + 1}"
        further = f"_{self.number - 1}" if self.series == "virus" and self.number > 1 else ""
        return f"{self.split}/PNEUMONIA/person{self.patient}_{self.series}_{running}{further}.jpeg"


def write_release(
    out: Path, *, images: int = 500, seed: int = 0, workers: int | None = None, progress: Progress | None = None
) -> Path:
    """Write a release of `images` images (24 at least) and a nested copy of each; return `out`/NAME.

    A quarter is in test and 4 are in val. The same arguments give the same bytes of every file, whatever the number of
    `workers` (threads). `progress` is called with how many more images are done. SourceError where the folder holds
    another release.
    """
    check_enough("Chest X-Ray Pneumonia", images, LEAST_IMAGES)
    planned = plan_images(images, seed=seed)
    drawings = {image.path: partial(_encode, image, row) for row, image in enumerate(planned)}
    copies = {f"{NAME}/{path}": path for path in drawings}
    folder = Path(out) / NAME
    return write_files(folder, _leavings(drawings), drawings, copies=copies, workers=workers, progress=progress)


def plan_images(images: int, *, seed: int) -> list[Image]:
    """Return all images, a series after the other."""
    splits = {"train": images - _VAL - images // 4, "val": _VAL, "test": images // 4}
    sizes = {split: _series_sizes(split, size) for split, size in splits.items()}
    planned: list[Image] = []
    for series, order in _ORDER.items():
        patient = serial = 1
        for split in order:
            part = list(_patients(split, series, sizes[split][series], patient, serial, seed))
            planned += part
            patient, serial = part[-1].patient + 1 if part else patient, serial + len(part)
    return planned


def _series_sizes(split: str, size: int) -> dict[str, int]:
    normal = round(_NORMAL[split] * size)
    bacteria = round(_BACTERIA * (size - normal))
    return {
        "IM": normal // 2, "NORMAL2-IM": normal - normal // 2,
        "bacteria": bacteria, "virus": size - normal - bacteria,
    }  # fmt: skip


def _patients(split: str, series: str, count: int, patient: int, serial: int, seed: int) -> Iterator[Image]:
    """Yield `count` images of patients from a number on: one to three each, every second patient two at least."""
    left = count
    while left > 0:
        dice = Dice.of("kermany", seed, series, patient)
        wanted = max(1 + int(3 * dice.uniform("images") ** 3), 2 - patient % 2)
        for number in range(1, 1 + min(left, wanted)):
            yield Image(split, series, patient, number, serial, dice)
            serial, left = serial + 1, left - 1
        patient += 1


def _leavings(paths: dict[str, partial[bytes]]) -> dict[str, bytes]:
    """Return what macOS left in the zip: a companion of each tenth file, of some folders, and their .DS_Store."""
    companion = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(96)  # AppleDouble, version 2
    files = [path for row, path in enumerate(paths) if row % 10 == 0]
    names = [".DS_Store", *(f"{split}/.DS_Store" for split in SPLITS), *files]
    hidden = {f"__MACOSX/{NAME}/{Path(name).parent / ('._' + Path(name).name)}": companion for name in names}
    return hidden | {f"{NAME}/.DS_Store": b"\0\0\0\1Bud1" + bytes(64)}


def _encode(image: Image, row: int) -> bytes:
    shot = image.dice.child("image", image.number)
    width = int(shot.uniform("width", 300, 440))
    gray = draw(
        Anatomy.of(image.dice.child("anatomy"), female=image.dice.happens("female", 0.5), age=18),
        _FINDINGS[image.series],
        study=image.dice,
        image=shot,
        width=width,
        height=int(width * shot.uniform("height", 0.66, 0.95)),
    )
    return jpeg.encode(
        gray, colour=row % 11 in (2, 6), progressive=row % 7 == 3, adobe=row % 11 in (6, 9), turned=row % 23 == 12
    )
