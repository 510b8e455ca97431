"""ChestX-ray14 (Wang et al., CVPR 2017): one table, and images that every mirror puts into other folders.

An image is its file name in all of them, so the tree is walked once into an index of names and rows look themselves up;
in return a renamed image is lost. The table's editions differ in ages, spacings and the order of labels, so they are
never compared or mixed: one is read, the later where there are two.
"""

import filecmp
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast.errors import SourceError
from cxrfast.labels import VOCABULARIES
from cxrfast.sources.base import Expected, Release, make_key, not_found, record_table, walk_files
from cxrfast.sources.tables import cut_off, read_csv, read_lines, refuse

_SAMPLE = "sample_labels.csv"
_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", _SAMPLE)  # the first that is there is read
_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}
_LABELS = VOCABULARIES["chestxray14"]
_COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "View Position")
_SEX = ("Patient Gender", "Patient Sex")  # copies of the later edition differ
_NAME = re.compile(r"\d{8}_\d{3}\.(?:png|jpe?g)", re.IGNORECASE)  # other images below SRC are another set's
_AGE = re.compile(r"^(?P<number>\d+(?:\.\d+)?)(?P<unit>[YMWD]?)$", re.IGNORECASE)
_YEARS = {"": 1, "Y": 1, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
_OLDEST = 120

# "none" is what rows without a release split are counted as.
_BY_SPLIT = Expected(
    images={("train", "frontal"): 86_524, ("test", "frontal"): 25_596}, patients={"train": 28_008, "test": 2_797}
)
_WHOLE = Expected({("none", "frontal"): 112_120}, {"none": 30_805}, {("none", "No Finding"): 60_361})
_OF_SAMPLE = Expected({("none", "frontal"): 5_606})


@dataclass
class _Tree:
    """What one walk found, paths relative to SRC, the least deep first: tables and lists by name, images by stem."""

    texts: dict[str, list[str]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)


class ChestXray14:
    """The source; see the module."""

    name = "chestxray14"
    title = "ChestX-ray14 (NIH)"
    vocabulary = _LABELS
    home = "https://nihcc.app.box.com/v/ChestXray-NIHCC, or Kaggle, nih-chest-xrays/data"
    terms = (
        "No restrictions on use; name the NIH Clinical Center as the provider, link to its download site and cite "
        "Wang et al., CVPR 2017."
    )
    layout_help = (
        "    Data_Entry_2017.csv or Data_Entry_2017_v2020.csv, train_val_list.txt, test_list.txt, and\n"
        "    images_001/images/00000001_000.png ... images_012/images/..., or images/..., or another folder, or\n"
        "    sample_labels.csv and sample/images/... (the sample of 5,606)\n"
        "  SRC may be the folder with the table or the one above it; images may lie anywhere below SRC."
    )
    signs: tuple[str, ...] = (r"(^|/)Data_Entry_2017(_v2020)?\.csv$", r"(^|/)\d{8}_\d{3}\.(png|jpe?g)$")

    def scan(self, src: Path) -> Release:
        """Read the table and the lists of the splits, and find each row's image."""
        tree = _walk(src) if src.is_dir() else _Tree()
        findings: list[str] = []
        table = _choose_table(src, tree, findings)
        if table is None:
            raise not_found(self, src, f"{', '.join(_TABLES[:-1])} or {_TABLES[-1]}, at any depth")
        rows = _read_table(src / table, findings)
        findings += cut_off(src / table)
        rows["split"] = _splits(src, tree, rows["stem"], findings)
        found = rows["stem"].map(tree.images).astype("str")
        if tree.copies:
            first = tree.images[Path(tree.copies[0]).stem]
            findings.append(
                f"{len(tree.copies)} files repeat an image, such as {tree.copies[0]}, which repeats {first}; the least "
                "deep is taken"
            )
        paths = _paths(rows["Image Index"], found)
        return Release(
            self.name,
            f"{Path(table).name} and {_where(found)}",
            _record_table(self.name, rows, paths),
            _expected(table, tree.texts.keys() & _LISTS.keys()),
            findings,
            paths[found.isna()].tolist(),
            sorted(tree.images[stem] for stem in tree.images.keys() - set(rows["stem"])),
        )


def _walk(src: Path) -> _Tree:
    tree = _Tree()
    for folder, files in sorted(walk_files(src), key=lambda entry: (entry[0].count("/"), entry[0])):
        for name in files:
            path = f"{folder}/{name}" if folder else name
            if name in _TABLES or name in _LISTS:
                tree.texts.setdefault(name, []).append(path)
            elif _NAME.fullmatch(name) and tree.images.setdefault(name.rpartition(".")[0], path) != path:
                tree.copies.append(path)
    return tree


def _choose_table(src: Path, tree: _Tree, findings: list[str]) -> str | None:
    """Return the table to read, None where there is none; SourceError where two of one name differ."""
    there = [name for name in _TABLES if name in tree.texts]
    if not there:
        return None
    if len(there) > 1:
        findings.append(f"{' and '.join(there)} are there; {there[0]} is read")
    first, *others = tree.texts[there[0]]
    for other in others:
        if not filecmp.cmp(src / first, src / other, shallow=False):
            raise SourceError(f"{src} holds two different tables, {first} and {other}; give the folder of one as SRC")
    if others:
        findings.append(f"{there[0]} is there {len(others) + 1} times, the same each time; {first} is read")
    return first


def _read_table(path: Path, findings: list[str]) -> pd.DataFrame:
    """Return the table's rows, an image each, with `stem`, `age` in years, `sex`, and a column a label (1 or 0)."""
    rows = read_csv(path, needed=_COLUMNS)
    named = rows["Image Index"].str.fullmatch(_NAME, na=False)
    refuse(rows, "Image Index", path, ~named, "a name such as 00000001_000.png")
    refuse(rows, "Patient ID", path, rows["Patient ID"].isna(), "a patient's number")
    rows["stem"] = rows["Image Index"].str.rpartition(".")[0] if len(rows) else ""
    rows["age"] = _ages(rows, path, findings)
    column = next((name for name in _SEX if name in rows.columns), None)
    if column is None:
        findings.append(f"{path.name} has no column {' or '.join(map(repr, _SEX))}, so no image has a sex")
    rows["sex"] = rows[column].str.upper().map({"M": "M", "F": "F"}) if column else np.nan
    rows[list(_LABELS)] = _labels(rows, path)
    again = rows["stem"].duplicated()
    if again.any():
        findings.append(f"{int(again.sum())} rows name an image that an earlier row names; the earlier row is taken")
    if not len(rows):
        findings.append(f"{path.name} has no rows")
    return rows[~again].reset_index(drop=True)


def _ages(rows: pd.DataFrame, path: Path, findings: list[str]) -> "pd.Series[float]":
    """Return ages in years of texts such as 58, 058Y, 013M, 001D; the first edition has some of over 400."""
    texts = rows["Patient Age"]
    parts = texts.str.extract(_AGE)
    refuse(rows, "Patient Age", path, texts.notna() & parts["number"].isna(), "an age such as 58, 058Y, 013M or 001D")
    years = pd.to_numeric(parts["number"]) * parts["unit"].str.upper().map(_YEARS)
    old = years > _OLDEST
    if old.any():
        findings.append(
            f"{int(old.sum())} ages are over {_OLDEST} years, such as {texts[old].iloc[0]}, and are left out"
        )
    return years.mask(old)


def _labels(rows: pd.DataFrame, path: Path) -> npt.NDArray[np.float32]:
    """Return which labels each row has, 1 or 0, (n, 15); there are far fewer combinations than rows."""
    texts = rows["Finding Labels"]
    refuse(rows, "Finding Labels", path, texts.isna(), "one or more labels")
    codes, combinations = pd.factorize(texts)
    has = np.zeros((len(combinations), len(_LABELS)), dtype=np.float32)
    for code, combination in enumerate(combinations):
        for label in combination.split("|"):
            if label not in _LABELS:
                line = int(np.argmax(codes == code)) + 2
                near = get_close_matches(label, _LABELS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"its labels: {', '.join(_LABELS)}"
                raise SourceError(f"{path}, line {line}: {combination!r} holds {label!r}, no label of this set; {hint}")
            has[code, _LABELS.index(label)] = 1
    return has[codes]


def _splits(src: Path, tree: _Tree, stems: "pd.Series[str]", findings: list[str]) -> "pd.Series[str]":
    """Return each image's release split; the train_val list is train, as the release does not cut it further."""
    findings.extend(f"there is no {name}" for name in _LISTS if name not in tree.texts)
    split_of: dict[str, str] = {}
    both = 0
    for name, split in _LISTS.items():
        listed = {_stem(line) for path in tree.texts.get(name, []) for line in read_lines(src / path)}
        both += len(listed & split_of.keys())
        split_of.update(dict.fromkeys(listed, split))
    if both:
        findings.append(f"{both} images are in both {' and '.join(_LISTS)}; they count as test")
    splits = stems.map(split_of).astype("str")
    if splits.isna().any():
        first = stems[splits.isna()].iloc[0]
        findings.append(
            f"{int(splits.isna().sum())} images are in no list of a split, such as {first}, and have no release split"
        )
    return splits


def _stem(line: str) -> str:
    return line.rpartition("/")[2].partition(".")[0]


def _paths(names: "pd.Series[str]", found: "pd.Series[str]") -> "pd.Series[str]":
    """Return each image's path; a missing one's is beside its predecessor's, as the release fills folders in order."""
    folders = _folders(found)[names.argsort()].ffill().bfill().fillna("images")
    return found.fillna((folders + "/" + names).str.removeprefix("/"))


def _folders(paths: "pd.Series[str]") -> "pd.Series[str]":
    return paths.str.replace(r"/?[^/]+$", "", regex=True)


def _where(found: "pd.Series[str]") -> str:
    folders = sorted(_folders(found.dropna()).unique())
    if len(folders) > 1:
        return f"images in {len(folders)} folders, {folders[0]} to {folders[-1]}"
    return f"images in {folders[0] or 'SRC itself'}" if folders else "no images"


def _record_table(dataset: str, rows: pd.DataFrame, paths: "pd.Series[str]") -> pd.DataFrame:
    patients = rows["Patient ID"].str.zfill(8)
    return record_table(
        {
            "key": [make_key(dataset, stem, stem) for stem in rows["stem"].tolist()],
            "path": paths,
            "dataset": dataset,
            "patient": patients,
            "study": patients + "/" + rows["Follow-up #"].str.zfill(3),
            "projection": "frontal",
            "view_position": rows["View Position"].str.upper(),
            "sex": rows["sex"],
            "age": rows["age"],
            "release_split": rows["split"],
        },
        {label: rows[label] for label in _LABELS},
    )


def _expected(table: str, lists: Iterable[str]) -> Expected:
    """Return the counts that fit the table and the lists that are there; with one list, or the sample's, none do."""
    known = {0: _OF_SAMPLE} if Path(table).name == _SAMPLE else {0: _WHOLE, len(_LISTS): _BY_SPLIT}
    return known.get(len(set(lists)), Expected())


SOURCE = ChestXray14()
