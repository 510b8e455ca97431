"""A report as data: titled sections of paragraphs, callouts, tables and pictures, written as Markdown and as HTML.

A template engine would do more and be one more dependency and one more place to forget an escape. A report needs few
kinds of block; here a caller gives plain text and data frames, never markup, and each writer escapes all of it, so that
a class called `a<b` or a path with underscores comes out as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from cxrfast.evaluation.comparison import Comparison
from cxrfast.evaluation.wording import plus_minus


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Callout:
    """Sentences set apart."""

    kind: Literal["note", "warning"]
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Items:
    """A bulleted list."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Text shown as it is: a command, a configuration."""

    text: str


@dataclass(frozen=True)
class Picture:
    """A PNG file. `path` is read when the report is written as HTML, and linked from Markdown."""

    path: Path
    caption: str


@dataclass(frozen=True, eq=False)
class Table:
    """A data frame, without its index.

    `formats`: column -> format specification (".3f"); else whole numbers get thousands separators and fractions three
    places. Missing values print as a dash. `bold`: a bool frame of the same columns and rows, or a subset of them.
    """

    frame: pd.DataFrame
    caption: str = ""
    formats: Mapping[str, str] = field(default_factory=dict)
    bold: pd.DataFrame | None = None

    def columns(self) -> list[str]:
        """Return the header."""
        return [str(column) for column in self.frame.columns]

    def cells(self) -> list[list[str]]:
        """Return the formatted text of each cell, row by row."""
        columns = [
            [_cell(value, self.formats.get(str(name))) for value in self.frame[name]] for name in self.frame.columns
        ]
        return [list(row) for row in zip(*columns, strict=True)]

    def is_bold(self, row: int, column: int) -> bool:
        """Tell whether a cell, by position, is bold."""
        name, label = self.frame.columns[column], self.frame.index[row]
        return self.bold is not None and name in self.bold and bool(self.bold[name].get(label, False))

    def numeric(self) -> list[bool]:
        """Tell for each column whether it holds numbers, and so is set flush right."""
        return [all(row[place][:1] in "0123456789+-–" for row in self.cells()) for place in range(self.frame.shape[1])]


@dataclass(frozen=True, eq=False)
class Beside:
    """A table and a picture, side by side where the page is wide enough."""

    table: Table
    picture: Picture


Block = Paragraph | Callout | Items | Code | Picture | Table | Beside


@dataclass
class Section:
    """A title and blocks, added in order by the methods."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    def paragraph(self, text: str) -> None:
        """Add running text."""
        self.blocks.append(Paragraph(text))

    def note(self, *texts: str) -> None:
        """Add a note of these sentences."""
        self.blocks += [Callout("note", texts)] if texts else []

    def warning(self, *texts: str) -> None:
        """Add a warning of these sentences; `section.warning(*provisos(comparison))` adds none where there are none."""
        self.blocks += [Callout("warning", texts)] if texts else []

    def items(self, *texts: str) -> None:
        """Add a bulleted list."""
        self.blocks.append(Items(texts))

    def code(self, text: str) -> None:
        """Add text shown as it is."""
        self.blocks.append(Code(text))

    def picture(self, path: Path, caption: str) -> None:
        """Add a PNG file."""
        self.blocks.append(Picture(path, caption))

    def table(self, table: Table | pd.DataFrame, caption: str = "") -> None:
        """Add a table, or a frame as one."""
        self.blocks.append(table if isinstance(table, Table) else Table(table, caption))

    def facts(self, facts: Mapping[str, object], caption: str = "") -> None:
        """Add a table of two columns, such as settings and their values."""
        frame = pd.DataFrame({"Setting": list(facts), "Value": [str(value) for value in facts.values()]})
        self.blocks.append(Table(frame, caption))

    def beside(self, table: Table, picture: Picture) -> None:
        """Add a table with a picture at its side."""
        self.blocks.append(Beside(table, picture))


@dataclass
class Report(Section):
    """What a reader sees first (`title`, `result`, then the report's own blocks), and sections after it."""

    result: str = ""
    sections: list[Section] = field(default_factory=list)

    def section(self, title: str) -> Section:
        """Begin a section and return it."""
        self.sections.append(Section(title))
        return self.sections[-1]


def auroc_table(comparison: Comparison, caption: str = "") -> Table:
    """Return the printed table: "0.744 ± 0.065" for each class and model, bold where the shift is significant.

    Notes are left to `provisos`, which says them once for all models; one class alone gets no Total, its equal.
    """
    table = comparison.table if len(comparison.baseline.targets) > 1 else comparison.table.iloc[:-1]
    frame = pd.DataFrame({"Class": table["class"], "Positives": table["positives"]})
    bold = pd.DataFrame(index=frame.index)
    for evaluation in comparison.evaluations:
        prefix = f"{comparison.prefix(evaluation)}."
        frame[evaluation.model] = [plus_minus(row, prefix) for _, row in table.iterrows()]
        if evaluation is not comparison.baseline:
            bold[evaluation.model] = table[f"{prefix}significant"].fillna(False).astype(bool)
    return Table(frame, caption, bold=bold)


def _cell(value: object, specification: str | None) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "–"
    if specification is not None:
        return format(value, specification)
    if isinstance(value, float):
        return f"{value:.3f}"
    # A bool is an int in Python, and would print as such with a separator.
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
