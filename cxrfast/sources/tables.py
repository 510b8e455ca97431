"""A release's label file as a table of texts by column name: read once, complained of in one way.

Every cell stays the text that was released (blank is missing), since what a number means, and which numbers are wrong,
is the set's own matter. The price is a second pass over columns of numbers, some milliseconds a column of 100,000 rows.
"""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrfast.errors import SourceError

_LONGEST_ROW = 65_536  # bytes


def read_csv(path: Path, *, needed: Sequence[str] = ()) -> pd.DataFrame:
    """Return a csv's rows as texts, stripped, blank ones missing; a column whose header is empty is left out.

    Raises SourceError where the file is no table, a row has more or fewer cells than the header, a cell holds a line
    end, two columns have one name, or a needed column is absent. A last row that is short is `cut_off`'s to tell.
    """
    _check_shape(path)
    try:
        rows = pd.read_csv(
            path, dtype="str", encoding="utf-8-sig", skipinitialspace=True, keep_default_na=False, index_col=False
        )
    except ValueError as error:  # pandas' parser errors are ValueErrors
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


def _check_shape(path: Path) -> None:
    """Raise SourceError where pandas would fill up, cut or join rows in silence, and so move labels."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:
            raise SourceError(f"{path} holds NUL bytes, from byte {content.index(0)}: a torn download? Fetch it again")
        reader = csv.reader(StringIO(text, newline=""), skipinitialspace=True)
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        _check_rows(path, reader, header)
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read as a table: {error}") from error


def _check_header(path: Path, header: list[str]) -> None:
    twice = [name for number, name in enumerate(header) if name and name in header[:number]]
    if twice:
        raise SourceError(f"{path} has the column {twice[0]!r} twice; remove or rename one of them")


def _check_rows(path: Path, reader: Any, header: list[str]) -> None:  # noqa: ANN401 - csv's reader has no public type
    """See that each row is one line of the header's width; a header may end with a comma that rows do not have."""
    widths = {0, len(header), len(header) - (header[-1:] == [""])}
    before, odd = reader.line_num, None
    for cells in reader:
        line = before + 1
        if odd is not None:
            raise odd
        if reader.line_num != line:
            raise SourceError(f"{path}, line {line}: a cell goes on over a line end; is a quote missing or too many?")
        if len(cells) not in widths:
            odd = SourceError(f"{path}, line {line}: {len(cells)} cells, but the header has {len(header)}")
            if len(cells) > len(header):
                raise odd
        before = reader.line_num


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
    try:
        return next(csv.reader([line.decode("utf-8", "replace").strip()]), [])
    except csv.Error:  # line ends of another kind
        return []


def numbers(rows: pd.DataFrame, name: str, path: Path, *, among: Sequence[float] | None = None) -> "pd.Series[float]":
    """Return a column of `read_csv` as float32, blank as NaN; `among`: the numbers that may stand there.

    Raises SourceError naming file, line and text where a cell is another thing.
    """
    values = pd.to_numeric(rows[name], errors="coerce").astype(np.float32)
    wrong = values.isna() & rows[name].notna()
    wrong |= np.isinf(values)
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
