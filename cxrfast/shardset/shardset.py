"""Packed images as one table: every choice of rows, targets and split is a new, small view over the same files.

All rows of all folders are held in memory (about 200 bytes an image), so that a query costs milliseconds and a split
sees every patient; in return nothing of a tar is read before a loader asks for it, and a set of 20 million images
would need a machine with 4 GB to spare. A `ShardSet` is never changed: each method gives another one.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast.errors import LabelError, ShardSetError
from cxrfast.labels import POLICIES, PREFIX, Policy, Task, class_of, find_task, make_targets
from cxrfast.shardset import format as layout
from cxrfast.shardset import manifest, query
from cxrfast.shardset.cache import ShardCache
from cxrfast.shardset.commit import wrong_form, wrong_version
from cxrfast.shardset.remote import RemoteFolder
from cxrfast.shardset.split import patient_split
from cxrfast.shardset.transfer import is_url, never

Floats = npt.NDArray[np.float32]
Folder: TypeAlias = Path | RemoteFolder


@dataclass(frozen=True, eq=False)
class ShardSet:
    """Rows of one or several packed folders, with targets once a task was chosen.

    `table`: a row an image, RangeIndex: the manifest's columns and `shardset`, the row's index into `folders`. A folder
    that was opened by URL is a `RemoteFolder`.
    `names`: the data set's name of each folder. `annotated`: for each data set the classes that it annotates, in its
    own spelling. `labels`: float32 (n, C), NaN where masked, columns in the order of `targets`; (n, 0) without a task.
    `recipes`: how each folder's images were packed, as its shardset.json says.
    """

    table: pd.DataFrame
    folders: tuple[Folder, ...]
    names: tuple[str, ...]
    annotated: dict[str, tuple[str, ...]]
    targets: tuple[str, ...]
    labels: Floats
    recipes: tuple[dict[str, Any], ...] = ()

    @classmethod
    def open(cls, *folders: str | Path, cache: ShardCache | None = None) -> "ShardSet":
        """Open packed folders as one set, reading manifests and file sizes only.

        A folder may be a URL (`https://host/shards/chexpert`, `s3://bucket/kermany`): then shardset.json and the
        manifest are read and sizes of tars are believed; `cache`, by default `ShardCache()`, fetches tars when needed.

        Raises ShardSetError where a folder is not a finished shard set of this format, a tar is absent or of another
        size than recorded, two folders hold the same key, or a URL cannot be read.
        """
        if not folders:
            raise ShardSetError("no shard set was named; give at least one packed folder")
        opened = [_open_folder(folder, cache) for folder in folders]
        paths, commits = tuple(path for path, _ in opened), [commit for _, commit in opened]
        table = _joined([_read_table(path, commit) for path, commit in zip(paths, commits, strict=True)])
        if len(paths) > 1:  # inside one set, packing has seen to it
            _check_keys(table, paths)
        annotated: dict[str, tuple[str, ...]] = {}
        for commit in commits:
            seen = (*annotated.get(commit["name"], ()), *commit["labels"])
            annotated[commit["name"]] = tuple(dict.fromkeys(seen))
        names = tuple(str(commit["name"]) for commit in commits)
        recipes = tuple(dict(commit.get("recipe", {})) for commit in commits)
        return cls(table, paths, names, annotated, (), np.zeros((len(table), 0), dtype=np.float32), recipes)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        targets = f", {len(self.targets)} targets" if self.targets else ""
        return f"ShardSet({', '.join(self.names)}: {len(self):,} images{targets})"

    def tar_path(self, shardset: int, shard: int) -> Path:
        """Return the tar of a row's `shardset` and `shard`, a file on this machine.

        A remote one is fetched first and marked as used; later fetches may push it out of the cache again, so whoever
        wants to read it takes `open_tar`. Raises ShardSetError where it cannot be fetched.
        """
        folder = self.folders[shardset]
        if isinstance(folder, Path):
            return folder / layout.tar_name(self.names[shardset], shard)
        os.close(folder.cache.open(folder.tar(shard)))
        return folder.path(shard)

    def open_tar(self, shardset: int, shard: int, *, stopped: Callable[[], bool] = never) -> int:
        """Return a read-only descriptor of a tar, which the caller closes; it stays readable whatever the cache does.

        A remote one is fetched first; `transfer.Stopped` is raised within a second of `stopped()` becoming true.
        Raises ShardSetError where it cannot be fetched, OSError where a local one cannot be opened.
        """
        folder = self.folders[shardset]
        if isinstance(folder, Path):
            return os.open(self.tar_path(shardset, shard), os.O_RDONLY | os.O_CLOEXEC)
        return folder.cache.open(folder.tar(shard), stopped=stopped)

    def tar_place(self, shardset: int, shard: int) -> str:
        """Return how messages name a tar: its path, or its URL and where it is cached; fetches nothing."""
        folder = self.folders[shardset]
        if isinstance(folder, Path):
            return str(self.tar_path(shardset, shard))
        return f"{folder}/{layout.tar_name(self.names[shardset], shard)}, cached as {folder.path(shard)}"

    def rows(self, indices: npt.ArrayLike) -> "ShardSet":
        """Return the rows of a bool mask (n,) or of integer positions, in the order given."""
        chosen = np.asarray(indices)
        if chosen.size == 0 and chosen.dtype != np.bool_:
            chosen = chosen.astype(np.int64)
        table = self.table.iloc[chosen].reset_index(drop=True)
        return replace(self, table=table, labels=self.labels[chosen])

    def select(self, expression: str) -> "ShardSet":
        """Return the rows for which the expression holds; QueryError where it is malformed or names no column."""
        return self.rows(query.mask(expression, self.table))

    def task(
        self, task: str | Task, *, uncertain: Policy = "ones", blank: Policy = "zeros", votes: int = 1
    ) -> "ShardSet":
        """Return the rows that a task keeps, with its targets; `labels.make_targets` says what the policies mean.

        `votes=2` asks for the majority of three readers, in sets that count votes.
        """
        chosen = find_task(task)
        for name, policy in (("uncertain", uncertain), ("blank", blank)):
            if not isinstance(policy, str | Mapping):
                raise LabelError(f"{name} is {policy!r}; it is one of {', '.join(POLICIES)}, or a mapping from classes")
        keep, labels = make_targets(
            self.table, chosen, annotated=self.annotated, uncertain=uncertain, blank=blank, votes=votes
        )
        return replace(self, targets=chosen.targets, labels=labels).rows(keep)

    def split(self, *, fraction: float, seed: int, by: str = "patient") -> tuple["ShardSet", "ShardSet"]:
        """Return two parts, `fraction` of the images in the first, with each target's share kept in both.

        `by="patient"` keeps each patient on one side (patients of two data sets are never one, and an image without a
        patient counts as its own); `by="image"` splits images regardless.
        """
        patients = self.table["dataset"] + "/" + self.table["patient"]
        first = patient_split(
            patients.to_numpy(dtype=object),
            self.labels,
            fraction=fraction,
            seed=seed,
            by=by,
        )
        return self.rows(first), self.rows(~first)

    def with_labels(self, csv: str | Path) -> "ShardSet":
        """Return the rows that a csv names in its column `key`, its other columns as raw labels (1, 0, -1, empty).

        A column `Edema` or `label.Edema` becomes `label.Edema` and takes the place of every column of that class, its
        votes too. Rows that the csv does not name are left out: a label that nobody gave must not come to count as
        negative. Call `task` next.
        """
        given = _read_labels(Path(csv))
        place = given.index.get_indexer(pd.Index(self.table["key"]))
        if not (place >= 0).any():
            raise LabelError(f"none of the {len(given):,} keys of {csv} is among these {len(self):,} images")
        kept = self.rows(place >= 0)
        taken = {class_of(str(name).removeprefix(PREFIX)) for name in given.columns}
        values = given.iloc[place[place >= 0]].reset_index(drop=True)
        columns = manifest.annotation_columns(kept.table)
        replaced = [name for name in columns if class_of(name.partition(".")[2]) in taken]
        table = pd.concat([kept.table.drop(columns=replaced), values], axis=1)
        added = tuple(str(column).removeprefix(PREFIX) for column in values.columns)
        annotated = {
            name: (*(spelling for spelling in old if class_of(spelling) not in taken), *added)
            for name, old in self.annotated.items()
        }
        labels = np.zeros((len(table), 0), dtype=np.float32)
        return replace(kept, table=table, annotated=annotated, targets=(), labels=labels)

    def fingerprint(self) -> str:
        """Return a hash (32 hex digits) of keys, payloads, targets and labels in row order: all a loader can see."""
        digest = sha256("\n".join((*self.table["key"], "", *self.targets)).encode())
        digest.update(self.table["crc32"].to_numpy(dtype="<u4").tobytes())
        labels = np.where(np.isnan(self.labels), np.float32(np.nan), self.labels)
        digest.update(labels.astype("<f4").tobytes())
        return digest.hexdigest()[:32]

    def webdataset(self, *, decode: bool = True) -> Any:  # noqa: ANN401 - webdataset has no types
        """Return a plain webdataset pipeline over these rows, in stored order.

        It yields dicts with `__key__`, `json` (a dict) and the image under its extension (`jpg`, `png` or `npy`; a set
        packed with `--long-side 0` may hold several) as uint8 (height, width); bytes instead where `decode` is false.
        Other members of a tar are never looked at. Remote tars are all fetched first; ShardSetError where the cache
        does not hold them at once.
        """
        import webdataset as wds  # it imports torch, which opening a set does without

        places = sorted(set(zip(self.table["shardset"], self.table["shard"], strict=True)))
        self._check_all_fit(places)
        tars = [str(self.tar_path(*place)) for place in places]
        known = frozenset(self.table["key"])
        pipeline = wds.WebDataset(tars, shardshuffle=False, empty_check=False, select_files=_is_ours)
        pipeline = pipeline.select(partial(_is_known, known=known))
        return pipeline.decode("l8") if decode else pipeline

    def _check_all_fit(self, places: Sequence[tuple[int, int]]) -> None:
        remote = [
            (folder, shard) for number, shard in places if isinstance(folder := self.folders[number], RemoteFolder)
        ]
        needed = sum(folder.tar(shard).size for folder, shard in remote)
        limit = min((int(folder.cache.limit) for folder, _ in remote), default=needed)
        if needed > limit:
            raise ShardSetError(
                f"these {len(remote)} remote shards have {needed:,} bytes, the cache's limit is {limit:,}: a plain "
                "webdataset pipeline needs all of them at once; raise ShardCache(limit=...), or use Loader"
            )


def _is_ours(name: str) -> bool:
    return name.rpartition(".")[2] in (*layout.EXTENSIONS.values(), layout.DOCUMENT_EXTENSION)


def _is_known(sample: dict[str, Any], *, known: frozenset[str]) -> bool:
    return sample["__key__"] in known


def _open_folder(name: str | Path, cache: ShardCache | None) -> tuple[Folder, dict[str, Any]]:
    """Return a folder, or what stands for one behind a URL, and its checked shardset.json."""
    if not is_url(name):
        path = Path(name).absolute()
        commit = _read_commit(path)
        _check_tars(path, commit)
        return path, commit
    remote = RemoteFolder(str(name), cache or ShardCache())
    commit = _checked_commit(remote.read(layout.COMMIT_FILE), f"{remote}/{layout.COMMIT_FILE}")
    remote = replace(remote, name=str(commit["name"]), files=commit["files"])
    remote.check()
    return remote, commit


def _read_commit(folder: Path) -> dict[str, Any]:
    path = folder / layout.COMMIT_FILE
    if not path.is_file():
        raise ShardSetError(why_no_set(folder))
    return _checked_commit(path.read_bytes(), str(path))


def _checked_commit(content: bytes, where: str) -> dict[str, Any]:
    try:
        commit = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ShardSetError(f"{where} is damaged ({error}); pack again into an empty folder") from error
    version = wrong_version(commit)
    if version is not None:
        raise ShardSetError(f"{where} is {version}: pack again")
    wrong = next(wrong_form(commit), None)
    if wrong is not None:
        raise ShardSetError(f"{where} is damaged ({wrong}); copy it again or repack")
    return dict(commit)


def why_no_set(folder: Path) -> str:
    """Say why a folder without shardset.json is no shard set, and what to do."""
    if not folder.exists():
        return f"there is no folder {folder}; pack one with `cxrfast-shard pack DATASET SRC --out {folder}`"
    if (folder / layout.PLAN_FILE).exists():
        return (
            f"{folder} is not packed to the end ({layout.COMMIT_FILE} is missing); run its pack command again to resume"
        )
    inside = [path.parent.name for path in sorted(folder.glob(f"*/{layout.COMMIT_FILE}"))]
    hint = f"; did you mean its folders {', '.join(inside)}?" if inside else ""
    return f"{folder} is not a shard set: it has no {layout.COMMIT_FILE}{hint}"


def _check_tars(folder: Path, commit: dict[str, Any]) -> None:
    """Refuse a tar that is absent or of another size; contents are for `cxrfast-shard verify`."""
    for name, recorded in commit["files"].items():
        path = folder / name
        try:
            size = path.stat().st_size
        except OSError as error:
            raise ShardSetError(
                f"{path}, listed in {layout.COMMIT_FILE}: {error.strerror}; copy it again or repack"
            ) from error
        if size != recorded["size"]:
            raise ShardSetError(
                f"{path} has {size:,} bytes where {recorded['size']:,} are recorded; copy it again or repack"
            )


def _read_table(folder: Folder, commit: dict[str, Any]) -> pd.DataFrame:
    where = f"{folder}/{layout.MANIFEST_FILE}"
    try:
        path = None if isinstance(folder, RemoteFolder) else folder / layout.MANIFEST_FILE
        content = folder.read(layout.MANIFEST_FILE) if isinstance(folder, RemoteFolder) else Path(where).read_bytes()
        # A flipped bit in parquet mostly opens in silence, and could move a patient from one part to another.
        if sha256(content).hexdigest() != commit["files"][layout.MANIFEST_FILE]["sha256"]:
            raise ShardSetError(f"{where} is not as it was packed (SHA-256 differs); copy it again or repack")
        return manifest.read_manifest(path or BytesIO(content))
    except (OSError, ValueError) as error:
        raise ShardSetError(f"{where} cannot be read ({error}); copy it again or repack") from error


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables below each other with a column `shardset`; a label that one lacks is NaN there."""
    for index, table in enumerate(tables):
        table["shardset"] = np.full(len(table), index, dtype=np.int32)
    if len(tables) == 1:
        return tables[0]
    joined = pd.concat(tables, ignore_index=True)
    order = dict.fromkeys((*manifest.RECORD_TYPES, *manifest.annotation_columns(joined), *joined.columns))
    return joined[list(order)]


