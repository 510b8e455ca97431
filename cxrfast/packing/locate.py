"""Where a damaged tar is damaged: sample by sample, by the manifest, down to the byte.

Only for tars whose SHA-256 is not the recorded one, so it may cost more than reading: headers, JSON and padding are
made again from the manifest's row and compared byte by byte; a payload has only its checksum, which names the byte
where a single bit has flipped, and else the payload as a whole.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
import pandas as pd

from cxrfast.packing.crc import flipped_bit
from cxrfast.packing.plan import documents
from cxrfast.shardset.format import ARCHIVE_END, BLOCK, StoredSample, sample_bytes

_SIZES = ("width", "height", "source_width", "source_height")


@dataclass(frozen=True)
class Damage:
    """Damage of one kind (of `findings.KINDS`) in `nbytes` bytes from `offset` of a tar, in a sample or outside any."""

    kind: str
    key: str | None
    offset: int
    nbytes: int
    message: str


def damages(path: Path, rows: pd.DataFrame, extension: str) -> Iterator[Damage]:
    """Yield the damage of a tar, nothing where every sample and the end hold; OSError where it is unreadable.

    `rows` are the manifest's rows of the tar in their order, `extension` that of its images.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for row, document in zip(rows.to_dict("records"), documents(rows), strict=True):
            start, nbytes = int(row["sample_offset"]), int(row["sample_nbytes"])
            if start + nbytes > size:
                lost = int((rows["sample_offset"] + rows["sample_nbytes"] > size).sum())
                more = f", and {lost - 1:,} samples after it are lost" if lost > 1 else ""
                yield Damage("size", row["key"], size, start + nbytes - size, f"the file ends in this sample{more}")
                return
            blob = _read(file, start, nbytes)
            if crc32(blob) != row["sample_crc32"]:
                yield from _in_sample(row, blob, extension, {**document, **{name: int(row[name]) for name in _SIZES}})
        stop = int((rows["sample_offset"] + rows["sample_nbytes"]).max()) if len(rows) else 0
        yield from _at_end(file, stop, size)


def _in_sample(row: Mapping[Hashable, Any], blob: bytes, extension: str, document: dict[str, Any]) -> Iterator[Damage]:
    key, start, nbytes = row["key"], int(row["sample_offset"]), int(row["nbytes"])
    payload = blob[BLOCK : BLOCK + nbytes]
    whole = sample_bytes(key, extension, payload, document)
    if int(row["offset"]) != start + BLOCK or len(whole.blob) != len(blob):
        yield Damage("image", key, start, len(blob), "the sample's bytes do not fit its row in the manifest")
        return
    if whole.crc32 != row["crc32"]:
        at = flipped_bit(int(row["crc32"]), whole.crc32, nbytes)
        if at is None:
            yield Damage("image", key, start + BLOCK, nbytes, "bytes of the stored image are changed")
        else:
            yield Damage("image", key, start + BLOCK + at, 1, "one bit of the stored image is flipped")
    changed = np.flatnonzero(np.frombuffer(blob, np.uint8) != np.frombuffer(whole.blob, np.uint8))
    for kind, what, first, last in _frame(whole):
        inside = changed[(changed >= first) & (changed < last)]
        if len(inside):
            message = f"{len(inside):,} {'byte' if len(inside) == 1 else 'bytes'} of {what} changed"
            yield Damage(kind, key, start + int(inside[0]), int(inside[-1] - inside[0]) + 1, message)


def _frame(sample: StoredSample) -> Iterator[tuple[str, str, int, int]]:
    """Yield kind, words, first and past-last byte of what surrounds a sample's payload."""
    payload_stop = sample.payload_offset + sample.payload_nbytes
    second, document = sample.document_offset - BLOCK, sample.document_offset
    document_stop = document + sample.document_nbytes
    yield "header", "the image's tar header are", 0, BLOCK
    yield "padding", "the padding behind the image are", payload_stop, second
    yield "header", "the JSON's tar header are", second, document
    yield "document", "the JSON are", document, document_stop
    yield "padding", "the padding behind the JSON are", document_stop, len(sample.blob)


def _at_end(file: BinaryIO, stop: int, size: int) -> Iterator[Damage]:
    """Yield what is wrong after the last sample: two blocks of zeros belong there, and nothing else."""
    length = len(ARCHIVE_END)
    if size < stop + length:
        yield Damage("end", None, size, stop + length - size, "the file ends inside the end of the tar")
    if size > stop + length:
        message = f"{size - stop - length:,} bytes follow the end of the tar"
        yield Damage("size", None, stop + length, size - stop - length, message)
    found = np.flatnonzero(np.frombuffer(_read(file, stop, length), np.uint8))
    if len(found):
        message = "the end of the tar is not all zeros"
        yield Damage("end", None, stop + int(found[0]), int(found[-1] - found[0]) + 1, message)


def _read(file: BinaryIO, start: int, nbytes: int) -> bytes:
    file.seek(start)
    return file.read(nbytes)
