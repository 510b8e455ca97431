"""One shard, its tar and its index, held against the recorded SHA-256 and the manifest's rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cxrfast.packing.findings import Finding
from cxrfast.packing.locate import damages
from cxrfast.packing.plan import documents
from cxrfast.packing.readback import Decoder, ReadBack, pixels_of, read_back
from cxrfast.packing.record import first_difference
from cxrfast.shardset import format as layout

_SIZES = ("width", "height", "source_width", "source_height")


@dataclass(frozen=True)
class TarJob:
    """A shard to check: `record` is shardset.json's content, `rows` the manifest's rows, None where there is none."""

    folder: Path
    record: dict[str, Any]
    shard: int
    rows: pa.Table | None
    decode: Decoder | None = None

    @property
    def tar(self) -> str:
        """Return the name of the shard's tar."""
        return layout.tar_name(str(self.record["name"]), self.shard)

    @property
    def index(self) -> str:
        """Return the name of the shard's index."""
        return layout.index_name(str(self.record["name"]), self.shard)

    def finding(self, kind: str, file: str, message: str, **place: Any) -> Finding:  # noqa: ANN401
        """Return a finding in this shard."""
        return Finding(kind, str(self.folder), file, message, shard=self.shard, **place)


@dataclass
class Checked:
    """What came of a job: findings, and how many images and bytes were looked at."""

    findings: list[Finding] = field(default_factory=list)
    images: int = 0
    nbytes: int = 0


def check_tar(job: TarJob) -> Checked:
    """Read a shard's files and compare them with all that is recorded of them."""
    done = Checked(images=0 if job.rows is None else len(job.rows))
    whole = None
    if job.tar in job.record["files"]:
        try:
            seen = read_back(job.folder / job.tar, decode=job.decode)
            done.nbytes = seen.size
            entry = job.record["files"][job.tar]
            whole = seen if (seen.size, seen.sha256) == (entry["size"], entry["sha256"]) else None
            done.findings += _locate(job, seen) if whole is None else _compare(job, seen)
            if job.decode is not None:
                done.findings += _check_pixels(job, seen, job.decode)
        except OSError as error:
            done.findings.append(_unreadable(job, job.tar, error))
    if job.index in job.record["files"]:
        try:
            done.findings += _check_index(job, whole)
        except OSError as error:
            done.findings.append(_unreadable(job, job.index, error))
    return done


def _unreadable(job: TarJob, name: str, error: OSError) -> Finding:
    if isinstance(error, FileNotFoundError):
        return job.finding("missing", name, "it is not there")
    return job.finding("unreadable", name, f"it cannot be read: {error.strerror or error}")


def _locate(job: TarJob, seen: ReadBack) -> list[Finding]:
    """Return where a tar that is not as recorded is damaged."""
    entries = job.record["files"]
    others = [name for name, entry in entries.items() if entry["sha256"] == seen.sha256 and name != job.tar]
    if others:
        return [job.finding("content", job.tar, f"it holds what belongs into {others[0]}")]
    found = []
    if job.rows is not None:
        rows = job.rows.to_pandas()
        found = [
            job.finding(
                damage.kind, job.tar, damage.message, key=damage.key, offset=damage.offset, nbytes=damage.nbytes
            )
            for damage in damages(job.folder / job.tar, rows, _extension(job))
        ]
    if found:
        return found
    size = entries[job.tar]["size"]
    if seen.size != size:
        message = f"it has {seen.size:,} bytes where {size:,} are recorded"
        return [job.finding("size", job.tar, message, offset=min(seen.size, size))]
    if job.rows is None:
        return [job.finding("content", job.tar, "its SHA-256 is not the recorded one")]
    message = f"it has another SHA-256 for {job.tar} than that file, of which every sample's checksum holds"
    return [job.finding("record", layout.COMMIT_FILE, message)]


def _compare(job: TarJob, seen: ReadBack) -> list[Finding]:
    """Return where the manifest does not say what a tar holds that is as recorded."""
    if seen.members is None:
        return [job.finding("content", job.tar, "it is not a sequence of samples as packing writes them")]
    if job.rows is None:
        return []
    try:
        held = seen.members.table(job.shard, job.rows.schema)
    except (pa.ArrowException, KeyError, ValueError) as error:
        return [
            job.finding("content", job.tar, f"the JSON of its samples does not fit the manifest's columns: {error}")
        ]
    if job.rows.equals(held):
        return []
    return list(_disagreements(job, job.rows.to_pandas(), held.to_pandas()))