def _check_keys(table: pd.DataFrame, folders: tuple[Folder, ...]) -> None:
    twice = table["key"].duplicated(keep=False)
    if twice.any():
        key = table.loc[twice, "key"].iloc[0]
        where = " and ".join(str(folders[i]) for i in table.loc[table["key"] == key, "shardset"])
        raise ShardSetError(f"key {key} is stored twice, in {where} ({int(twice.sum()):,} rows so); open one of them")


def _read_labels(csv: Path) -> pd.DataFrame:
    """Return a csv's label columns, float32, named `label.*`, indexed by key."""
    try:
        header = pd.read_csv(csv, header=None, nrows=1, dtype=str)  # pandas would name a second Edema `Edema.1`
        given = pd.read_csv(csv, dtype={"key": str})
    except (OSError, ValueError) as error:
        raise LabelError(f"{csv} cannot be read as csv: {error}") from error
    names = header.iloc[0].dropna().str.removeprefix(PREFIX)
    if names.duplicated().any():
        raise LabelError(f"{csv} gives the column {names[names.duplicated()].iloc[0]} twice; keep one of them")
    if "key" not in given or len(given.columns) < 2:
        raise LabelError(f"{csv} has the columns {', '.join(given.columns)}; it needs `key` and at least one class")
    if given["key"].duplicated().any():
        raise LabelError(
            f"{csv} names key {given.loc[given['key'].duplicated(), 'key'].iloc[0]} twice; keep one row a key"
        )
    given = given.set_index("key").rename(columns=lambda name: PREFIX + str(name).removeprefix(PREFIX))
    try:
        values = given.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise LabelError(f"{csv}: labels are 1, 0, -1 or empty; {error}") from error
    if not (values.isin([1, 0, -1]) | values.isna()).all(axis=None):
        raise LabelError(f"{csv}: labels are 1, 0, -1 or empty; another number is in it")
    return values
