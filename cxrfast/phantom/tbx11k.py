"""A synthetic TBX11K release: folders that are the labels, lists, and boxes told two ways that disagree on purpose.

As in the release, the COCO files give boxes at 512 pixels and the VOC files at the size the radiograph once had, with
a `<filename>` that no file has; the test folder's labels are hidden; `extra` stands for other sets and has some JPEGs.
Tuberculosis is drawn in an upper zone, other illness anywhere else. Pictures are drawn at 320 pixels and enlarged to
512, the set's size, since drawing at 512 takes twice as long. Boxes are plausible numbers that nothing was drawn into.

Layout and categories: Liu et al., Rethinking computer-aided tuberculosis diagnosis, CVPR 2020, and the released files.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from cxrfast.phantom import jpeg
from cxrfast.phantom.anatomy import Anatomy
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.radiograph import draw
from cxrfast.phantom.release import Progress, check_enough, write_files

NAME = "TBX11K"
SIDE = 512
CATEGORIES = ("ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis")
LEAST_IMAGES = 24

_DRAWN_SIDE = 320
_LABELS = {"health": 0.4, "sick": 0.35, "tb": 0.25}  # shares; in the release 0.45, 0.45 and 0.1
_LETTERS = {"health": "h", "sick": "s", "tb": "tb", "test": "t"}
_SICK = ("Pneumonia", "Pleural Effusion", "Cardiomegaly", "Edema", "Atelectasis", "Fibrosis")
_EXTRA = ("da+db/nx{:03d}.jpg", "montgomery/MCUCXR_{:04d}_0.png", "shenzhen/CHNCXR_{:04d}_1.png")
_PNG_EFFORT = 1  # three times as fast as the default, and a quarter larger


@dataclass(frozen=True)
class Image:
    """An image of the release: `label` is what was drawn, whatever its folder tells; `part` train, val or test."""

    path: str  # below imgs/
    label: str
    part: str
    row: int  # among the images of its folder and label
    dice: Dice

    @property
    def is_extra(self) -> bool:
        """Return whether it stands for another set's image."""
        return self.path.startswith("extra/")


def write_release(
    out: Path, *, images: int = 500, seed: int = 0, workers: int | None = None, progress: Progress | None = None
) -> Path:
    """Write a release of `images` images (24 at least): a quarter in test/, some in extra/; return `out`/NAME.

    The same arguments give the same bytes of every file, whatever the number of `workers` (threads). `progress` is
    called with how many more images are done. SourceError where the folder holds another release.
    """
    check_enough("TBX11K", images, LEAST_IMAGES)
    planned = plan_images(images, seed=seed)
    drawings = {f"imgs/{image.path}": partial(_encode, image) for image in planned}
    tables = _lists(planned) | _coco(planned) | _voc(planned)
    return write_files(Path(out) / NAME, tables, drawings, workers=workers, progress=progress)


def plan_images(images: int, *, seed: int) -> list[Image]:
    """Return all images, folder by folder."""
    extra, test = images // 8, images // 4
    sizes = _label_sizes(images - extra - test)
    planned = [image for label, size in sizes.items() for image in _folder(label, label, size, seed)]
    for label, size in _label_sizes(test).items():
        planned += _folder("test", label, size, seed, after=len(planned) - sum(sizes.values()))
    return planned + list(_extra(extra, seed))


def _label_sizes(images: int) -> dict[str, int]:
    sick, tb = round(_LABELS["sick"] * images), round(_LABELS["tb"] * images)
    return {"health": images - sick - tb, "sick": sick, "tb": tb}


def _folder(folder: str, label: str, size: int, seed: int, *, after: int = 0) -> Iterator[Image]:
    """Yield a folder's images of a label, numbered with gaps; every fourth of a labelled folder is for validation."""
    for row in range(size):
        place = after + row
        part = "test" if folder == "test" else "val" if row % 4 == 3 else "train"
        path = f"{folder}/{_LETTERS[folder]}{1 + place + place // 5:04d}.png"
        yield Image(path, label, part, row, Dice.of("tbx11k", seed, path))


