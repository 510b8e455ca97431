"""A tar read back, front to back, once: its SHA-256, and the manifest's rows as the tar itself gives them.

The manifest is not consulted, so that what comes out is a second witness to hold it against. Everything costly
(hashing, checksums, parsing JSON, decoding) runs outside the GIL, so threads that each read a tar use all CPUs; what is
left in Python is some microseconds a sample.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.json

from cxrfast.errors import ImageRejected
from cxrfast.labels import PREFIX, VOTES_PREFIX
from cxrfast.packing.crc import joined
from cxrfast.shardset.format import BLOCK, DOCUMENT_EXTENSION, index_bytes, member_line, padded
from cxrfast.shardset.manifest import RECORD_TYPES, STORED_TYPES

PIECE = 2 * 1024**2

Decoder = Callable[[memoryview], tuple[int, int]]
"""Takes a payload; returns width and height of its pixels, or raises ImageRejected."""

_HEADER = struct.Struct("100s24x11s")  # name and length, of a header's 512 bytes
_DOCUMENT = f".{DOCUMENT_EXTENSION}".encode()
_SIZES = ("width", "height", "source_width", "source_height")
_GROUPS = {"labels": PREFIX, "votes": VOTES_PREFIX}


@dataclass
class Members:
    """The samples of a tar in their order, a list a property; offsets count from the tar's first byte."""

    names: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Key and the image's extension."""
    places: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Where the sample begins, its length, the payload's length, and where the JSON begins."""
    documents: list[bytes] = field(default_factory=list)
    checksums: list[tuple[int, int, int]] = field(default_factory=list)
    """CRC-32 of the first header, of the payload, and of all after it."""
    pixels: list[tuple[int, int] | str] = field(default_factory=list)
    """With a decoder: width and height, or why the image does not decode."""

    @cached_property
    def keys(self) -> list[str]:
        """Return the samples' keys; a byte that is no ASCII is written as an escape."""
        return [_text(key) for key, _ in self.names]

    def index(self) -> bytes:
        """Return the DALI index of the tar."""
        rows = zip(self.keys, self.names, self.places, self.documents, strict=True)
        return index_bytes(
            [
                member_line(key, _text(extension), (start + BLOCK, nbytes), (document_at, len(document)))
                for key, (_, extension), (start, _, nbytes, document_at), document in rows
            ]
        )

    def table(self, shard: int, schema: pa.Schema) -> pa.Table:
        """Return the manifest's rows for this tar; pyarrow's errors where a JSON does not fit the schema."""
        start, total, nbytes, _ = np.array(self.places, dtype=np.int64).reshape(-1, 4).T
        head, payload, rest = np.array(self.checksums, dtype=np.uint32).reshape(-1, 3).T
        blob = joined(joined(head, payload, nbytes), rest, total - BLOCK - nbytes)
        columns = {
            "key": self.keys, "shard": np.full(len(start), shard), "offset": start + BLOCK, "nbytes": nbytes,
            "crc32": payload, "sample_offset": start, "sample_nbytes": total, "sample_crc32": blob,
        }  # fmt: skip
        said = _parsed(self.documents, schema)
        return pa.table(
            [
                pa.array(columns[name], type=schema.field(name).type)
                if name in columns
                else said[name].cast(schema.field(name).type, safe=False).combine_chunks()
                for name in schema.names
            ],
            schema=schema,
        )


@dataclass
class ReadBack:
    """What a tar holds. `members` is None where it is not a sequence of samples and an end, as packing writes it."""

    size: int
    sha256: str
    members: Members | None


def read_back(path: Path, *, decode: Decoder | None = None) -> ReadBack:
    """Read a whole tar; OSError where the system cannot."""
    digest, size, walk = sha256(), 0, _Walk(decode)
    with path.open("rb", buffering=0) as file:
        for held, piece in _pieces(file, walk):
            digest.update(piece)
            size += len(piece)
            walk.feed(held)
    return ReadBack(size, digest.hexdigest(), walk.members if walk.ended and not walk.broken else None)


def pixels_of(path: Path, rows: pa.Table, decode: Decoder) -> dict[str, tuple[int, int] | str]:
    """Return what the payloads at the manifest's places decode to, for a tar whose own headers cannot be followed."""
    columns = (rows[name].to_pylist() for name in ("key", "offset", "nbytes"))
    with path.open("rb") as file:
        found = {}
        for key, offset, nbytes in zip(*columns, strict=True):
            file.seek(offset)
            found[key] = _pixels(memoryview(file.read(nbytes)), decode)
    return found


