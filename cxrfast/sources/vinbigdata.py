"""VinBigData (Kaggle 2021, after VinDr-CXR, Nguyen et al. 2022): three radiologists' boxes become votes an image.

train.csv has a row for each box of each reader. What counts here is how many of an image's three readers drew a class
at all, so boxes are counted by distinct reader and their corners are left out. Images are looked up by their id,
wherever they lie, so that the DICOM release and the PNG and JPEG mirrors, with or without folders between, are read in
one way; mirrors have no headers, hence neither sex nor age.
"""

import filecmp
import re
from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from cxrfast.errors import SourceError
from cxrfast.labels import NUM_READERS, VOCABULARIES
from cxrfast.sources.base import Expected, Release, make_key, not_found, record_table, walk_files
from cxrfast.sources.headers import Header, read_headers
from cxrfast.sources.tables import cut_off, read_csv

_CSV = "train.csv"
_COLUMNS = ("image_id", "class_name", "rad_id")
_DICOM = (".dicom", ".dcm")
_SUFFIXES = (*_DICOM, ".png", ".jpg", ".jpeg")
_ID = re.compile(r"[0-9a-f]{32}")  # images of other names below SRC are another set's
_NO_FINDING = "No finding"

_EXPECTED = Expected(
    images={("train", "frontal"): 15_000, ("test", "frontal"): 3_000}, positives={("train", _NO_FINDING): 10_606}
)


@dataclass
class _Tree:
    """What one walk found, paths relative to SRC: images by id, and tables called train.csv that have image ids.

    `copies`: pairs of paths of one id, the first of them in `images`.
    """

    csvs: list[str] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)
    copies: list[tuple[str, str]] = field(default_factory=list)


class VinBigData:
    """The source; see the module."""

    name = "vinbigdata"
    title = "VinBigData Chest X-ray Abnormalities Detection"
    vocabulary = VOCABULARIES["vinbigdata"]
    home = "https://www.kaggle.com/c/vinbigdata-chest-xray-abnormalities-detection (by joining the competition)"
    terms = (
        "Kaggle's competition rules and PhysioNet's terms for VinDr-CXR: for research alone; neither images nor shards "
        "of them may be passed on."
    )
    layout_help = (
        "    train.csv   (image_id,class_name,class_id,rad_id,x_min,..., a row a box and reader)\n"
        "    train/50a418190bc3fb1ef1633bf9678929b3.dicom, test/....dicom, or\n"
        "    the same ids as .png or .jpg in a mirror of 256, 512 or 1024 pixels\n"
        "  SRC is the folder that holds both, at any depth. Some mirrors lack train.csv: put the competition's there."
    )
    signs: tuple[str, ...] = (r"(^|/)[0-9a-f]{32}\.(dicom|dcm|png|jpe?g)$",)

    def scan(self, src: Path) -> Release:
        """Read train.csv, count votes and find each id's image; test images have neither labels nor votes."""
        tree = _walk(src) if src.is_dir() else _Tree()
        if not tree.csvs:
            raise not_found(self, src, f"{_CSV} with {', '.join(_COLUMNS)} (train_meta.csv and the like are not it)")
        rows = _read_rows(src, tree.csvs)
        votes = _count_votes(rows)
        findings = [*cut_off(src / tree.csvs[0]), *_told_copies(src, tree.copies), *_odd_readings(rows, votes)]
        train = votes.index.tolist()
        test = sorted(image for image in tree.images.keys() - set(train) if _split(tree.images[image]) == "test")
        absent = _expected_paths(tree, [image for image in train if image not in tree.images])
        paths = [*(tree.images.get(image) or absent[image] for image in train), *(tree.images[image] for image in test)]
        table = self._table([*train, *test], paths, len(train), votes, _headers(src, paths))
        unlisted = sorted(tree.images[image] for image in tree.images.keys() - {*train, *test})
        layout = _layout(paths[0], len(train) - len(absent))
        return Release(self.name, layout, table, _EXPECTED, findings, list(absent.values()), unlisted)

    def _table(
        self, images: list[str], paths: list[str], num_train: int, votes: pd.DataFrame, headers: list[Header]
    ) -> pd.DataFrame:
        counted = {name: np.full(len(images), np.nan, dtype=np.float32) for name in self.vocabulary}
        for name, column in counted.items():
            column[:num_train] = votes[name]
        return record_table(
            {
                "key": [make_key(self.name, image, image) for image in images],
                "path": paths,
                "dataset": self.name,
                "projection": "frontal",
                "view_position": [header.view_position for header in headers],
                "sex": [header.sex for header in headers],
                "age": [header.age for header in headers],
                "release_split": ["train" if row < num_train else "test" for row in range(len(images))],
            },
            {name: np.minimum(column, 1) for name, column in counted.items()},
            counted,
        )


