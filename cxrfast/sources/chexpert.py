"""CheXpert (Irvin et al., AAAI 2019): two tables, and images in folders that four layouts arrange differently.

The csv's paths are true in two of the layouts only. Patient numbers are disjoint between train and valid, so the tail
`patientNNNNN/studyN/viewN_*` names an image in all of them: the tree is walked once into an index of tails, and rows
look themselves up. That costs a walk of all folders, and no stat a row.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cxrfast.errors import SourceError
from cxrfast.labels import CHEXPERT, VOCABULARIES
from cxrfast.sources.base import Expected, Release, make_key, not_found, record_table, walk_files
from cxrfast.sources.tables import cut_off, numbers, read_csv, refuse

_CSVS = {"train.csv": "train", "valid.csv": "val"}
_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT)
_TAIL = re.compile(r"(patient\d+)/(study\d+)/([^/]+?)\.(?:jpe?g|png)", re.IGNORECASE)
_STUDY_FOLDER = re.compile(r"(?:^|/)(patient\d+/study\d+)$")
_TOP_FOLDER = re.compile(r"^CheXpert[^/]*/", re.IGNORECASE)
_SUFFIXES = (".jpg", ".jpeg", ".png")

_EXPECTED = Expected(
    images={
        ("train", "frontal"): 191_027, ("train", "lateral"): 32_387, ("val", "frontal"): 202, ("val", "lateral"): 32,
    },
    patients={"train": 64_540, "val": 200},
)  # fmt: skip


@dataclass
class _Tree:
    """What one walk found: csv files by name, and images by tail without suffix; folders and paths relative to SRC."""

    csvs: dict[str, list[str]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    num_copies: int = 0


class Chexpert:
    """The source; see the module."""

    name = "chexpert"
    title = "CheXpert"
    vocabulary = VOCABULARIES["chexpert"]
    home = "https://stanfordmlgroup.github.io/competitions/chexpert/ (by registration with Stanford AIMI)"
    terms = (
        "Stanford University's research use agreement: for non-commercial research alone; neither images nor shards of "
        "them may be passed on."
    )
    layout_help = (
        "    CheXpert-v1.0-small/train.csv, valid.csv, train/patient00001/study1/view1_frontal.jpg, valid/...\n"
        "    CheXpert-v1.0/... (the same at full size), or either without the top folder, or\n"
        "    chexpertchestxrays-u20210408/CheXpert-v1.0 batch 1 (validate & csv)/train.csv, valid.csv, valid/..., and\n"
        "    chexpertchestxrays-u20210408/CheXpert-v1.0 batch 2 (train 1)/patient00001/..., batch 3, batch 4\n"
        "  SRC may be that folder or the one above it."
    )
    signs: tuple[str, ...] = (r"(^|/)patient\d{5}(/study\d+)?$",)

    def scan(self, src: Path) -> Release:
        """Read train.csv and valid.csv and find each row's image."""
        tree = _walk(src) if src.is_dir() else _Tree()
        if not tree.csvs:
            raise not_found(self, src, "train.csv and valid.csv (train_cheXbert.csv and the like are other labels)")
        tree.csvs = {name: _own(src, name, folders) for name, folders in tree.csvs.items()}
        findings = [f"there is no {name}" for name in _CSVS if name not in tree.csvs]
        rows = pd.concat([_read_csv(src, tree, name, findings) for name in tree.csvs], ignore_index=True)
        rows = _unique(rows, findings)
        tails = rows["tail"].tolist()
        on_disk = [tree.images.get(tail) for tail in tails]
        paths = [found or said for found, said in zip(on_disk, rows["said"], strict=True)]
        if tree.num_copies:
            findings.append(f"{tree.num_copies} images are there more than once; the first is taken")
        table = _table(self.name, rows, paths)
        missing = [path for path, found in zip(paths, on_disk, strict=True) if found is None]
        unlisted = sorted(tree.images[tail] for tail in tree.images.keys() - set(tails))
        layout = _layout(src, tree, [path for path in on_disk if path is not None])
        return Release(self.name, layout, table, _EXPECTED, findings, missing, unlisted)