def _disagreements(job: TarJob, manifest: pd.DataFrame, tar: pd.DataFrame) -> Iterator[Finding]:
    manifest, tar = manifest.set_index("key"), tar.set_index("key")
    for key in manifest.index.difference(tar.index):
        yield job.finding("manifest", layout.MANIFEST_FILE, f"{job.tar} does not hold this key", key=key)
    for key in tar.index.difference(manifest.index):
        yield job.finding("manifest", layout.MANIFEST_FILE, f"a sample of {job.tar} has no row", key=key)
    both = tar.index.intersection(manifest.index)
    ours, theirs = manifest.loc[both], tar.loc[both]
    unequal = np.array(~((ours == theirs) | (ours.isna() & theirs.isna())), dtype=np.bool_)
    for row in np.flatnonzero(unequal.any(axis=1)):
        names = ours.columns[unequal[row]]
        said = "; ".join(f"{name} is {ours[name].iloc[row]}, in the tar {theirs[name].iloc[row]}" for name in names)
        message = f"{said} (sample from byte {theirs['sample_offset'].iloc[row]:,} of {job.tar})"
        yield job.finding("manifest", layout.MANIFEST_FILE, message, key=str(both[int(row)]))
    if len(both) == len(manifest) == len(tar) and not unequal.any():
        yield job.finding("manifest", layout.MANIFEST_FILE, f"its rows are in another order than {job.tar}")


def _check_index(job: TarJob, whole: ReadBack | None) -> list[Finding]:
    """Return where the index is not that of the whole tar, or of the manifest where the tar is damaged."""
    entry = job.record["files"][job.index]
    content = (job.folder / job.index).read_bytes()
    recorded = (len(content), sha256(content).hexdigest()) == (entry["size"], entry["sha256"])
    if whole is not None and whole.members is not None:
        expected = whole.members.index()
    elif job.rows is not None and not recorded:
        expected = _index_of(job.rows.to_pandas(), _extension(job))
    else:
        expected = content
    if content != expected:
        at = first_difference(content, expected)
        line = content[:at].count(b"\n")
        key = _key_of_line(expected, line)
        message = f"line {line + 1} is not what the tar's samples make it"
        return [job.finding("index", job.index, message, key=key, offset=at)]
    if recorded:
        return []
    if whole is None and job.rows is None:
        return [job.finding("content", job.index, "its SHA-256 is not the recorded one")]
    return [
        job.finding("record", layout.COMMIT_FILE, f"its entry of {job.index} is not that of the file, which is right")
    ]


def _index_of(rows: pd.DataFrame, extension: str) -> bytes:
    """Return the index that follows from the manifest alone."""
    lines = []
    for row, document in zip(rows.to_dict("records"), documents(rows), strict=True):
        text = layout.canonical_json({**document, **{name: int(row[name]) for name in _SIZES}})
        after = row["offset"] + layout.padded(row["nbytes"]) + layout.BLOCK
        lines.append(layout.member_line(row["key"], extension, (row["offset"], row["nbytes"]), (after, len(text))))
    return layout.index_bytes(lines)


def _check_pixels(job: TarJob, seen: ReadBack, decode: Decoder) -> Iterator[Finding]:
    """Yield the images that do not decode, or not to the size that the manifest gives."""
    if seen.members is not None:
        pixels = dict(zip(seen.members.keys, seen.members.pixels, strict=True))
    elif job.rows is not None:
        pixels = pixels_of(job.folder / job.tar, job.rows, decode)
    else:
        return
    sizes = {} if job.rows is None else dict(_sizes(job.rows))
    for key, outcome in pixels.items():
        place = sizes.get(key)
        if isinstance(outcome, str):
            message = f"the image does not decode: {outcome}"
        elif place is not None and outcome != place[:2]:
            width, height = place[:2]
            message = f"the image has {outcome[0]} x {outcome[1]} pixels, in the manifest {width} x {height}"
        else:
            continue
        where = {} if place is None else {"offset": place[2], "nbytes": place[3]}
        yield job.finding("decode", job.tar, message, key=key, **where)


def _sizes(rows: pa.Table) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    columns = (rows[name].to_pylist() for name in ("key", "width", "height", "offset", "nbytes"))
    for key, *place in zip(*columns, strict=True):
        yield key, (place[0], place[1], place[2], place[3])


def _extension(job: TarJob) -> str:
    return layout.EXTENSIONS.get(str(job.record["recipe"].get("codec")), "")


def _key_of_line(index: bytes, line: int) -> str | None:
    lines = index.decode(errors="replace").splitlines()
    fields = lines[line].split(" ") if 0 < line < len(lines) else []
    return fields[3].rpartition(".")[0] if len(fields) > 3 else None
