"""Whether a shard set is, byte for byte, what was packed; and where it is not.

Each tar is read once, front to back, for its SHA-256 and for what it says itself of its samples, which is then held
against manifest and index: recorded hashes alone would pass a manifest that was rebuilt wrongly. Only a tar whose hash
differs is searched for the place. Threads, a tar each: nearly all the time goes by outside the GIL.
"""

import csv
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxrfast.errors import ShardSetError
from cxrfast.packing.check_tar import TarJob, check_tar
from cxrfast.packing.executors import in_order, usable_cpus
from cxrfast.packing.findings import Finding, Note, Verification
from cxrfast.packing.plan import wrong_plan
from cxrfast.packing.readback import Decoder
from cxrfast.packing.record import contradictions, read_record, shard_files
from cxrfast.packing.same_bytes import same_bytes
from cxrfast.packing.write import STAGING
from cxrfast.shardset import format as layout
from cxrfast.shardset.manifest import STORED_TYPES, schema_of
from cxrfast.shardset.shardset import why_no_set

WORK = ".repair"
"""The hidden folder in which `repair` makes files before they take their places."""

Progress = Callable[[int, int, int, int], None]
"""Called as `progress(done, total, faults, bytes_read)`, in images, after each shard."""

_SHARD_FILE = re.compile(r".+-(?P<shard>\d{5,})\.(?:tar|idx)")


@dataclass
class _Set:
    """One folder as far as it could be read: shardset.json's content, and the manifest where it is one."""

    folder: Path
    record: dict[str, Any]
    manifest: pa.Table | None
    findings: list[Finding]

    def shards(self) -> list[int]:
        """Return the numbers of the shards that shardset.json lists."""
        found = (_SHARD_FILE.fullmatch(name) for name in self.record["files"])
        return sorted({int(match["shard"]) for match in found if match})

    def images(self) -> int:
        """Return how many images the manifest has."""
        return 0 if self.manifest is None else len(self.manifest)