def _walk(src: Path) -> _Tree:
    tree = _Tree()
    for folder, files in walk_files(src):
        study = _STUDY_FOLDER.search(folder)
        for name in files:
            stem, dot, suffix = name.rpartition(".")
            if study and (dot + suffix).lower() in _SUFFIXES:
                path = f"{folder}/{name}"
                tree.num_copies += tree.images.setdefault(f"{study[1]}/{stem}", path) != path
            elif name in _CSVS:
                tree.csvs.setdefault(name, []).append(folder)
    return tree


def _own(src: Path, name: str, folders: list[str]) -> list[str]:
    """Leave out folders whose csv of that name is another set's, such as VinBigData's, where one is CheXpert's."""
    if len(folders) == 1:
        return folders
    own = []
    for folder in folders:
        with Path(src, folder, name).open("rb") as file:
            if b"Frontal/Lateral" in file.readline():
                own.append(folder)
    return own or folders


def _read_csv(src: Path, tree: _Tree, name: str, findings: list[str]) -> pd.DataFrame:
    """Return a csv's rows with `split`, `patient`, `study`, `view`, `tail`, and `said`, where the csv has the image."""
    folders = tree.csvs[name]
    if len(folders) > 1:
        raise SourceError(
            f"{src} holds {name} more than once (in {', '.join(folders)}); give one of these folders as SRC"
        )
    path = src / folders[0] / name
    rows = _parse_csv(path)
    findings += cut_off(path)
    tails = [_TAIL.search(str(text)) for text in rows["Path"].tolist()]
    if None in tails:
        row = tails.index(None)
        raise SourceError(
            f"{path}, line {row + 2}: the path {rows['Path'].iloc[row]!r} has no patientNNNNN/studyN/viewN_*.jpg"
        )
    parts = [tail.groups() for tail in tails if tail]
    rows["patient"] = [patient for patient, _, _ in parts]
    rows["study"] = [f"{patient}/{study}" for patient, study, _ in parts]
    rows["tail"] = ["/".join(part) for part in parts]
    # A missing image is reported where the csv has it, below the csv's own folder instead of the csv's top folder.
    rows["said"] = ["/".join(filter(None, (folders[0], _TOP_FOLDER.sub("", text)))) for text in rows["Path"].tolist()]
    rows["split"] = _CSVS[name]
    if not len(rows):
        findings.append(f"{name} has no rows")
    return rows


def _parse_csv(path: Path) -> pd.DataFrame:
    rows = read_csv(path, needed=_COLUMNS)
    projection = rows["Frontal/Lateral"]
    refuse(rows, "Frontal/Lateral", path, ~projection.str.lower().isin(["frontal", "lateral"]), "Frontal or Lateral")
    rows["Age"] = numbers(rows, "Age", path)
    refuse(rows, "Age", path, rows["Age"] < 0, "an age")
    for name in CHEXPERT:
        rows[name] = numbers(rows, name, path, among=(1, 0, -1))
    return rows


def _unique(rows: pd.DataFrame, findings: list[str]) -> pd.DataFrame:
    again = rows["tail"].duplicated()
    if again.any():
        findings.append(f"{int(again.sum())} rows name an image that an earlier row names; the earlier row is taken")
    return rows[~again].reset_index(drop=True)


def _table(dataset: str, rows: pd.DataFrame, paths: list[str]) -> pd.DataFrame:
    projection = rows["Frontal/Lateral"].str.lower()
    return record_table(
        {
            "key": [make_key(dataset, tail.replace("/", "-"), tail) for tail in rows["tail"].tolist()],
            "path": paths,
            "dataset": dataset,
            "patient": rows["patient"],
            "study": rows["study"],
            "projection": projection.where(projection.isin(["frontal", "lateral"])),
            "view_position": rows["AP/PA"],
            "sex": rows["Sex"].str.lower().map({"female": "F", "male": "M", "f": "F", "m": "M"}),
            "age": rows["Age"],
            "release_split": rows["split"],
        },
        {name: rows[name] for name in CHEXPERT},
    )


def _layout(src: Path, tree: _Tree, paths: list[str]) -> str:
    if any(" batch " in f"/{path}" for path in paths[:1] + paths[-1:]):
        return "chexpertchestxrays-u20210408 (batches)"
    folder = next(iter(tree.csvs.values()))[0]
    top = Path(src.resolve(), folder).name
    return top if top.lower().startswith("chexpert-v1.0") else "CheXpert without its top folder"


SOURCE = Chexpert()
