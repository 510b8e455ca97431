"""The plan: which image lies in which shard, decided before a byte is written, from the table and the recipe alone.

Images are dealt to shards by a hash of their key, so neighbours in a release (one patient's images, one class's folder)
spread over all shards, and a shard's content never depends on how many workers or restarts there were. The price: an
image added to a release moves most others, so another table is another plan, and needs an empty folder.
"""

import platform
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cv2
import numpy as np
import pandas as pd

from cxrfast import chance
from cxrfast.errors import PackError
from cxrfast.labels import PREFIX, VOTES_PREFIX
from cxrfast.packing.recipe import Recipe
from cxrfast.shardset.format import FORMAT_VERSION, KEY
from cxrfast.shardset.manifest import RECORD_TYPES, annotation_columns

PLAN_FORMAT = "cxrfast-plan"
_FIELDS: dict[str, type] = {
    "version": int, "recipe": dict, "recipe_hash": str, "images": int, "keys_and_paths": str, "records": str,
    "packages": dict, "architecture": str, "missing": list,
}  # fmt: skip
_PACKAGES = ("numpy", "pyarrow", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg")
_ROWS_AT_ONCE = 16_384
_PROVENANCE = tuple(name for name in RECORD_TYPES if name != "key")


@dataclass(frozen=True, eq=False)
class Plan:
    """Images in the order in which they are stored, and what the stored bytes depend on.

    `table`: a row an image, RangeIndex, columns of the record table. `missing`: rows whose file was absent when the
    plan was made. `keys_and_paths`, `records`: hashes of the table's contents, rows by key. `packages`,
    `architecture`: of the machine that packs.
    """

    recipe: Recipe
    table: pd.DataFrame
    missing: frozenset[int]
    keys_and_paths: str
    records: str
    packages: dict[str, str]
    architecture: str

    @property
    def num_shards(self) -> int:
        """Return how many shards the images are cut into; the last may be shorter."""
        return -(-len(self.table) // self.recipe.samples_per_shard)

    def rows_of(self, shard: int) -> range:
        """Return the rows of `table` that a shard holds."""
        start = shard * self.recipe.samples_per_shard
        return range(start, min(start + self.recipe.samples_per_shard, len(self.table)))

    def document(self) -> dict[str, Any]:
        """Return the content of plan.json: equal documents mean equal bytes of everything packed."""
        return {
            "format": PLAN_FORMAT,
            "version": FORMAT_VERSION,
            "recipe": self.recipe.settings(),
            "recipe_hash": self.recipe.hash(),
            "images": len(self.table),
            "keys_and_paths": self.keys_and_paths,
            "records": self.records,
            "packages": self.packages,
            "architecture": self.architecture,
            "missing": [self.table["key"].iloc[row] for row in sorted(self.missing)],
        }


def make_plan(table: pd.DataFrame, recipe: Recipe, *, missing: Collection[str] = ()) -> Plan:
    """Order the images by a hash of (seed, key). `missing`: keys whose file is absent.

    Raises PackError where a column is lacking, a key breaks the grammar or stands twice, or a path leaves the release.
    """
    table = _normal(table)
    _check_keys(table, recipe.dataset)
    _check_paths(table)
    hashes = _hash_keys_and_paths(table), _hash_records(table)
    # Rows stand by key, so equal words, should there ever be any, leave them in the order of their keys.
    words = chance.hash_keys(f"{recipe.seed}:{key}" for (key,) in _values(table, "key"))
    table = table.iloc[np.argsort(words, kind="stable")].reset_index(drop=True)
    absent = frozenset(np.flatnonzero(table["key"].isin(list(missing))).tolist()) if missing else frozenset()
    return Plan(recipe, table, absent, *hashes, codec_versions(), platform.machine())


def wrong_plan(document: object) -> str | None:
    """Say what keeps a document from being the content of a plan.json; None where nothing does."""
    if not isinstance(document, dict) or document.get("format") != PLAN_FORMAT:
        return "it is not a plan of cxrfast"
    for name, kind in _FIELDS.items():
        if not isinstance(document.get(name), kind):
            return f"its field {name!r} is missing or of another kind"
    if not all(isinstance(key, str) for key in document["missing"]):
        return "its field 'missing' is no list of keys"
    if not isinstance(document["recipe"].get("dataset"), str):
        return "its recipe names no data set"
    return None


def codec_versions() -> dict[str, str]:
    """Return the versions of the packages that decode, resize, encode or write the manifest, or "absent"."""
    return {"opencv": cv2.__version__, **{name: _version(name) for name in _PACKAGES}}


def documents(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return each row's JSON document without pixel sizes: provenance, raw `labels` and `votes`, blank as null."""
    columns = {name: _plain(table[name]) for name in (*_PROVENANCE, *annotation_columns(table))}
    fields = {name: columns[name] for name in _PROVENANCE}
    rows: list[dict[str, Any]] = [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]
    for group, prefix in (("labels", PREFIX), ("votes", VOTES_PREFIX)):
        named = {name.removeprefix(prefix): values for name, values in columns.items() if name.startswith(prefix)}
        if named or group == "labels":
            for index, row in enumerate(rows):
                row[group] = {name: values[index] for name, values in named.items()}
    return rows


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say in words how two plan documents differ, old first; empty where they would give the same bytes.

    The files that were missing are not compared: the older plan has decided that.
    """
    found = [
        f"{name} is {old.get(name)!r} there, {new[name]!r} here"
        for name in ("format", "version", "architecture")
        if old.get(name) != new[name]
    ]
    for group, label in (("recipe", "recipe: "), ("packages", "package ")):
        before, after = old.get(group) or {}, new[group]
        for name in dict.fromkeys((*before, *after)):
            if before.get(name) != after.get(name):
                found.append(f"{label}{name} is {before.get(name)} there, {after.get(name)} here")
    if old.get("keys_and_paths") != new["keys_and_paths"]:
        counts = f"{old.get('images', 0):,} images there, {new['images']:,} here"
        found.append(f"the release's table of keys and paths is another one ({counts})")
    elif old.get("records") != new["records"]:
        found.append("the same images have other labels or other records")
    return found


def _normal(table: pd.DataFrame) -> pd.DataFrame:
    """Return the record columns in the manifest's order and types (texts nullable, numbers float32), rows by key."""
    lacking = [name for name in RECORD_TYPES if name not in table]
    if lacking:
        raise PackError(f"the source's table lacks the columns {', '.join(lacking)}; this is a mistake in the source")
    numbers = {"age", *annotation_columns(table)}
    names = (*RECORD_TYPES, *annotation_columns(table))
    by_key = table["key"].astype("string").argsort(kind="stable")
    return pd.DataFrame(
        {name: table[name].iloc[by_key].astype("float32" if name in numbers else "string").array for name in names}
    )


def _check_keys(table: pd.DataFrame, dataset: str) -> None:
    if table.empty:
        raise PackError("the release has no images; run `cxrfast-shard doctor` on it")
    keys = table["key"].fillna("")
    bad = ~(keys.str.fullmatch(KEY.pattern) & keys.str.startswith(dataset))
    if bad.any():
        key, path = table.loc[bad, ["key", "path"]].iloc[0]
        rule = f"{KEY.pattern}, starting with {dataset}"
        raise PackError(f"key {key!r} of {path} breaks the rule {rule} ({int(bad.sum()):,} keys do)")
    twice = (keys == keys.shift()) | (keys == keys.shift(-1))  # rows stand by key
    if twice.any():
        key = keys[twice].iloc[0]
        paths = " and ".join(table.loc[keys == key, "path"].fillna("(no path)"))
        raise PackError(f"key {key} stands for {paths}; keys must be unique ({int(twice.sum()):,} rows share theirs)")


def _check_paths(table: pd.DataFrame) -> None:
    for key, path in _values(table, "key", "path"):
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise PackError(f"path {path or None!r} of key {key} must lie inside the release, relative to its folder")
        if not _is_text(path):
            raise PackError(f"path {path!r} of key {key} is not UTF-8 on this disk; rename the file")


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(column: "pd.Series[Any]") -> list[Any]:
    """Return a column as JSON values: None for a missing one, whole numbers without a point."""
    if column.dtype != np.float32:
        return column.astype(object).where(column.notna(), None).tolist()
    values = column.to_numpy(dtype=np.float64).tolist()
    return [None if value != value else int(value) if value.is_integer() else value for value in values]


def _values(table: pd.DataFrame, *columns: str) -> Iterator[tuple[str, ...]]:
    """Yield the texts of some columns row by row, "" where missing; a million Python strings at once are 100 MB."""
    for start in range(0, len(table), _ROWS_AT_ONCE):
        piece = table.iloc[start : start + _ROWS_AT_ONCE]
        yield from zip(*(piece[name].fillna("").tolist() for name in columns), strict=True)


def _hash_keys_and_paths(table: pd.DataFrame) -> str:
    digest = sha256()
    for key, path in _values(table, "key", "path"):
        digest.update(f"{key}\t{path}\n".encode())
    return digest.hexdigest()


def _hash_records(table: pd.DataFrame) -> str:
    """Hash all columns of rows by key: another label file with the same images must not be mixed in on a rerun."""
    digest = sha256()
    for name in table.columns:
        digest.update(f"\n{name}\n".encode())
        if table[name].dtype == np.float32:
            values = table[name].to_numpy()
            digest.update(np.where(np.isnan(values), np.float32(np.nan), values).astype("<f4").tobytes())
        else:
            for start in range(0, len(table), _ROWS_AT_ONCE):
                texts = table[name].iloc[start : start + _ROWS_AT_ONCE].fillna("\0").tolist()
                digest.update("\n".join(texts if start == 0 else ["", *texts]).encode())
    return digest.hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
