"""Images of a release whose files hold the same bytes, found without reading most of them.

Only files of one size can be equal, and of those only the ones with the same last 4 KiB (the first ones are headers,
which radiographs of one machine share) are read whole: for sets of small JPEGs, whose sizes coincide all the time, that
saves nearly all of the reading, and costs a short read more a true copy. The same picture encoded twice is not found.
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pandas as pd

from cxrfast.packing.trial import Counting, silent

_THREADS = 16
_CHUNK = 64
_TAIL = 4096
Rows: TypeAlias = "list[int]"
Seen: TypeAlias = "tuple[Hashable, ...]"  # what the looks so far have shown of a file


@dataclass(frozen=True)
class Group:
    """Files of the same bytes: SHA-256, and for each file its path, release split and patient (key where unnamed)."""

    sha256: str
    paths: tuple[str, ...]
    splits: tuple[str, ...]
    patients: tuple[str, ...]


@dataclass(frozen=True)
class Duplicates:
    """All groups of two files and more, by their first file in the table; `unread`: reason by path."""

    groups: list[Group]
    unread: dict[str, str]

    @property
    def files(self) -> int:
        """Return how many files share their bytes with another."""
        return sum(len(group.paths) for group in self.groups)

    @property
    def across_splits(self) -> list[Group]:
        """Return the groups that lie in more than one release split."""
        return [group for group in self.groups if len(set(group.splits)) > 1]

    @property
    def across_patients(self) -> list[Group]:
        """Return the groups that belong to more than one patient."""
        return [group for group in self.groups if len(set(group.patients)) > 1]


def find_duplicates(src: Path, table: pd.DataFrame, *, counting: Counting = silent) -> Duplicates:
    """Compare the files of a record table, which are there, by their bytes."""
    search = _Search(str(src), table["path"].tolist(), {}, counting)
    groups: dict[Seen, Rows] = {(): list(range(len(table)))}
    for verb, look in (("comparing sizes", _size), ("comparing ends", _tail), ("hashing", _sha256)):
        groups = search.refine(groups, verb, look)
    splits = table["release_split"].fillna("none").to_numpy(dtype=object)
    patients = table["patient"].fillna(table["key"]).to_numpy(dtype=object)
    found = [
        Group(str(seen[-1]), tuple(search.paths[row] for row in rows), tuple(splits[rows]), tuple(patients[rows]))
        for seen, rows in sorted(groups.items(), key=lambda group: group[1])
    ]
    return Duplicates(found, search.unread)


@dataclass
class _Search:
    src: str
    paths: list[str]
    unread: dict[str, str]
    counting: Counting

    def refine(self, groups: dict[Seen, Rows], verb: str, look: Callable[[str], Hashable]) -> dict[Seen, Rows]:
        """Part groups by what a look at each file shows; a file that is then alone is done with."""
        parted: dict[Seen, Rows] = defaultdict(list)
        before = [(seen, row) for seen, rows in groups.items() for row in rows]
        shown = self._look([row for _, row in before], verb, look)
        for (seen, row), fact in zip(before, shown, strict=True):
            if isinstance(fact, OSError):
                self.unread[self.paths[row]] = fact.strerror or str(fact)
            else:
                parted[(*seen, fact)].append(row)
        return {seen: rows for seen, rows in parted.items() if len(rows) > 1}

    def _look(self, rows: Rows, verb: str, look: Callable[[str], Hashable]) -> list[Hashable | OSError]:
        """Look at files in threads, since a disk, and a network the more, answers many questions at once."""
        chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
        shown: list[Hashable | OSError] = []
        with self.counting(verb) as progress, ThreadPoolExecutor(_THREADS) as threads:
            for facts in threads.map(lambda chunk: self._look_at(chunk, look), chunks):
                shown += facts
                progress(len(shown), len(rows))
        return shown

    def _look_at(self, rows: Rows, look: Callable[[str], Hashable]) -> list[Hashable | OSError]:
        return [_tried(look, f"{self.src}/{self.paths[row]}") for row in rows]


def _tried(look: Callable[[str], Hashable], path: str) -> Hashable | OSError:
    try:
        return look(path)
    except OSError as error:
        return error


def _size(path: str) -> int:
    return os.stat(path).st_size  # noqa: PTH116 - a Path for each of 200,000 files costs a second


def _tail(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
        return hashlib.blake2b(file.read(), digest_size=16).digest()


def _sha256(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()
