"""GB7-FLG (private): fluorographs of one hospital, labels in folder names, everything else in DICOM headers.

Any pair of folders whose names say normal and pneumonia is read, so that another clinic's export works as well; in
return a folder's name is believed, and only clear ones are (`abnormal`, `no pneumonia`, `norma and pnevmoniya` are
not). The same file names occur in both folders, so an image's name begins with its class folder.

The images are people's. What headers call patient and study may be a name or a clinic's number, and shards are copied
about, so the record table has the first 12 hex digits of the SHA-256 of the set's name and the id. File and folder
names do travel, in keys and paths.
"""

import filecmp
import re
from dataclasses import dataclass, field
from os.path import commonpath
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from unicodedata import normalize

from cxrfast.errors import SourceError
from cxrfast.labels import VOCABULARIES
from cxrfast.sources.base import Expected, Release, make_key, not_found, record_table, walk_files
from cxrfast.sources.headers import kind, pseudonym, read_headers

_WORD = re.compile(r"[^\W\d_]+")
# What a word begins with to say a class; `normalised` images are of any.
_BEGINNINGS = {
    "norma": re.compile(r"norma(?!li[sz])|норма(?!лиз)"),
    "pnevmoniya": re.compile(r"pnevmon|pneumon|пневмон"),
}
_DOUBTS = {
    "no", "non", "not", "un", "without", "free", "negative", "neg", "absent", "absence", "excluded", "excluding", "ex",
    "rule", "ruled", "out", "control", "controls", "healthy", "suspected", "possible", "bez", "ne", "без", "не", "нет",
    "отриц", "отрицательно", "исключена", "подозрение",
}  # fmt: skip
_NONE = re.compile(r"(?<!\d)0+(?!\d)")  # pneumonia_0
_SUFFIXES = (".dcm", ".dicom", ".png", ".jpg", ".jpeg")
_GB7_FOLDER = re.compile(r"MD__[\d-]+_+(norma|pnevmoniya)", re.IGNORECASE)
_GB7_IMAGE = re.compile(r"IM_\d+")

_EXPECTED = Expected(
    images={("none", "frontal"): 127}, positives={("none", "norma"): 99, ("none", "pnevmoniya"): 28}
)  # fmt: skip


class _Image(NamedTuple):
    path: str  # relative to SRC
    name: str  # from the class folder down: the same wherever SRC is rooted
    label: str


@dataclass
class _Tree:
    """What one walk found; paths relative to SRC. `others` are no images; `unlisted` are, outside class folders."""

    images: list[_Image] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


class Gb7Flg:
    """The source; see the module."""

    name = "gb7flg"
    title = "GB7-FLG"
    vocabulary = VOCABULARIES["gb7flg"]
    home = "the clinic that made it; it is private"
    terms = (
        "Private, not public: neither images nor shards may be passed on without the clinic's leave. Shards hold "
        "hashes of the headers' ids, but file and folder names as they are."
    )
    layout_help = (
        "    GB7/FLG/MD__20200424__norma/Undef/IM_00001 ... (DICOM without extension)\n"
        "    GB7/FLG/MD__20190111-1231_pnevmoniya/Undef/IM_00001 ..., or\n"
        "    any two folders, one normal or norma..., one pneumonia or pnevmon..., of DICOM, PNG or JPEG\n"
        "  SRC may be any folder above both."
    )
    signs: tuple[str, ...] = (r"(^|/)MD__[\d-]+_+(norma|pnevmoniya)",)

    def scan(self, src: Path) -> Release:
        """Find the class folders and read their images' headers; all images are frontal."""
        tree = _walk(src) if src.is_dir() else _Tree()
        if not tree.images:
            raise not_found(self, src, "images in folders named normal or norma..., and pneumonia or pnevmon...")
        images, findings = _once_each(tree.images, src)
        findings += [f"there is no image of the class {name}" for name in _absent(images)]
        if tree.others:
            example = f"such as {tree.others[0]}"
            findings.append(f"{len(tree.others)} files are no images of a class and are passed over, {example}")
        headers = read_headers(src, [image.path for image in images])
        table = record_table(
            {
                "key": [make_key(self.name, _stem(image.name).replace("/", "-"), image.name) for image in images],
                "path": [image.path for image in images],
                "dataset": self.name,
                "patient": _ids("patient", [header.patient for header in headers], findings),
                "study": _ids("study", [header.study for header in headers], findings),
                "projection": "frontal",
                "view_position": [header.view_position for header in headers],
                "sex": [header.sex for header in headers],
                "age": [header.age for header in headers],
            },
            {name: [float(image.label == name) for image in images] for name in self.vocabulary},
        )
        is_gb7 = all(_GB7_FOLDER.fullmatch(image.name.split("/")[0]) for image in images)
        layout = "GB7/FLG" if is_gb7 else "a folder of normal and a folder of pneumonia"
        return Release(self.name, layout, table, _EXPECTED if is_gb7 else Expected(), findings, [], tree.unlisted)