class _Walk:
    """Takes whole samples from the front of what is held, and says how much of it is done with."""

    def __init__(self, decode: Decoder | None) -> None:
        self.members = Members()
        self.broken = self.ended = False
        self.used = 0
        self._base = 0
        self._decode = decode

    def feed(self, view: memoryview) -> None:
        """Take what is whole; `used` is how many bytes of `view` need not be held any longer."""
        at = 0
        while not self.ended and not self.broken and (stop := self._take(view, at)):
            at = stop
        self.used = len(view) if self.ended or self.broken else at
        self._base += self.used

    def _take(self, view: memoryview, at: int) -> int:
        """Take one sample from `at`; return where the next begins, 0 where more bytes are needed or there is none."""
        if len(view) < at + BLOCK:
            return 0
        name, nbytes = _member(view, at)
        if not name:
            self.ended = True
            return 0
        second = at + BLOCK + padded(nbytes)
        if nbytes >= 0 and len(view) < second + BLOCK:
            return 0
        key, _, extension = name.rpartition(b".")
        other, length = _member(view, second) if nbytes >= 0 else (b"", -1)
        if other != key + _DOCUMENT or length < 0:
            self.broken = True
            return 0
        document, stop = second + BLOCK, second + BLOCK + padded(length)
        if len(view) < stop:
            return 0
        payload = view[at + BLOCK : at + BLOCK + nbytes]
        first, last = crc32(view[at : at + BLOCK]), crc32(view[at + BLOCK + nbytes : stop])
        self.members.checksums.append((first, crc32(payload), last))
        self.members.names.append((key, extension))
        self.members.places.append((self._base + at, stop - at, nbytes, self._base + document))
        self.members.documents.append(bytes(view[document : document + length]))
        if self._decode is not None:
            self.members.pixels.append(_pixels(payload, self._decode))
        return stop


def _pieces(file: BinaryIO, walk: _Walk) -> Iterator[tuple[memoryview, memoryview]]:
    """Yield (what is held and new, what is new of it), a piece after the other; the walk says what to hold on to.

    The memory is used again, since fresh pages cost as much as a checksum does.
    """
    memory = memoryview(bytearray(2 * PIECE))
    held = 0
    while True:
        if len(memory) - held < PIECE:
            larger = memoryview(bytearray(2 * len(memory)))
            larger[:held] = memory[:held]
            memory = larger
        count = file.readinto(memory[held : held + PIECE])  # type: ignore[attr-defined]  # a raw file has it
        if not count:
            return
        yield memory[: held + count], memory[held : held + count]
        rest = held + count - walk.used
        memory[:rest] = memory[walk.used : held + count]
        held = rest


def _member(view: memoryview, at: int) -> tuple[bytes, int]:
    """Return name and length in a header: no name where the samples end, a length of -1 where it is none."""
    name, size = _HEADER.unpack_from(view, at)
    try:
        return name.rstrip(b"\0"), int(size, 8) if name[0] else 0
    except ValueError:
        return name, -1


def _text(name: bytes) -> str:
    return name.decode("ascii", "backslashreplace")


def _pixels(payload: memoryview, decode: Decoder) -> tuple[int, int] | str:
    try:
        return decode(payload)
    except ImageRejected as rejected:
        return str(rejected)


def _parsed(documents: list[bytes], schema: pa.Schema) -> dict[str, pa.ChunkedArray]:
    """Return the columns of a manifest that the samples' JSON holds."""
    number, names = pa.float64(), schema.names
    fields = [pa.field(name, kind if kind == pa.string() else number) for name, kind in RECORD_TYPES.items()]
    fields = [field for field in fields if field.name != "key"]
    fields += [pa.field(name, STORED_TYPES[name]) for name in _SIZES]
    for group, prefix in _GROUPS.items():
        inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
        if inside:
            fields.append(pa.field(group, pa.struct([(name, number) for name in inside])))
    content = b"\n".join(documents)
    table = pa.json.read_json(
        pa.BufferReader(content),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=max(len(content) + 1, 1024)),
        parse_options=pa.json.ParseOptions(explicit_schema=pa.schema(fields), unexpected_field_behavior="error"),
    )
    columns = {name: table[name] for name in table.column_names if name not in _GROUPS}
    for group, prefix in _GROUPS.items():
        if group in table.column_names:
            parts = table[group].combine_chunks()
            columns |= {prefix + field.name: pa.chunked_array([parts.field(field.name)]) for field in parts.type}
    return columns
