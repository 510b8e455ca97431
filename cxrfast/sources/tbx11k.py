"""TBX11K (Liu et al., CVPR 2020): a class is a folder, a split is a list, a kind of tuberculosis is a box.

An image is called by its folder and name, `tb/tb0005`, and so lists and annotations call it too: all of them meet in
one index. Boxes are reduced to which kinds of tuberculosis an image has. Images of other sets under `imgs/extra` are
left out, since they would count twice beside those sets; in return nobody gets them from here.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from cxrfast.errors import SourceError
from cxrfast.labels import VOCABULARIES
from cxrfast.sources.base import Expected, Release, make_key, not_found, record_table, walk_files
from cxrfast.sources.tables import read_lines

_CLASSES = ("health", "sick", "tb")
_FOLDERS = (*_CLASSES, "test")
_KINDS = VOCABULARIES["tbx11k"][len(_CLASSES) :]
_SUFFIXES = (".png", ".jpg", ".jpeg")
_LIST = re.compile(r"(?:TBX11K|all)_(train|val|trainval|test)\.txt", re.IGNORECASE)
_SPLITS = ("train", "val")  # the later counts where an image is in the lists of both
_ENTRY = re.compile(rf"(?:^|/)((?:{'|'.join(_FOLDERS)})/[^/]+?)(\.\w+)?$")

# The folder `test` holds 3,302 images, as all_test.txt lists, though the paper counts 2,800. "none" is what rows
# without a release split are counted as.
_EXPECTED = Expected(
    images={("train", "frontal"): 6_600, ("val", "frontal"): 1_800, ("test", "frontal"): 3_302},
    positives={
        ("train", "health"): 3_000, ("train", "sick"): 3_000, ("train", "tb"): 600,
        ("val", "health"): 800, ("val", "sick"): 800, ("val", "tb"): 200,
    },
)  # fmt: skip
_WITHOUT_LISTS = Expected(
    images={("none", "frontal"): 8_400, ("test", "frontal"): 3_302},
    positives={("none", "health"): 3_800, ("none", "sick"): 3_800, ("none", "tb"): 800},
)

_Kinds = Mapping[str, set[str]]  # of tuberculosis, by the name of each image that the annotations hold


@dataclass
class _Tree:
    """What one walk found, the least deep first: images by name, names of other sets' images, and paths below SRC."""

    images: dict[str, str] = field(default_factory=dict)
    extra: set[str] = field(default_factory=set)
    copies: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    json: list[str] = field(default_factory=list)
    xml: list[str] = field(default_factory=list)


class Tbx11k:
    """The source; see the module."""

    name = "tbx11k"
    title = "TBX11K"
    vocabulary = VOCABULARIES["tbx11k"]
    home = "https://github.com/yun-liu/Tuberculosis, or https://mmcheng.net/tb"
    terms = (
        "Its authors ask that Liu et al., CVPR 2020, be cited; sources disagree on its licence (most say CC "
        "BY-NC-SA), so take it as non-commercial and ask the authors before passing on images or shards."
    )
    layout_help = (
        "    TBX11K/imgs/health/h0001.png, imgs/sick/s0001.png, imgs/tb/tb0005.png, imgs/test/...\n"
        "    TBX11K/lists/TBX11K_train.txt, TBX11K_val.txt, ...\n"
        "    TBX11K/annotations/json/*.json, or annotations/xml/*.xml\n"
        "  SRC may be TBX11K, under any name, or the folder above it."
    )
    signs: tuple[str, ...] = (r"(^|/)TBX11K(_(train|val|trainval|test)\.txt)?$", r"(^|/)imgs/(health|sick|tb)$")

    def scan(self, src: Path) -> Release:
        """Read classes off the folders, splits off the lists, and kinds of tuberculosis off the annotations."""
        tree = _walk(src) if src.is_dir() else _Tree()
        if not any(name.startswith(_CLASSES) for name in tree.images):
            raise not_found(self, src, "imgs/health, imgs/sick or imgs/tb with *.png, at any depth")
        findings = _findings(tree)
        listed, split_of = _read_lists(src, tree, findings)
        missing = {name: path for name, path in listed.items() if name not in tree.images}
        paths = dict(sorted((tree.images | missing).items()))
        table = record_table(
            {
                "key": [make_key(self.name, name.replace("/", "-"), name) for name in paths],
                "path": list(paths.values()),
                "dataset": self.name,
                "projection": "frontal",
                "release_split": [_split(name, split_of) for name in paths],
            },
            _labels(paths, _read_kinds(src, tree, paths, findings)),
        )
        without = table["path"][table["release_split"].isna()]
        if len(without):
            findings.append(f"{len(without)} images are in no list of train or val, such as {without.iloc[0]}")
        expected = _EXPECTED if split_of else _WITHOUT_LISTS
        return Release(
            self.name, _layout(tree), table, expected, findings, sorted(missing.values()), sorted(tree.strange)
        )


