"""Images that are stored in the same bytes, in one set or in several: worth knowing before a split, and no fault.

Checksum and length from the manifests name the candidates; they are then read and compared, since among a million
images some pairs share a CRC-32 by chance.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pyarrow as pa

from cxrfast.packing.findings import Note
from cxrfast.shardset.format import tar_name

_COLUMNS = ["key", "shard", "offset", "nbytes", "crc32"]


def same_bytes(sets: Sequence[tuple[Path, str, pa.Table]]) -> list[Note]:
    """Return a note for each group of images with the same stored bytes.

    `sets`: folder, name and manifest of each. What cannot be read is passed over: it is a finding elsewhere.
    """
    frames = [manifest.select(_COLUMNS).to_pandas().assign(set=number) for number, (*_, manifest) in enumerate(sets)]
    if not frames:
        return []
    table = pd.concat(frames, ignore_index=True)
    table = table[table.duplicated(["crc32", "nbytes"], keep=False)].reset_index(drop=True)
    table["content"] = [_content(sets[row.set], row.shard, row.offset, row.nbytes) for row in table.itertuples()]
    groups = table[table["content"] != ""].groupby("content", sort=False)
    return [
        _note([(str(sets[row.set][0]), str(row.key)) for row in group.itertuples()])
        for _, group in groups
        if len(group) > 1
    ]


def _note(images: list[tuple[str, str]]) -> Note:
    folders = dict.fromkeys(folder for folder, _ in images)
    names = [f"{key} ({folder})" if len(folders) > 1 else key for folder, key in images]
    return Note("same-bytes", f"{' and '.join(names)} have the same stored bytes", tuple(images))


def _content(of: tuple[Path, str, pa.Table], shard: int, offset: int, nbytes: int) -> str:
    folder, name, _ = of
    try:
        with (folder / tar_name(name, shard)).open("rb") as file:
            file.seek(offset)
            payload = file.read(nbytes)
    except OSError:
        return ""
    return sha256(payload).hexdigest() if len(payload) == nbytes else ""
