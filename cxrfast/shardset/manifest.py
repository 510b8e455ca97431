"""The manifest: one parquet table a set, so that any subset is a query and no tar is read to choose rows.

It repeats what the samples' own JSON says (about 100 bytes an image after compression); in return a set of a million
images opens in a second, and a reader goes straight to a payload by shard, offset and length.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cxrfast.labels import PREFIX, VOTES_PREFIX

# What a source says of an image.
RECORD_TYPES: dict[str, pa.DataType] = {
    "key": pa.string(),
    "path": pa.string(),
    "dataset": pa.string(),
    "patient": pa.string(),
    "study": pa.string(),
    "projection": pa.string(),
    "view_position": pa.string(),
    "sex": pa.string(),
    "age": pa.float32(),
    "release_split": pa.string(),
}
# Where packing put it. Offsets count from the tar's first byte; `crc32` is of the image payload, `sample_*` run from
# the sample's first header to its last padding; sizes are in pixels, stored and as released.
STORED_TYPES: dict[str, pa.DataType] = {
    "shard": pa.int32(),
    "offset": pa.int64(),
    "nbytes": pa.int32(),
    "crc32": pa.uint32(),
    "sample_offset": pa.int64(),
    "sample_nbytes": pa.int32(),
    "sample_crc32": pa.uint32(),
    "width": pa.int32(),
    "height": pa.int32(),
    "source_width": pa.int32(),
    "source_height": pa.int32(),
}
_GROUP_ROWS = 1 << 17  # so that writing takes a part of the table's memory again, not the whole
# Nearly every value stands once, so a dictionary of them would cost time and memory and save nothing.
_UNLIKE = {"key", "path", "study", "offset", "nbytes", "crc32", "sample_offset", "sample_nbytes", "sample_crc32"}


def annotation_columns(table: pd.DataFrame) -> list[str]:
    """Return the `label.*` columns, then the `votes.*` columns, each in the table's order."""
    return [column for prefix in (PREFIX, VOTES_PREFIX) for column in table.columns if column.startswith(prefix)]


def schema_of(table: pd.DataFrame) -> pa.Schema:
    """Return the arrow schema of a manifest with the annotation columns of `table`."""
    annotations = dict.fromkeys(annotation_columns(table), pa.float32())
    return pa.schema({**RECORD_TYPES, **annotations, **STORED_TYPES}.items())


def manifest_bytes(table: pd.DataFrame) -> bytes:
    """Return rows as a parquet file, columns in the schema's order; the same rows and pyarrow give the same bytes.

    Raises KeyError where a column is absent, and pyarrow's errors where a value does not fit its type.
    """
    return parquet_bytes(schema_of(table), len(table), lambda start, stop: table.iloc[start:stop])


def records_bytes(table: pd.DataFrame) -> bytes:
    """Return a record table, what a source says and nothing of packing, as a parquet file."""
    schema = pa.schema([field for field in schema_of(table) if field.name not in STORED_TYPES])
    return parquet_bytes(schema, len(table), lambda start, stop: table.iloc[start:stop])


def parquet_bytes(schema: pa.Schema, rows: int, piece: Callable[[int, int], pd.DataFrame]) -> bytes:
    """Return `rows` rows as a parquet file; `piece(start, stop)` gives some of them at a time, whole row groups."""
    pool = pa.default_memory_pool()
    pool.release_unused()  # what arrow keeps for later of tables that are gone would come on top of this one
    stream = pa.BufferOutputStream()
    like = [name for name in schema.names if name not in _UNLIKE]
    with pq.ParquetWriter(
        stream, schema, compression="zstd", compression_level=3, version="2.6", use_dictionary=like
    ) as file:
        for start in range(0, max(rows, 1), _GROUP_ROWS):
            table = piece(start, min(start + _GROUP_ROWS, rows))
            columns = [pa.Array.from_pandas(table[field.name], type=field.type) for field in schema]
            file.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=_GROUP_ROWS)
            del table, columns
    content: bytes = stream.getvalue().to_pybytes()
    del stream
    pool.release_unused()
    return content


def write_manifest(table: pd.DataFrame, path: Path) -> None:
    """Write `manifest_bytes` to a file."""
    path.write_bytes(manifest_bytes(table))


def read_manifest(path: Path | BinaryIO) -> pd.DataFrame:
    """Return a manifest's, or a record table's, rows as written, RangeIndex; strings are nullable, labels float32."""
    with pq.ParquetFile(path) as file:
        table = file.read()
    # Each column is freed in arrow once pandas has it, so the table is never in memory twice.
    frame: pd.DataFrame = table.to_pandas(self_destruct=True)
    return frame
