"""A report as one HTML file: pictures inside, no script, nothing fetched; it can be mailed, archived and printed.

Base64 makes pictures a third larger than they are; a page of three figures stays well under a megabyte. A content
policy in the page forbids any request, so that a report opened years later shows what it showed on the first day.
"""

from base64 import b64encode
from html import escape
from pathlib import Path

from cxrfast.durable import write_whole
from cxrfast.errors import EvaluationError
from cxrfast.evaluation.report import Beside, Block, Callout, Code, Items, Paragraph, Picture, Report, Table
from cxrfast.evaluation.table import TOTAL

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --faint: #5f6670; --page: #ffffff; --line: #d9dde2; --band: #f5f6f8;
  --note: #0072b2; --warning: #b34700; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6e9; --faint: #a0a7b0; --page: #16181b; --line: #383d43; --band: #202327; --note: #56b4e9;
    --warning: #f0a35e; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.5rem 4rem; max-width: 74rem; color: var(--ink); background: var(--page);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p, ul, .callout { max-width: 48rem; }
.result { font-size: 1.1rem; max-width: 60rem; }
.beside { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 2rem; align-items: start; }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
@media (prefers-color-scheme: dark) { img { padding: 10px; } }
figcaption, caption { color: var(--faint); font-size: .875rem; text-align: left; padding: .4rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { border-bottom: 2px solid var(--faint); }
th.number, td.number { text-align: right; white-space: nowrap; }
tr.total td { border-top: 2px solid var(--faint); border-bottom: 0; background: var(--band); }
.callout { margin: 1rem 0; padding: .6rem 1rem; background: var(--band); border-left: 4px solid var(--note); }
.callout ul { margin: .3rem 0; padding-left: 1.2rem; }
.callout.warning { border-color: var(--warning); }
.callout b { color: var(--note); margin-right: .4rem; }
.callout.warning b { color: var(--warning); }
pre { padding: .8rem 1rem; background: var(--band); overflow-x: auto; font-size: .85rem; line-height: 1.45; }
@media (max-width: 60rem) { .beside { grid-template-columns: minmax(0, 1fr); gap: 0; } }
@media print { @page { margin: 16mm; }
  :root { color-scheme: light; --ink: #000000; --faint: #444444; --page: #ffffff; --line: #cccccc; --band: #f5f6f8;
    --note: #0072b2; --warning: #b34700; }
  body { padding: 0; max-width: none; font-size: 10pt; } img { padding: 0; }
  .beside { grid-template-columns: minmax(0, 1fr); } .beside img { max-height: 150mm; }
  figure, tr, .callout { break-inside: avoid; } h2 { break-after: avoid; } pre { white-space: pre-wrap; } }
"""


def write_html(report: Report, path: Path) -> Path:
    """Write the report as one file. Returns `path`; raises EvaluationError where a picture cannot be read."""
    parts = [f"<h1>{escape(report.title)}</h1>"]
    parts += [f'<p class="result">{_text(report.result)}</p>'] if report.result else []
    parts += [_block(block) for block in report.blocks]
    for section in report.sections:
        blocks = "\n".join(_block(block) for block in section.blocks)
        parts.append(f"<section>\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>")
    write_whole(path, _page(report.title, "\n".join(parts)).encode())
    return path


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_text(text)}</p>"
        case Callout(kind, texts):
            body = _text(texts[0]) if len(texts) == 1 else _list(texts)
            return f'<div class="callout {kind}"><b>{kind.capitalize()}</b> {body}</div>'
        case Items(texts):
            return _list(texts)
        case Code(text):
            return f"<pre><code>{escape(text.rstrip())}</code></pre>"
        case Picture():
            return _picture(block)
        case Table():
            return _table(block)
        case Beside(table, picture):
            return f'<div class="beside">{_table(table)}{_picture(picture)}</div>'


def _list(texts: tuple[str, ...]) -> str:
    return "<ul>" + "".join(f"<li>{_text(text)}</li>" for text in texts) + "</ul>"


def _text(text: str) -> str:
    # A value and its half-width stay on one line.
    return escape(text).replace(" ± ", "&nbsp;±&nbsp;")


def _picture(picture: Picture) -> str:
    try:
        content = b64encode(picture.path.read_bytes()).decode()
    except OSError as error:
        raise EvaluationError(
            f"the report's figure {picture.path} cannot be read ({error.strerror}); draw it first"
        ) from error
    caption = escape(picture.caption)
    return (
        f'<figure><img src="data:image/png;base64,{content}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    classes = [' class="number"' if numeric else "" for numeric in table.numeric()]
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(table.columns(), classes, strict=True))
    rows = []
    for number, cells in enumerate(table.cells()):
        texts = [_mark(_text(cell), table.is_bold(number, place)) for place, cell in enumerate(cells)]
        kind = ' class="total"' if cells and cells[0] == TOTAL else ""
        rows.append(f"<tr{kind}>" + "".join(f"<td{c}>{t}</td>" for t, c in zip(texts, classes, strict=True)) + "</tr>")
    body = "\n".join(rows)
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _mark(cell: str, bold: bool) -> str:
    return f"<strong>{cell}</strong>" if bold else cell
