import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrfast.shardset import manifest


def table(count=5):
    """Return rows with missing texts, missing numbers and a label whose name has a slash."""
    numbers = {name: np.arange(count) for name in manifest.STORED_TYPES}
    texts = {name: [f"{name}{n}" if n % 2 else None for n in range(count)] for name in manifest.RECORD_TYPES}
    labels = {"votes.Nodule/Mass": np.arange(count) % 4, "label.Nodule/Mass": [1, 0, -1, np.nan, 1]}
    return pd.DataFrame({**numbers, **labels, **texts, "age": [60.0, np.nan, 0.0, 1.0, 2.0]})


def test_rows_come_back_as_written_in_the_documented_columns(tmp_path):
    """Columns stand in the documented order and types; missing stays missing and labels keep -1, 0, 1 and NaN."""
    manifest.write_manifest(table(), tmp_path / "m.parquet")
    back = manifest.read_manifest(tmp_path / "m.parquet")
    labels = ["label.Nodule/Mass", "votes.Nodule/Mass"]
    assert list(back.columns) == [*manifest.RECORD_TYPES, *labels, *manifest.STORED_TYPES]
    types = {field.name: field.type for field in pq.read_schema(tmp_path / "m.parquet")}
    assert {name: types[name] for name in manifest.STORED_TYPES} == manifest.STORED_TYPES
    assert back["key"].isna().tolist() == [True, False, True, False, True]
    np.testing.assert_array_equal(back["label.Nodule/Mass"], np.float32([1, 0, -1, np.nan, 1]))
    assert back["crc32"].dtype == np.uint32


def test_the_same_rows_give_the_same_bytes():
    """Column order and index of the table handed in leave no trace in the file."""
    rows = table()
    shuffled = rows[sorted(rows.columns)].set_axis(range(10, 15))
    assert manifest.manifest_bytes(rows) == manifest.manifest_bytes(shuffled)


@pytest.mark.parametrize("value", [2**32, -1])
def test_a_value_outside_its_type_is_an_error(value):
    """A checksum that does not fit is never wrapped round."""
    with pytest.raises((pa.ArrowInvalid, OverflowError)):
        manifest.manifest_bytes(table().assign(crc32=np.full(5, value)))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_manifest_is_written_in_groups_of_rows(monkeypatch, tmp_path, rows):
    """Whatever the size of a group, all rows come back in order, and pieces give the bytes of the whole table."""
    monkeypatch.setattr(manifest, "_GROUP_ROWS", rows)
    schema = manifest.schema_of(table())
    manifest.write_manifest(table(), tmp_path / "m.parquet")
    asked = []

    def piece(start, stop):
        asked.append((start, stop))
        return table().iloc[start:stop]

    assert manifest.parquet_bytes(schema, 5, piece) == (tmp_path / "m.parquet").read_bytes()
    assert all(stop - start <= rows for start, stop in asked)
    assert manifest.read_manifest(tmp_path / "m.parquet")["offset"].tolist() == list(range(5))
