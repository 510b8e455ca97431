"""A report as Markdown: readable in a terminal, rendered by code hosts, with figures as links beside it.

Callouts use the hosts' alert form (`> [!WARNING]`), which is an ordinary quotation anywhere else.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote

from cxrfast.durable import write_whole
from cxrfast.evaluation.report import Beside, Block, Callout, Code, Items, Paragraph, Picture, Report, Table

_SPECIAL = re.compile(r"[\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])")
_AT_START = re.compile(r"^(?:([#+=-])(?=[\s#=-]|$)|(\d+)([.)])(?=\s|$))")


def write_markdown(report: Report, path: Path) -> Path:
    """Write the report; pictures are linked relative to `path`. Returns `path`."""
    parts = [f"# {escape(report.title)}"]
    parts += [escape(report.result)] if report.result else []
    parts += [_block(block, path.parent) for block in report.blocks]
    for section in report.sections:
        parts += [f"## {escape(section.title)}", *(_block(block, path.parent) for block in section.blocks)]
    write_whole(path, ("\n\n".join(parts) + "\n").encode())
    return path


def escape(text: str) -> str:
    """Return Markdown that renders as the text itself, on one line."""
    line = _SPECIAL.sub(lambda found: f"\\{found[0]}", " ".join(text.split()))
    return _AT_START.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", line)


def _block(block: Block, folder: Path) -> str:
    match block:
        case Paragraph(text):
            return escape(text)
        case Callout(kind, texts):
            bullet = "- " if len(texts) > 1 else ""
            return "\n".join([f"> [!{kind.upper()}]", *(f"> {bullet}{escape(text)}" for text in texts)])
        case Items(texts):
            return "\n".join(f"- {escape(text)}" for text in texts)
        case Code(text):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{fence}\n{text.rstrip()}\n{fence}"
        case Picture():
            return _picture(block, folder)
        case Table():
            return _table(block)
        case Beside(table, picture):
            return f"{_table(table)}\n\n{_picture(picture, folder)}"


def _picture(picture: Picture, folder: Path) -> str:
    link = quote(Path(os.path.relpath(picture.path, folder)).as_posix())
    caption = escape(picture.caption)
    return f"![{caption}]({link})\n\n{caption}"


def _table(table: Table) -> str:
    rules = ["--:" if numeric else ":--" for numeric in table.numeric()]
    lines = [_line([escape(name) for name in table.columns()]), _line(rules)]
    for number, row in enumerate(table.cells()):
        lines.append(_line([_mark(escape(cell), table.is_bold(number, place)) for place, cell in enumerate(row)]))
    caption = f"{escape(table.caption)}\n\n" if table.caption else ""
    return caption + "\n".join(lines)


def _mark(cell: str, bold: bool) -> str:
    return f"**{cell}**" if bold and cell else cell


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
