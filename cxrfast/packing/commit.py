"""The end of packing: the shards' parts become one manifest; shardset.json, written last, says that all is there."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast.errors import PackError
from cxrfast.labels import PREFIX, VOTES_PREFIX
from cxrfast.packing.plan import Plan
from cxrfast.packing.record import read_record
from cxrfast.packing.write import FileRecord, Part, write_whole
from cxrfast.shardset.format import (
    COMMIT_FILE,
    FORMAT_NAME,
    FORMAT_VERSION,
    MANIFEST_FILE,
    PLAN_FILE,
    REJECTED_FILE,
    readable_json,
)
from cxrfast.shardset.manifest import STORED_TYPES, parquet_bytes, schema_of


@dataclass(frozen=True, eq=False)
class Gathered:
    """What the parts of all shards say, as arrays in stored order: 96 bytes an image.

    `rows`: of the plan's table, int64 (n,). `stored`: the manifest's columns for them, (n,) each. `rejected`: code by
    row. `files`: record by name. `shards`: how many hold an image.
    """

    rows: npt.NDArray[np.int64]
    stored: dict[str, npt.NDArray[Any]]
    rejected: dict[int, str]
    files: dict[str, FileRecord]
    shards: int


def gather(parts: Iterable[Part]) -> Gathered:
    """Put the parts of all shards, in order, into one; each is let go before the next is taken."""
    rows = [np.zeros(0, dtype=np.int64)]
    kinds = {name: kind.to_pandas_dtype() for name, kind in STORED_TYPES.items()}
    stored = {name: [np.zeros(0, dtype=kind)] for name, kind in kinds.items()}
    rejected: dict[int, str] = {}
    files: dict[str, FileRecord] = {}
    shards = 0
    for part in parts:
        rejected.update(part.rejected)
        files.update(part.files)
        if part.rows:
            shards += 1
            rows.append(np.asarray(part.rows, dtype=np.int64))
            for name, kind in kinds.items():
                stored[name].append(np.asarray(part.stored[name], dtype=kind))
    columns = {name: np.concatenate(pieces) for name, pieces in stored.items()}
    return Gathered(np.concatenate(rows), columns, rejected, files, shards)


def commit(out: Path, plan: Plan, found: Gathered) -> dict[str, Any]:
    """Write manifest, rejects and shardset.json from what the shards' parts say; return shardset.json's content.

    Every step replaces a file by the same bytes when it is done again, so a kill between any two is mended by a rerun.
    """
    files = dict(found.files)
    content = (out / PLAN_FILE).read_bytes()
    if content != readable_json(plan.document()):
        raise PackError(f"{out / PLAN_FILE} was changed while its set was packed; pack into an empty folder")
    files[PLAN_FILE] = {"size": len(content), "sha256": sha256(content).hexdigest()}
    files[MANIFEST_FILE] = write_whole(out / MANIFEST_FILE, _manifest(plan, found))
    splits = plan.table["release_split"].iloc[found.rows]
    files[REJECTED_FILE] = write_rejected(out, plan, found.rejected)
    document = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "name": plan.recipe.dataset,
        "labels": _suffixes(plan.table, PREFIX),
        "votes": _suffixes(plan.table, VOTES_PREFIX),
        "recipe": plan.recipe.settings(),
        "plan": files[PLAN_FILE]["sha256"],
        "counts": {
            "planned": len(plan.table),
            "images": len(found.rows),
            "rejected": len(found.rejected),
            "shards": found.shards,
            "release_split": {
                str(name): int(count) for name, count in splits.fillna("none").value_counts().sort_index().items()
            },
        },
        "files": files,
    }
    write_whole(out / COMMIT_FILE, readable_json(document))
    return document


def _manifest(plan: Plan, found: Gathered) -> bytes:
    """Return the manifest, the plan's records beside what packing measured, without ever holding a table of all."""

    def piece(start: int, stop: int) -> pd.DataFrame:
        records = plan.table.iloc[found.rows[start:stop]].reset_index(drop=True)
        stored = pd.DataFrame({name: values[start:stop] for name, values in found.stored.items()})
        return pd.concat([records, stored], axis=1)

    return parquet_bytes(schema_of(plan.table), len(found.rows), piece)


def write_rejected(out: Path, plan: Plan, rejected: Mapping[int, str]) -> FileRecord:
    """Write rejected.csv (key, path, code), in the plan's order."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("key", "path", "code"))
    names = plan.table[["key", "path"]].iloc[sorted(rejected)]
    for (key, path), row in zip(names.itertuples(index=False), sorted(rejected), strict=True):
        writer.writerow((key, path, rejected[row]))
    return write_whole(out / REJECTED_FILE, text.getvalue().encode())


def read_commit(out: Path) -> dict[str, Any] | None:
    """Return shardset.json where packing has ended here, else None.

    Raises PackError where a file that it lists is gone or of another size: something happened after packing.
    """
    if not (out / COMMIT_FILE).exists():
        return None
    document, wrong = read_record(out / COMMIT_FILE)
    if document is None:
        raise PackError(f"{out / COMMIT_FILE} is damaged ({wrong[0][0]}); pack into an empty folder")
    for name, record in document["files"].items():
        path = out / name
        if not path.is_file() or path.stat().st_size != record["size"]:
            raise PackError(f"{out} was packed, but {name} is missing or changed since; pack into an empty folder")
    return document


def _suffixes(table: pd.DataFrame, prefix: str) -> list[str]:
    return [str(name).removeprefix(prefix) for name in table.columns if str(name).startswith(prefix)]