def verify(
    folders: Sequence[Path],
    *,
    decode: Decoder | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Hold shard sets against their own records.

    `decode`: takes every payload too and says what size its pixels have. `workers`: threads; None for the CPUs that
    this process may use. Raises ShardSetError where a folder is no shard set, or is not packed to the end.
    """
    started = time.monotonic()
    result = Verification()
    sets = [opened for folder in folders if (opened := _open(Path(folder), result)) is not None]
    count = workers or usable_cpus()
    total = sum(opened.images() for opened in sets)
    jobs = [job for opened in sets for job in _jobs(opened, decode)]
    with ThreadPoolExecutor(count) as threads, closing(in_order(threads, check_tar, jobs, window=2 * count)) as checked:
        for done in checked:
            result.findings += done.findings
            result.images += done.images
            result.nbytes += done.nbytes
            result.shards += 1
            if progress is not None:
                progress(result.images, max(total, result.images), len(result.findings), result.nbytes)
    readable = [
        (opened.folder, opened.record["name"], opened.manifest) for opened in sets if opened.manifest is not None
    ]
    result.notes += same_bytes(readable)
    result.seconds = time.monotonic() - started
    return result


def _open(folder: Path, result: Verification) -> _Set | None:
    """Check all files but the shards; return what the shards are held against, None where there is nothing to hold."""
    if not folder.is_dir():
        raise ShardSetError(why_no_set(folder))
    where = str(folder)
    path = folder / layout.COMMIT_FILE
    if not path.is_file():
        unfinished = (folder / STAGING).exists() and not (folder / WORK).exists()
        if unfinished or not (folder / layout.MANIFEST_FILE).is_file():
            raise ShardSetError(why_no_set(folder))
        result.findings.append(Finding("missing", where, path.name, "it is not there, though the set was packed"))
        return None
    record, wrong = read_record(path)
    result.findings += [Finding("record", where, path.name, message, offset=offset) for message, offset in wrong]
    if record is None:
        return None
    opened = _Set(folder, record, None, result.findings)
    result.notes += _left_over(folder)
    result.findings += _strangers(folder, record)
    contents = {
        name: _whole_file(opened, name) for name in (layout.PLAN_FILE, layout.MANIFEST_FILE, layout.REJECTED_FILE)
    }
    result.nbytes += sum(len(content) for content in contents.values() if content is not None)
    opened.manifest = _manifest(opened, contents[layout.MANIFEST_FILE])
    # What is damaged itself is no witness against shardset.json.
    whole = {name: content for name, content in contents.items() if _is_recorded(record, name, content)}
    plan, rejected = _plan(opened, whole.get(layout.PLAN_FILE)), _num_rejected(whole.get(layout.REJECTED_FILE))
    manifest = opened.manifest if layout.MANIFEST_FILE in whole else None
    for message in contradictions(record, plan=plan, manifest=manifest, rejected=rejected):
        result.findings.append(Finding("record", where, path.name, message))
    if manifest is not None:
        result.findings += _unlisted(opened, manifest)
    return opened


def _jobs(opened: _Set, decode: Decoder | None) -> Iterator[TarJob]:
    manifest = opened.manifest
    places = np.zeros(0) if manifest is None else manifest["shard"].to_numpy()
    order = np.argsort(places, kind="stable")
    for shard in opened.shards():
        start, stop = np.searchsorted(places, (shard, shard + 1), sorter=order)
        rows = None if manifest is None else manifest.take(order[start:stop]).combine_chunks()
        yield TarJob(opened.folder, opened.record, shard, rows, decode)


def _left_over(folder: Path) -> list[Note]:
    return [
        Note("left-over", f"{folder / name} is left over from {what} that was stopped; running it again removes it")
        for name, what in ((STAGING, "a packing"), (WORK, "a repair"))
        if (folder / name).exists()
    ]


def _strangers(folder: Path, record: dict[str, Any]) -> list[Finding]:
    known = {*record["files"], layout.COMMIT_FILE}
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return [
        Finding("extra", str(folder), name, f"{layout.COMMIT_FILE} does not list it", shard=_shard_of(name))
        for name in names
        if name not in known
    ]


def _unlisted(opened: _Set, manifest: pa.Table) -> list[Finding]:
    """Return where shardset.json's list of files is not that of the manifest's shards."""
    listed = set(opened.record["files"])
    needed = shard_files(opened.record, sorted(set(manifest["shard"].to_pylist())))
    lines = [(name, f"it does not list {name}, of which the manifest has images") for name in needed - listed]
    lines += [(name, f"it lists {name}, of which the manifest has no image") for name in listed - needed]
    where = str(opened.folder)
    return [Finding("record", where, layout.COMMIT_FILE, line, shard=_shard_of(name)) for name, line in sorted(lines)]


def _whole_file(opened: _Set, name: str) -> bytes | None:
    """Return a small file's content, as found; note where it is not as recorded."""
    where, entry = str(opened.folder), opened.record["files"][name]
    try:
        content = (opened.folder / name).read_bytes()
    except FileNotFoundError:
        opened.findings.append(Finding("missing", where, name, "it is not there"))
        return None
    except OSError as error:
        opened.findings.append(Finding("unreadable", where, name, f"it cannot be read: {error.strerror}"))
        return None
    if len(content) != entry["size"]:
        message = f"it has {len(content):,} bytes where {entry['size']:,} are recorded"
        at = min(len(content), entry["size"])
        opened.findings.append(Finding("size", where, name, message, offset=at))
    elif not _is_recorded(opened.record, name, content):
        opened.findings.append(Finding("content", where, name, "its SHA-256 is not the recorded one"))
    return content


def _is_recorded(record: dict[str, Any], name: str, content: bytes | None) -> bool:
    return content is not None and sha256(content).hexdigest() == record["files"][name]["sha256"]


def _manifest(opened: _Set, content: bytes | None) -> pa.Table | None:
    """Return the manifest's rows, or None with a finding where it is no manifest."""
    if content is None:
        return None
    try:
        table = pq.read_table(pa.BufferReader(content))
        table.validate(full=True)
    except (OSError, ValueError, KeyError, MemoryError, pa.ArrowException) as error:
        words = f"it cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        opened.findings.append(Finding("manifest", str(opened.folder), layout.MANIFEST_FILE, words))
        return None
    wrong = _wrong_manifest(table)
    if wrong is not None:
        opened.findings.append(Finding("manifest", str(opened.folder), layout.MANIFEST_FILE, wrong))
        return None
    return table


def _wrong_manifest(table: pa.Table) -> str | None:
    expected = schema_of(pd.DataFrame(columns=table.schema.names))
    if not table.schema.equals(expected):
        odd = [field.name for field in expected if field not in list(table.schema)]
        return f"its columns are not a manifest's ({', '.join(odd) or 'in another order'})"
    lacking = [name for name in ("key", *STORED_TYPES) if table[name].null_count]
    if lacking:
        return f"its columns {', '.join(lacking)} have empty places"
    places = ("shard", "offset", "nbytes", "sample_offset", "sample_nbytes")
    if len(table) and min(pc.min(table[name]).as_py() for name in places) < 0:
        return "it holds places before the beginning of a file"
    keys = table["key"].to_pandas()
    if keys.duplicated().any():
        return f"it holds key {keys[keys.duplicated()].iloc[0]} twice"
    return None


def _plan(opened: _Set, content: bytes | None) -> dict[str, Any] | None:
    """Return the content of a plan.json with its recorded bytes, or None with a finding where it is no plan."""
    if content is None:
        return None  # which has been told already
    try:
        plan = json.loads(content)
        wrong = wrong_plan(plan)
    except (ValueError, RecursionError) as error:
        wrong = f"it is no JSON: {error}"
    if wrong is not None:
        opened.findings.append(Finding("plan", str(opened.folder), layout.PLAN_FILE, wrong))
        return None
    return dict(plan)


def _num_rejected(content: bytes | None) -> int | None:
    if content is None:
        return None
    try:
        return sum(1 for _ in csv.reader(StringIO(content.decode()))) - 1
    except (ValueError, csv.Error):
        return None


def _shard_of(name: str) -> int | None:
    match = _SHARD_FILE.fullmatch(name)
    return int(match["shard"]) if match else None
