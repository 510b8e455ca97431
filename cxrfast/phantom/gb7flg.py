"""A synthetic GB7-FLG release: DICOM files without extension, the same names in both folders, Cyrillic in the headers.

Fluorograms as a hospital's archive exports them: MONOCHROME1, 12 bits in words of 16, a window, and patients by name
and year of birth, spaces and all. The set is private and nobody outside has seen its headers, so these are a guess at
what such an export holds; a second study's folder with Cyrillic and a space in its name stands beside the usual one.
Images are 320 to 400 pixels a side.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cxrfast.phantom.anatomy import Anatomy
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.dicom import Storing, encode, uid
from cxrfast.phantom.radiograph import draw
from cxrfast.phantom.release import Progress, check_enough, write_files

NAME = "GB7"
FOLDERS = {"norma": "FLG/MD__20200424__norma", "pnevmoniya": "FLG/MD__20190111-1231_pnevmoniya"}
STUDY, SECOND_STUDY = "Undef", "Исследование 2"
LEAST_IMAGES = 24

_PNEUMONIA = 28 / 127  # share of the images
_SURNAMES = ("Фантомов", "Образцов", "Примеров", "Чертёжный", "Рисунков")  # of nobody
_INITIALS = "АБВГДЕИКЛМНОП"


@dataclass(frozen=True)
class Image:
    """An image of the release; `number` is that of its file, which has gaps."""

    label: str
    study: str
    number: int
    patient: str
    age: int
    dice: Dice

    @property
    def path(self) -> str:
        """Return where it lies below the release's folder."""
        return f"{FOLDERS[self.label]}/{self.study}/IM_{self.number:05d}"


def write_release(
    out: Path, *, images: int = 500, seed: int = 0, workers: int | None = None, progress: Progress | None = None
) -> Path:
    """Write a release of `images` images (24 at least), 22 % of them with pneumonia; return `out`/NAME.

    The same arguments give the same bytes of every file, whatever the number of `workers` (threads). `progress` is
    called with how many more images are done. SourceError where the folder holds another release.
    """
    check_enough("GB7-FLG", images, LEAST_IMAGES)
    drawings = {image.path: partial(_encode, image) for image in plan_images(images, seed=seed)}
    return write_files(Path(out) / NAME, {}, drawings, workers=workers, progress=progress)


def plan_images(images: int, *, seed: int) -> list[Image]:
    """Return all images, folder by folder."""
    ill = round(_PNEUMONIA * images)
    sizes = {"norma": images - ill, "pnevmoniya": ill}
    return [image for label, size in sizes.items() for image in _folder(label, size, seed)]


def _folder(label: str, size: int, seed: int) -> Iterator[Image]:
    """Yield a folder's images: every seventh number is missing; every fifth image is of the patient before."""
    person = Dice.of("gb7flg", seed, label, 0)
    for row in range(size):
        if row % 5 != 4:
            person = Dice.of("gb7flg", seed, label, row)
        of_second = row - (size - 2) if label == "pnevmoniya" else -1  # its place in the second study, which has two
        study, place = (SECOND_STUDY, of_second) if of_second >= 0 else (STUDY, row)
        year = int(person.uniform("born", 1935, 2001))
        surname = person.pick("surname", _SURNAMES)
        initials = f"{person.pick('first', _INITIALS)} {person.pick('second', _INITIALS)}"
        yield Image(label, study, 1 + place + place // 6, f"{surname} {initials} {year}", 2019 - year, person)


def _encode(image: Image) -> bytes:
    shot = image.dice.child(image.path)
    female = image.dice.happens("female", 0.5)
    gray = draw(
        Anatomy.of(image.dice.child("anatomy"), female=female, age=image.age),
        ("Consolidation", "Pneumonia") if image.label == "pnevmoniya" else (),
        study=image.dice,
        image=shot,
        width=int(shot.uniform("width", 320, 400)),
        height=int(shot.uniform("height", 320, 400)),
    )
    return encode(gray, Storing(inverted=True), shot, _tags(image, female=female))


def _tags(image: Image, *, female: bool) -> dict[str, str | int]:
    """Return the header's elements beside the pixels; of the two ways to write Cyrillic, the label decides."""
    return {
        "SpecificCharacterSet": "ISO_IR 144" if image.label == "norma" else "ISO_IR 192",
        "PatientID": image.patient,
        "PatientName": image.patient.replace(" ", "^", 1),
        "PatientSex": "F" if female else "M",
        "PatientAge": f"{image.age:03d}Y",
        "StudyInstanceUID": uid(image.dice.child("study", image.study)),
        "StudyDate": "20200424" if image.label == "norma" else "20190111",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
    }