def _walk(src: Path) -> _Tree:
    tree = _Tree()
    for folder, names in walk_files(src):
        for name in names:
            stem, dot, suffix = name.rpartition(".")
            path = f"{folder}/{name}" if folder else name
            if (dot + suffix).lower() in _SUFFIXES and _ID.fullmatch(stem):
                first = tree.images.setdefault(stem, path)
                if first != path:
                    tree.copies.append((first, path))
            elif name == _CSV and "image_id" in _first_line(src / path):
                tree.csvs.append(path)
    return tree


def _told_copies(src: Path, copies: list[tuple[str, str]]) -> list[str]:
    """Say how many images are there again; SourceError where one differs, as in two mirrors side by side."""
    for first, again in copies:
        if not filecmp.cmp(src / first, src / again, shallow=False):
            raise SourceError(
                f"{src} holds two different images of one id, {first} and {again}: give the folder of one release or "
                f"mirror alone, with {_CSV} in it"
            )
    return [f"{len(copies)} images are there more than once (nested copies); each is counted once"] if copies else []


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(1000)


def _read_rows(src: Path, csvs: list[str]) -> pd.DataFrame:
    """Return the rows of train.csv, image, class and reader all given; SourceError with the line where one is not."""
    path = src / csvs[0]
    if any((src / other).read_bytes() != path.read_bytes() for other in csvs[1:]):
        raise SourceError(f"{src} holds different {_CSV} ({', '.join(csvs)}); give the folder of one of them as SRC")
    rows = read_csv(path, needed=_COLUMNS)
    if not len(rows):
        raise SourceError(f"{path} has no rows")
    for name in _COLUMNS:
        blank = rows[name].isna().to_numpy()
        if blank.any():
            raise SourceError(f"{path}, line {int(blank.argmax()) + 2}: {name} is blank")
    stranger = ~rows["class_name"].isin(VinBigData.vocabulary).to_numpy()
    if stranger.any():
        row = int(stranger.argmax())
        name = rows["class_name"].iloc[row]
        near = get_close_matches(name, VinBigData.vocabulary, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"its classes: {', '.join(VinBigData.vocabulary)}"
        raise SourceError(f"{path}, line {row + 2}: class_name is {name!r}, which {VinBigData.title} has not; {hint}")
    return rows


def _count_votes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return how many distinct readers gave an image a class: a row an image, in the csv's order, a column a class."""
    votes = rows.drop_duplicates(list(_COLUMNS)).groupby(["image_id", "class_name"]).size().unstack(fill_value=0)
    return votes.reindex(index=pd.unique(rows["image_id"]), columns=list(VinBigData.vocabulary), fill_value=0)


def _odd_readings(rows: pd.DataFrame, votes: pd.DataFrame) -> list[str]:
    """Say which images were not read by three readers, and which are both without finding and with one."""
    readers = rows.groupby("image_id")["rad_id"].nunique()
    odd = readers[readers != NUM_READERS]
    mixed = votes.index[(votes[_NO_FINDING] > 0) & (votes.drop(columns=_NO_FINDING) > 0).any(axis=1)]
    findings = []
    if len(odd):
        findings.append(
            f"{len(odd)} images have not {NUM_READERS} readers, such as {odd.index[0]} with {odd.iloc[0]}; "
            "their votes are counted as they are"
        )
    if len(mixed):
        findings.append(f"{len(mixed)} images have both {_NO_FINDING!r} and findings, such as {mixed[0]}")
    return findings


def _split(path: str) -> str | None:
    """Return `train` or `test` by the nearest folder of that name."""
    return next((part.lower() for part in path.split("/")[-2::-1] if part.lower() in ("train", "test")), None)


def _expected_paths(tree: _Tree, images: list[str]) -> dict[str, str]:
    """Return where absent train images should lie: beside the most that are there, under their suffix."""
    there = Counter(
        (str(PurePosixPath(path).parent), PurePosixPath(path).suffix)
        for path in tree.images.values()
        if _split(path) == "train"
    )
    beside = str(PurePosixPath(tree.csvs[0]).parent / "train")
    folder, suffix = there.most_common(1)[0][0] if there else (beside, ".dicom")
    return {image: str(PurePosixPath(folder) / f"{image}{suffix}") for image in images}


def _headers(src: Path, paths: list[str]) -> list[Header]:
    """Return each image's header; a blank one, without opening the file, for what is no DICOM by name."""
    dicom = [path for path in paths if path.lower().endswith(_DICOM)]
    read = dict(zip(dicom, read_headers(src, dicom), strict=True))
    return [read.get(path, Header()) for path in paths]


def _layout(path: str, num_found: int) -> str:
    if not num_found:
        return f"{_CSV} alone, without its images"
    suffix = PurePosixPath(path).suffix.lower()
    return "Kaggle's release (DICOM)" if suffix in _DICOM else f"a mirror in {suffix.removeprefix('.').upper()}"


SOURCE = VinBigData()
