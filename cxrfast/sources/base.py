"""What a source is: one module that turns a release, as downloaded, into one table; nothing of it is copied or moved.

Releases differ in everything (folders, csv columns, file names), so each set's knowledge sits in a single file of this
package, and the rest of cxrfast sees the record table only. A set is found by its file's name; there is no list to
keep. Labels stay as released; `sex` is `F`, `M` or missing and `age` is in years, so that a query means the same in
every set.
"""

import os
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from cxrfast.errors import SourceError
from cxrfast.labels import PREFIX, VOTES_PREFIX

TEXT_COLUMNS = ("key", "path", "dataset", "patient", "study", "projection", "view_position", "sex", "release_split")
RECORD_COLUMNS = (*TEXT_COLUMNS[:8], "age", "release_split")

_KEY = re.compile(r"[A-Za-z0-9_-]{1,90}")
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
_SHARED = {"astray", "base", "headers", "tables"}  # modules of this package that are no source
_NOT_DATA = {"__MACOSX", "$RECYCLE.BIN", "lost+found"}


@dataclass(frozen=True)
class Expected:
    """What the complete release is known to hold.

    `images` by (release split, projection), `patients` by release split, `positives` by (release split, label).
    """

    images: Mapping[tuple[str, str], int] = field(default_factory=dict)
    patients: Mapping[str, int] = field(default_factory=dict)
    positives: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Release:
    """A release that was found.

    `layout`: which of the set's layouts it has, in words. `table`: the record table, a row an image. `expected`: what
    the complete release in this layout holds. `findings`: what is odd, a sentence each. `missing`: paths of rows whose
    file is not on disk. `unlisted`: images on disk that no row names. Paths are relative to the scanned folder.
    """

    dataset: str
    layout: str
    table: pd.DataFrame
    expected: Expected = field(default_factory=Expected)
    findings: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


class Source(Protocol):
    """One data set; a module of this package that holds one as `SOURCE` is called by its name."""

    name: str
    title: str
    vocabulary: tuple[str, ...]
    home: str  # where to get it
    terms: str  # of use, in a sentence
    layout_help: str
    signs: tuple[str, ...]  # patterns of paths that this set alone has, by which a folder given for another is known

    def scan(self, src: Path) -> Release:
        """Read the release under `src`; SourceError where it is not one, saying what was looked for and found."""


def names() -> list[str]:
    """Return the names of all data sets that there are, sorted."""
    return sorted(_source_modules())


def find(name: str) -> Source:
    """Return the source of that name; SourceError naming the nearest where there is none."""
    if name not in _source_modules():
        near = get_close_matches(name.lower(), names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names())}"
        raise SourceError(f"there is no data set {name!r}; {hint}")
    source: Source = import_module(f"cxrfast.sources.{name}").SOURCE
    return source


def _source_modules() -> set[str]:
    folder = str(Path(__file__).parent)
    return {module.name for module in pkgutil.iter_modules([folder])} - _SHARED


def make_key(dataset: str, name: str, path: str) -> str:
    """Return an image's key: `DATASET-NAME` where that is in the grammar `[A-Za-z0-9_-]{1,90}`.

    Else its first 60 legal characters, `-`, and 12 hex digits of the SHA-256 of `path`, which must therefore be the
    same in every layout of the set.
    """
    key = f"{dataset}-{name}"
    if _KEY.fullmatch(key):
        return key
    return f"{_ILLEGAL.sub('', key)[:60]}-{sha256(os.fsencode(path)).hexdigest()[:12]}"


def record_table(
    columns: Mapping[str, Any], labels: Mapping[str, Any], votes: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Make a record table of n rows from columns (those not given are missing) and labels by the set's own spelling.

    `votes`: by the same spelling how many of an image's readers saw it, where the set tells. Text columns are pandas
    `str`, `age`, `label.*` and `votes.*` float32. Raises SourceError where two rows have one key.
    """
    index = pd.RangeIndex(len(columns["key"]))
    table = pd.DataFrame(index=index)
    for name in RECORD_COLUMNS:
        values = columns.get(name, np.nan)
        if name == "path" and name in columns:
            _check_paths(values)
        table[name] = pd.Series(values, index=index, dtype=np.float32 if name == "age" else "str")
    for prefix, group in ((PREFIX, labels), (VOTES_PREFIX, votes or {})):
        for name, values in group.items():
            table[prefix + name] = pd.Series(values, index=index, dtype=np.float32)
    twice = table["key"].duplicated()
    if twice.any():
        raise SourceError(f"two images have the key {table['key'][twice].iloc[0]!r}: one of them must be renamed")
    return table


def _check_paths(paths: Iterable[object]) -> None:
    """Raise SourceError for a file name that is not UTF-8, which Python holds with surrogates that no table takes."""
    for path in paths:
        if isinstance(path, str) and not path.isascii():
            try:
                path.encode()
            except UnicodeEncodeError as error:
                raise SourceError(f"the file name {path!r} is not UTF-8 on this disk; rename the file") from error


def walk_files(src: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder's path relative to `src` (`""` for itself, `/` between parts) and its files' names, sorted.

    One pass without a stat a file; what macOS and file systems leave behind is passed over; a linked folder is
    entered once, however many links lead there.
    """
    pending, entered = [""], {src.resolve()}
    while pending:
        folder = pending.pop()
        folders: list[os.DirEntry[str]] = []
        files: list[os.DirEntry[str]] = []
        try:
            with os.scandir(f"{src}/{folder}") as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.name not in _NOT_DATA:
                        (folders if entry.is_dir() else files).append(entry)
        except OSError as error:
            raise SourceError(
                f"{src}/{folder} cannot be listed ({error.strerror}); see to its permissions, the disk or the network"
            ) from error
        yield folder, sorted(entry.name for entry in files)
        for entry in sorted(folders, key=lambda entry: entry.name, reverse=True):
            if entry.is_symlink():
                real = Path(entry.path).resolve()
                if real in entered:
                    continue
                entered.add(real)
            pending.append(f"{folder}/{entry.name}" if folder else entry.name)


def not_found(source: Source, src: Path, looked_for: str) -> SourceError:
    """Return the error for a folder that is not the release: what was looked for, what is there, what it should be."""
    from cxrfast.sources import astray  # it asks all sources for their signs, and they import this module

    if not src.is_dir():
        return SourceError(astray.not_a_folder(source, src))
    with os.scandir(src) as found:
        entries = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in found)
    there = ", ".join(entries[:10]) + (f" and {len(entries) - 10:,} more" if len(entries) > 10 else "")
    return SourceError(
        f"{src} does not look like {source.title}.\n  Looked for: {looked_for}\n  There is: {there or 'nothing'}\n"
        + "".join(f"  {hint}\n" for hint in astray.hints(source, src))
        + f"  It should look like:\n{source.layout_help}"
    )