def _walk(src: Path) -> _Tree:
    tree = _Tree()
    walked = list(walk_files(src))
    classes = _class_folders([folder for folder, _ in walked], src.resolve().name)
    around = _release_folder(list(classes))
    for folder, names in walked:
        if around and not f"{folder}/".startswith(f"{around}/"):
            continue
        top = next((above for above in _upwards(folder) if above in classes), None)
        for name in names:
            path = f"{folder}/{name}" if folder else name
            if top is None:
                is_image = name.lower().endswith(_SUFFIXES) or _GB7_IMAGE.fullmatch(name)
                (tree.unlisted if is_image else tree.others).append(path)
            elif _is_image(src / path):
                below = path[len(top) :].strip("/")
                whole = normalize("NFC", f"{PurePosixPath(src.resolve().name, top).name}/{below}")
                tree.images.append(_Image(path, whole, classes[top]))
            else:
                tree.others.append(path)
    return tree


def _release_folder(classes: list[str]) -> str:
    """Return the folder that holds GB7's own class folders, beside which other sets may lie; else SRC itself, ""."""
    own = bool(classes) and all(_GB7_FOLDER.fullmatch(folder.rpartition("/")[2]) for folder in classes)
    return commonpath([folder.rpartition("/")[0] for folder in classes]) if own else ""


def _class_folders(folders: list[str], src_name: str) -> dict[str, str]:
    """Return the class of each folder that is named for one and holds no folder of the other class.

    Where folders of GB7's own are there, others are not asked: Kermany's NORMAL may lie beside them.
    """
    names = {folder: folder.rpartition("/")[2] if folder else src_name for folder in folders}
    own = {folder: name for folder, name in names.items() if _GB7_FOLDER.fullmatch(name)}
    named = {folder: _class_of(name) for folder, name in (own or names).items()}
    classes = {folder: label for folder, label in named.items() if label}
    above_another = {
        above for folder, label in classes.items() for above in _upwards(folder) if classes.get(above, label) != label
    }
    return {folder: label for folder, label in classes.items() if folder not in above_another}


def _class_of(name: str) -> str | None:
    """Return the class that a folder's name says plainly, None where it says none, both, or has a doubt."""
    words = [word.lower() for word in _WORD.findall(normalize("NFC", name))]
    said = [label for label, beginning in _BEGINNINGS.items() if any(map(beginning.match, words))]
    return said[0] if len(said) == 1 and not _DOUBTS & set(words) and not _NONE.search(name) else None


def _upwards(folder: str) -> list[str]:
    """Return a folder relative to SRC and all above it, ending with SRC itself, ""."""
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:length]) for length in range(len(parts), -1, -1)]


def _is_image(path: Path) -> bool:
    """Tell by the name, where it says so (packing rejects what is broken, with its reason), else by the first bytes."""
    says_so = path.name.lower().endswith(_SUFFIXES) or _GB7_IMAGE.fullmatch(path.name) is not None
    return says_so or kind(path) is not None


def _stem(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if (dot + suffix).lower() in _SUFFIXES else name


def _once_each(found: list[_Image], src: Path) -> tuple[list[_Image], list[str]]:
    """Keep one image a name, the least deep; SourceError where two of one name differ."""
    found.sort(key=lambda image: (image.path.count("/"), image.path))
    kept: dict[str, _Image] = {}
    for image in found:
        first = kept.setdefault(image.name, image)
        if first is not image and not filecmp.cmp(src / first.path, src / image.path, shallow=False):
            raise SourceError(
                f"{src} holds two different files of one name, {first.path} and {image.path}; name the folder above "
                "one pair of class folders alone, or rename one of them"
            )
    copies = len(found) - len(kept)
    findings = [f"{copies} files are there more than once (nested copies); each is counted once"] if copies else []
    return sorted(kept.values(), key=lambda image: image.path), findings


def _absent(images: list[_Image]) -> list[str]:
    return [label for label in _BEGINNINGS if all(image.label != label for image in images)]


def _ids(what: str, said: list[str | None], findings: list[str]) -> list[str | None]:
    """Return pseudonyms of the headers' ids; an id that all images share is an anonymiser's, and no one's."""
    if len(said) > 1 and said[0] is not None and len(set(said)) == 1:
        findings.append(f"all headers have the same {what} id, so it tells nothing and is left out")
        return [None] * len(said)
    if what == "patient" and (nameless := said.count(None)):
        findings.append(f"{nameless} images have no patient id, so each of them counts as a patient of its own")
    return [pseudonym(Gb7Flg.name, identifier) for identifier in said]


SOURCE = Gb7Flg()
