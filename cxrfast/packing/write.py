"""Writing so that nothing half-written ever looks whole: temporary name, fsync, rename, and a record that comes last.

Everything unfinished lives in a hidden folder inside the output, on the same file system, so that a rename is atomic
and a rerun knows what it may sweep away. An fsync a file costs some milliseconds a shard of 1,024 images; without it a
power cut can leave a file of the right name and size full of zeros.
"""

import errno
import json
import os
import re
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO
from uuid import uuid4

from cxrfast.durable import sync_folder
from cxrfast.packing.encode import Packed
from cxrfast.shardset.format import ARCHIVE_END, canonical_json, index_bytes, index_line, index_name, tar_name

STAGING = ".packing"
_TEMPORARY = ".tmp"
_SHARD_TEMPORARY = re.compile(r"(?:.*-)?(\d{5,})\.(?:tar|idx|json)\.[0-9a-f]+\.tmp")
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}

FileRecord = dict[str, Any]  # {"size": bytes, "sha256": hex digits}


@dataclass
class Part:
    """What packing one shard has found; as a file in the staging folder it says that the shard is whole.

    `rows` are rows of the plan's table that are stored, and `stored` holds the manifest's columns for them;
    `rejected` holds (row, code); `files` the shard's files, none where every image was rejected.
    """

    shard: int
    rows: list[int] = field(default_factory=list)
    stored: dict[str, list[int]] = field(default_factory=dict)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    files: dict[str, FileRecord] = field(default_factory=dict)


class ShardWriter:
    """Appends samples to a shard under a temporary name; `close` makes the shard, its index and its part final.

    As a context manager it removes the temporary file when an exception passes through.
    """

    def __init__(self, out: Path, *, name: str, shard: int) -> None:
        self._out, self._name = out, name
        self._part = Part(shard)
        self._lines: list[str] = []
        self._hash = sha256()
        self._size = 0
        self._path = _temporary(out, tar_name(name, shard))
        self._file: BinaryIO = self._path.open("wb")

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with suppress(OSError):  # what is still in its buffer may not fit the disk
                self._file.close()
            self._path.unlink(missing_ok=True)

    def add(self, row: int, packed: Packed) -> None:
        """Append the sample of a row of the plan's table."""
        sample = packed.sample
        measured = {
            "shard": self._part.shard,
            "offset": self._size + sample.payload_offset,
            "nbytes": sample.payload_nbytes,
            "crc32": sample.crc32,
            "sample_offset": self._size,
            "sample_nbytes": len(sample.blob),
            "sample_crc32": sample.sample_crc32,
            "width": packed.width,
            "height": packed.height,
            "source_width": packed.source_width,
            "source_height": packed.source_height,
        }
        for name, value in measured.items():
            self._part.stored.setdefault(name, []).append(value)
        self._part.rows.append(row)
        self._lines.append(index_line(sample, self._size))
        self._append(sample.blob)

    def reject(self, row: int, code: str) -> None:
        """Record that a row cannot be stored; the shard stays shorter by it."""
        self._part.rejected.append((row, code))

    def close(self) -> Part:
        """Finish the shard. A shard without a sample leaves no tar, since DALI refuses an empty one."""
        if self._part.rows:
            self._append(ARCHIVE_END)
        _sync(self._file)
        self._file.close()
        if self._part.rows:
            tar = self._out / tar_name(self._name, self._part.shard)
            index = self._out / index_name(self._name, self._part.shard)
            self._part.files[tar.name] = {"size": self._size, "sha256": self._hash.hexdigest()}
            self._part.files[index.name] = write_whole(index, index_bytes(self._lines))
            _publish(self._path, tar)
        else:
            self._path.unlink()
        write_whole(_part_path(self._out, self._part.shard), canonical_json(vars(self._part)))
        return self._part

    def _append(self, content: bytes) -> None:
        self._file.write(content)
        self._hash.update(content)
        self._size += len(content)


def read_part(out: Path, shard: int) -> Part | None:
    """Return the record of a shard that is whole, else None: no record, or a file that is not as recorded."""
    try:
        part = Part(**json.loads(_part_path(out, shard).read_bytes()))
        whole = all((out / name).stat().st_size == record["size"] for name, record in part.files.items())
    except (OSError, ValueError, TypeError):
        return None
    part.rejected = [(row, code) for row, code in part.rejected]
    return part if whole else None


def write_whole(path: Path, content: bytes) -> FileRecord:
    """Write a file of an output folder, or of its staging folder, so that it appears complete or not at all."""
    out = path.parent.parent if path.parent.name == STAGING else path.parent
    temporary = _temporary(out, path.name)
    try:
        _write_synced(temporary, content)
        _publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return {"size": len(content), "sha256": sha256(content).hexdigest()}


def create_whole(path: Path, content: bytes) -> None:
    """Write a file of an output folder, complete, unless it is there: of many who do so at once, one wins.

    A hard link is made or refused in one step on network disks too; where a disk has none, a rename must do, and then
    the caller's lock alone keeps two from writing.
    """
    temporary = _temporary(path.parent, path.name)
    _write_synced(temporary, content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not path.exists():
            temporary.replace(path)
    temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sweep(out: Path, shards: Container[int]) -> None:
    """Remove what killed packers have left half-written of these shards; the caller holds them."""
    for path in (out / STAGING).glob(f"*{_TEMPORARY}"):
        found = _SHARD_TEMPORARY.fullmatch(path.name)
        if found and int(found[1]) in shards:
            path.unlink(missing_ok=True)


def missing_shards(out: Path, num_shards: int) -> list[int]:
    """Return the shards that have no part yet, by one look at the staging folder."""
    try:
        there = set(os.listdir(out / STAGING))  # noqa: PTH208 - names alone
    except FileNotFoundError:
        there = set()
    return [shard for shard in range(num_shards) if _part_path(out, shard).name not in there]


def remove_parts(out: Path) -> None:
    """Remove the records of shards, which are worth nothing without the plan that they were made by."""
    for path in (out / STAGING).glob("*.json"):
        path.unlink(missing_ok=True)


def _part_path(out: Path, shard: int) -> Path:
    return out / STAGING / f"{shard:05d}.json"


def _temporary(out: Path, name: str) -> Path:
    """Return a name that no other process has, so that two who write the same file never mix their bytes."""
    return out / STAGING / f"{name}.{uuid4().hex[:8]}{_TEMPORARY}"


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        _sync(file)


def _publish(temporary: Path, final: Path) -> None:
    temporary.replace(final)
    sync_folder(final.parent)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