def _walk(src: Path) -> _Tree:
    tree, top = _Tree(), src.resolve().name
    for folder, files in sorted(walk_files(src), key=lambda entry: (entry[0].count("/"), entry[0])):
        parts = PurePosixPath(top, folder).parts
        for name in files:
            path = f"{folder}/{name}" if folder else name
            if name.lower().endswith(_SUFFIXES):
                _add_image(tree, parts, path)
            elif parts[-1:] == ("lists",) and _LIST.fullmatch(name):
                tree.lists.append(path)
            elif parts[-2:] == ("annotations", "json") and name.endswith(".json"):
                tree.json.append(path)
            elif parts[-2:] == ("annotations", "xml") and name.endswith(".xml"):
                tree.xml.append(path)
    return tree


def _add_image(tree: _Tree, folders: tuple[str, ...], path: str) -> None:
    """Put an image where it belongs by its folders under the innermost `imgs`; others are none of this set's."""
    if "imgs" not in folders:
        return
    inside = folders[len(folders) - folders[::-1].index("imgs") :]
    name = "/".join((*inside, PurePosixPath(path).stem))
    if inside[:1] == ("extra",):
        tree.extra.add(name)
    elif len(inside) != 1 or inside[0] not in _FOLDERS:
        tree.strange.append(path)
    elif tree.images.setdefault(name, path) != path:
        tree.copies.append(path)


def _findings(tree: _Tree) -> list[str]:
    findings = []
    if tree.copies:
        example = f"such as {tree.copies[0]}; the least deep is taken"
        findings.append(f"{len(tree.copies)} files repeat an image under its name, {example}")
    if tree.extra:
        findings.append(
            f"{len(tree.extra)} images of other sets (DA, DB, Montgomery, Shenzhen) in imgs/extra are left out"
        )
    if not tree.lists:
        findings.append("there is no lists/TBX11K_train.txt or the like, so labelled images have no release split")
    return findings