def _extra(size: int, seed: int) -> Iterator[Image]:
    for row in range(size):
        path = "extra/" + _EXTRA[row % len(_EXTRA)].format(1 + row)
        part = ("train", "train", "val", "test")[row % 4]
        yield Image(path, "tb" if row % 3 else "health", part, row, Dice.of("tbx11k", seed, path))


def _findings(image: Image) -> tuple[str, ...]:
    return {"health": (), "sick": (_SICK[image.row % len(_SICK)],), "tb": ("Tuberculosis",)}[image.label]


def _lists(planned: Sequence[Image]) -> dict[str, bytes]:
    lines: dict[str, list[str]] = {}
    for image in planned:
        names = [f"all_{image.part}"] + ["all_trainval"] * (image.part != "test")
        if not image.is_extra and image.part != "test":
            names += [f"TBX11K_{image.part}", "TBX11K_trainval"]
        for name in names:
            lines.setdefault(name, []).append(image.path)
    return {f"lists/{name}.txt": ("\n".join(paths) + "\n").encode() for name, paths in lines.items()}


def _categories(image: Image) -> tuple[str, ...]:
    """Return the category of each of an image's boxes: mostly active, some old, some both, one not to be told."""
    active, obsolete, uncertain = CATEGORIES
    if image.label != "tb" or image.part == "test":
        return ()
    if image.is_extra or image.row == 2:
        return (uncertain,)
    return (obsolete,) if image.row % 4 == 1 else (active, obsolete) if image.row % 7 == 3 else (active,)


def _boxes(image: Image, width: int, height: int) -> list[tuple[str, list[int]]]:
    """Return category and x, y, width and height of each box, in an image of this size."""
    return [
        (name, [int(share * side) for share, side in zip(shares, (width, height, width, height), strict=True)])
        for name in _categories(image)
        for shares in [image.dice.uniforms(f"box {name}", 4, 0.15, 0.4)]
    ]


def _coco(planned: Sequence[Image]) -> dict[str, bytes]:
    files = {}
    for part, parts in {"train": ("train",), "val": ("val",), "trainval": ("train", "val")}.items():
        both = [image for image in planned if image.part in parts]
        own = [image for image in both if not image.is_extra]
        files[f"TBX11K_{part}"], files[f"all_{part}"] = own, both
    files["TBX11K_trainval_only_tb"] = [image for image in files["TBX11K_trainval"] if image.label == "tb"]
    return {f"annotations/json/{name}.json": _coco_file(images) for name, images in files.items()}


def _coco_file(images: Sequence[Image]) -> bytes:
    ids = {name: number for number, name in enumerate(CATEGORIES, start=1)}
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images, start=1):
        for name, box in _boxes(image, SIDE, SIDE):
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": ids[name], "bbox": box,
                    "area": box[2] * box[3], "iscrowd": 0,
                }
            )  # fmt: skip
    content = {
        "images": [
            {"id": number, "file_name": image.path, "width": SIDE, "height": SIDE}
            for number, image in enumerate(images, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": "Tuberculosis"} for name, number in ids.items()],
    }
    return (json.dumps(content) + "\n").encode()


def _voc(planned: Sequence[Image]) -> dict[str, bytes]:
    having = [image for image in planned if _categories(image)]
    return {f"annotations/xml/{Path(image.path).stem}.xml": _voc_file(image).encode() for image in having}


def _voc_file(image: Image) -> str:
    width, height = image.dice.pick("once", ((2840, 3408), (2800, 2304), (2021, 2021)))
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>\n"
        for name, (x, y, w, h) in _boxes(image, width, height)
    )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>{Path(image.path).stem}</filename>\n{size}\n{objects}</annotation>\n"


def _encode(image: Image) -> bytes:
    age = int(image.dice.uniform("age", 18, 80))
    gray = draw(
        Anatomy.of(image.dice.child("anatomy"), female=image.dice.happens("female", 0.5), age=age),
        _findings(image),
        study=image.dice,
        image=image.dice.child("image"),
        width=_DRAWN_SIDE,
        height=_DRAWN_SIDE,
    )
    if image.path.endswith(".jpg"):
        return jpeg.encode(gray, colour=True)
    large = cv2.cvtColor(cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    return cv2.imencode(".png", large, [cv2.IMWRITE_PNG_COMPRESSION, _PNG_EFFORT])[1].tobytes()
