"""A release's label file as a table of texts by column name: read once, complained of in one way.

Every cell stays the text that was released (blank is missing), since what a number means, and which numbers are wrong,
is the set's own matter. The price is a second pass over columns of numbers, some milliseconds a column of 100,000 rows.
"""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrfast.errors import SourceError

_LONGEST_ROW = 65_536  # bytes


def read_csv(path: Path, *, needed: Sequence[str] = ()) -> pd.DataFrame:
    """Return a csv's rows as texts, stripped, blank ones missing; a column whose header is empty is left out.

    Raises SourceError where the file is no table, a row has more cells than the header, or a needed column is absent.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # it tells of rows that would be cut
            rows = pd.read_csv(
                path, dtype="str", encoding="utf-8-sig", skipinitialspace=True, keep_default_na=False, index_col=False
            )
    except (ValueError, pd.errors.ParserWarning) as error:  # pandas' other parser errors are ValueErrors
        raise SourceError(f"{path} cannot be read as a table: {error}") from error
    rows.columns = rows.columns.str.strip()
    rows = rows.loc[:, ~rows.columns.str.match(r"^(Unnamed: \d+)?$")]
    absent = [name for name in needed if name not in rows.columns]
    if absent:
        raise SourceError(
            f"{path} has no column {', '.join(map(repr, absent))}; its columns: {', '.join(rows.columns)}"
        )
    texts = {name: rows[name].str.strip() for name in rows.columns}
    return pd.DataFrame({name: text.mask(text == "") for name, text in texts.items()})


def cut_off(path: Path) -> list[str]:
    """Return a sentence where the last row of a csv has fewer cells than its header, as after a broken download.

    Its lost cells would be read as blank. A cut between two rows, or inside a last cell, shows in the counts alone.
    """
    with path.open("rb") as file:
        header = _cells(file.readline())
        file.seek(max(file.tell(), path.stat().st_size - _LONGEST_ROW))
        last = file.read().rstrip(b"\r\n").rpartition(b"\n")[2]
    while header and not header[-1].strip():  # a header may end with a comma that rows do not have
        header.pop()
    found = len(_cells(last))
    if not last or found >= len(header):
        return []
    return [f"{path.name} ends inside its last row ({found} of {len(header)} cells): an unfinished download?"]


def _cells(line: bytes) -> list[str]:
    return next(csv.reader([line.decode("utf-8", "replace").strip()]), [])


def numbers(rows: pd.DataFrame, name: str, path: Path, *, among: Sequence[float] | None = None) -> "pd.Series[float]":
    """Return a column of `read_csv` as float32, blank as NaN; `among`: the numbers that may stand there.

    Raises SourceError naming file, line and text where a cell is another thing.
    """
    values = pd.to_numeric(rows[name], errors="coerce").astype(np.float32)
    wrong = values.isna() & rows[name].notna()
    if among is not None:
        wrong |= values.notna() & ~values.isin(among)
    wanted = "a number" if among is None else f"{', '.join(f'{number:g}' for number in among)} or blank"
    refuse(rows, name, path, wrong, wanted)
    return values


def refuse(rows: pd.DataFrame, name: str, path: Path, wrong: "pd.Series[bool]", wanted: str) -> None:
    """Raise SourceError naming file, line and text of the first wrong cell of a column of `read_csv`, if there is one.

    `wrong`: which rows are, (n,). `wanted`: what should stand there, in words.
    """
    if wrong.any():
        row = int(np.argmax(wrong))
        text = "blank" if pd.isna(rows[name].iloc[row]) else repr(rows[name].iloc[row])
        raise SourceError(f"{path}, line {row + 2}: {name} is {text}, not {wanted}")


def read_lines(path: Path) -> list[str]:
    """Return the lines of a list of image files, stripped, `/` between folders; blank ones are left out.

    Raises SourceError where the file is no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} cannot be read as a list of files: {error}") from error
    return [line.strip().replace("\\", "/") for line in lines if line.strip()]