def _read_lists(src: Path, tree: _Tree, findings: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return for every listed image, by name, the path where it should be, and for those of a split the split."""
    imgs = "/".join(next(iter(tree.images.values())).split("/")[:-2])
    listed: dict[str, str] = {}
    named: dict[str, set[str]] = {"train": set(), "val": set(), "trainval": set(), "test": set()}
    for path in tree.lists:
        split = _LIST.sub(r"\1", PurePosixPath(path).name).lower()
        for name, suffix in filter(None, map(_entry, read_lines(src / path))):
            listed[name] = f"{imgs}/{name}{suffix}".removeprefix("/")
            named[split].add(name)
    if both := named["train"] & named["val"]:
        findings.append(f"{len(both)} images are in lists of train and of val, such as {min(both)}; they count as val")
    return listed, {name: split for split in _SPLITS for name in named[split]}


def _entry(text: str) -> tuple[str, str] | None:
    """Return the image's name and the file's suffix of a path relative to `imgs`; None for those of other sets."""
    found = _ENTRY.search(text)
    return (found[1], found[2] or ".png") if found and "extra" not in text.split("/") else None


def _split(name: str, split_of: Mapping[str, str]) -> str | None:
    return "test" if name.startswith("test/") else split_of.get(name)


def _read_kinds(src: Path, tree: _Tree, names: Iterable[str], findings: list[str]) -> _Kinds:
    """Return what the annotations say, json before xml, which tells the same less exactly."""
    by_stem = {PurePosixPath(name).name: name for name in names}
    kinds: dict[str, set[str]] = {}
    for path in tree.json or tree.xml:
        for said, seen in (_read_json if tree.json else _read_xml)(src / path):
            if strangers := seen - set(_KINDS):
                raise SourceError(
                    f"{src / path}: {said} has a box of {min(map(str, strangers))!r}; known: {', '.join(_KINDS)}"
                )
            entry = _entry(said)
            kinds.setdefault(entry[0] if entry else by_stem.get(said, said), set()).update(seen)
    unknown = [name for name in by_stem.values() if name.startswith("tb/") and not kinds.get(name)]
    if unknown:
        findings.append(
            f"{len(unknown)} images of tuberculosis have no annotated box, such as {unknown[0]}; their kind is blank"
        )
    return kinds


def _read_json(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield each image's path of a COCO file and the kinds of its boxes; SourceError where it is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        images = {image["id"]: image["file_name"].replace("\\", "/") for image in content["images"]}
        kinds = {category["id"]: category["name"] for category in content.get("categories", [])}
        boxes = [(box["image_id"], kinds[box["category_id"]]) for box in content.get("annotations", [])]
        seen: dict[str, set[str]] = {image: set() for image in images}
        for image, kind in boxes:
            seen[image].add(kind)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{path} cannot be read as annotations in COCO's form: {error!r}") from error
    yield from ((images[image], seen[image]) for image in images)


class _Plain(ElementTree.TreeBuilder):
    """Refuses a document type, which could declare entities that expand without bound."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """End the parsing, before anything is expanded."""
        raise ElementTree.ParseError(f"it declares a document type, {name}")


def _read_xml(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield the image's name of a VOC file, without folder and suffix, and the kinds of its boxes."""
    try:
        root = ElementTree.parse(path, ElementTree.XMLParser(target=_Plain())).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter for encodings expat lacks
        raise SourceError(f"{path} cannot be read as annotations in VOC's form: {error}") from error
    said = (root.findtext("filename") or path.stem).strip()
    yield PurePosixPath(said.replace("\\", "/")).stem, {name.text or "" for name in root.iterfind("object/name")}


def _labels(names: Iterable[str], kinds: _Kinds) -> dict[str, list[float]]:
    """Return label columns: the class of a folder, blank in `test`; the kinds, blank where annotations tell none."""
    folders = [(name.partition("/")[0], name) for name in names]
    labels = {
        label: [np.nan if folder == "test" else float(folder == label) for folder, _ in folders] for label in _CLASSES
    }
    for kind in _KINDS:
        labels[kind] = [
            float(kind in kinds[name]) if _tells(folder, kinds.get(name)) else np.nan for folder, name in folders
        ]
    return labels


def _tells(folder: str, seen: set[str] | None) -> bool:
    """Tell whether kinds are known: an image of tuberculosis without a box has some kind that is not told."""
    return folder != "test" and seen is not None and (folder != "tb" or bool(seen))


def _layout(tree: _Tree) -> str:
    lists = "lists" if tree.lists else "no lists"
    boxes = f"annotations in {'json' if tree.json else 'xml'}" if tree.json or tree.xml else "no annotations"
    return f"TBX11K, {lists}, {boxes}"


SOURCE = Tbx11k()
