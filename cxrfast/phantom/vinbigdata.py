"""A synthetic VinBigData release: DICOM files by random names, and a table with a row for each box of each reader.

Three of seventeen readers saw each image, and one row is one box: a reader who saw a class twice has two rows and one
vote. Readers disagree: here all three see one of an image's classes, and two or one in turn see each other one. The
files are of every kind that the release holds: both polarities, 12 and 16 bits, plain and JPEG 2000, with and without a
window or a rescale. Boxes are plausible numbers that nothing was drawn into; images are 300 to 400 pixels a side, not
2,000 to 3,500.

Columns, classes and counts: Nguyen et al., VinDr-CXR, Scientific Data 2022, and the table of the Kaggle competition.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cxrfast.labels import VOCABULARIES
from cxrfast.phantom.anatomy import Anatomy
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.dicom import Storing, encode
from cxrfast.phantom.radiograph import draw
from cxrfast.phantom.release import Progress, check_enough, write_files
from cxrfast.phantom.truth import draw_findings

NAME = "vinbigdata-chest-xray-abnormalities-detection"
COLUMNS = ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max")
CLASSES = VOCABULARIES["vinbigdata"]  # in the order of their class_id
NO_FINDING = CLASSES[-1]
LEAST_IMAGES = 24

# Label: what is painted for it, and its share of images.
_CLASSES: dict[str, tuple[str, float]] = {
    "Aortic enlargement": ("Enlarged Cardiomediastinum", 0.16),
    "Cardiomegaly": ("Cardiomegaly", 0.14),
    "Pleural thickening": ("Pleural Other", 0.10),
    "Pulmonary fibrosis": ("Fibrosis", 0.08),
    "Pleural effusion": ("Pleural Effusion", 0.08),
    "Nodule/Mass": ("Mass", 0.08),
    "Lung Opacity": ("Lung Opacity", 0.08),
    "Other lesion": ("Fracture", 0.05),
    "Infiltration": ("Pneumonia", 0.05),
    "ILD": ("Edema", 0.05),
    "Calcification": ("Calcification", 0.05),
    "Consolidation": ("Consolidation", 0.05),
    "Atelectasis": ("Atelectasis", 0.05),
    "Pneumothorax": ("Pneumothorax", 0.05),
}
_LEANING = {"Cardiomegaly": {"Aortic enlargement": 0.6}, "Pleural effusion": {"Cardiomegaly": 0.3}}
_HEALTHY = 0.5  # 0.71 in the release


@dataclass(frozen=True)
class Image:
    """An image of the release, the `row`-th of its split."""

    split: str
    row: int
    dice: Dice

    @property
    def id(self) -> str:
        """Return its name: 32 hexadecimal digits."""
        return f"{self.dice.child('id', 0).word:016x}{self.dice.child('id', 1).word:016x}"

    @property
    def size(self) -> tuple[int, int]:
        """Return its width and height, pixels."""
        return int(self.dice.uniform("width", 300, 400)), int(self.dice.uniform("height", 300, 400))


def write_release(
    out: Path, *, images: int = 500, seed: int = 0, workers: int | None = None, progress: Progress | None = None
) -> Path:
    """Write a release of `images` images (24 at least), a sixth of them in test/, without labels; return `out`/NAME.

    The same arguments give the same bytes of every file, whatever the number of `workers` (threads). `progress` is
    called with how many more images are done. SourceError where the folder holds another release.
    """
    check_enough("VinBigData", images, LEAST_IMAGES)
    truth: dict[Image, frozenset[str]] = {}
    for split, size in {"train": images - images // 6, "test": images // 6}.items():
        truth |= draw_truth([Image(split, row, Dice.of("vinbigdata", seed, split, row)) for row in range(size)])
    drawings = {f"{image.split}/{image.id}.dicom": partial(_encode, image, found) for image, found in truth.items()}
    table = _table({image: found for image, found in truth.items() if image.split == "train"})
    return write_files(Path(out) / NAME, {"train.csv": table}, drawings, workers=workers, progress=progress)


def draw_truth(images: list[Image]) -> dict[Image, frozenset[str]]:
    """Return each image's labels without No finding, with exact shares."""
    shares = {label: share for label, (_, share) in _CLASSES.items()}
    found = draw_findings([image.dice for image in images], shares, leaning=_LEANING, healthy=_HEALTHY)
    return dict(zip(images, found, strict=True))


def _table(truth: dict[Image, frozenset[str]]) -> bytes:
    """Return train.csv, its rows in no order."""
    rows: list[tuple[float, str]] = []
    for place, (image, found) in enumerate(truth.items()):
        for number, cells in enumerate(_rows(image, sorted(found), place)):
            rows.append((image.dice.uniform(f"order {number}"), ",".join((image.id, *cells))))
    return ("\n".join([",".join(COLUMNS), *(line for _, line in sorted(rows))]) + "\n").encode()


def _rows(image: Image, found: list[str], place: int) -> Iterator[tuple[str, ...]]:
    """Yield an image's rows without its id; `place`: among all images."""
    order = sorted(range(1, 18), key=lambda reader: image.dice.uniform(f"reader {reader}"))
    readers = [f"R{reader}" for reader in order[:3]]
    if not found:
        yield from ((NO_FINDING, str(CLASSES.index(NO_FINDING)), reader, "", "", "", "") for reader in readers)
    for number, label in enumerate(found):
        votes = 1 + (place + number) % 2 if number else 3
        for reader in readers[:votes]:
            for box in range(2 if number == 0 and place % 4 == 0 and reader == readers[0] else 1):
                yield label, str(CLASSES.index(label)), reader, *_box(image, f"{label} {reader} {box}")


def _box(image: Image, name: str) -> tuple[str, ...]:
    width, height = image.size
    x, y, w, h = image.dice.uniforms(name, 4, 0.1, 0.45) * (width, height, width, height)
    return tuple(str(int(edge)) for edge in (x, y, x + w, y + h))


def _encode(image: Image, found: frozenset[str]) -> bytes:
    female, age = image.dice.happens("female", 0.45), int(image.dice.uniform("age", 18, 85))
    width, height = image.size
    gray = draw(
        Anatomy.of(image.dice.child("anatomy"), female=female, age=age),
        {_CLASSES[label][0] for label in found},
        study=image.dice,
        image=image.dice.child("image"),
        width=width,
        height=height,
    )
    tags: dict[str, str | int] = {
        "PatientSex": ("F" if female else "M", "F" if female else "M", "O", "")[image.row % 4],
        "PatientAge": {1: "000Y", 4: ""}.get(image.row % 6, f"{age:03d}Y"),
    }
    return encode(gray, storing(image.row), image.dice, tags)


def storing(row: int) -> Storing:
    """Return how the `row`-th image is stored: periods without a common one, so that all kinds meet."""
    return Storing(
        bits=16 if row % 3 == 1 else 12,
        inverted=row % 5 == 2,
        window=row % 4 != 3,
        rescale=(2.0, -1024.0) if row % 7 == 3 else None,
        jpeg2000=row % 2 == 1,
    )
