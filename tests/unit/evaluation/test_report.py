"""A report shows exactly the text it was given, in both forms, and needs nothing beside the HTML file."""

from base64 import b64decode
from html import escape as html_escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cxrfast.durable import write_whole
from cxrfast.errors import EvaluationError
from cxrfast.evaluation import Picture, Report, Table, auroc_table, compare, evaluate, write_html, write_markdown
from cxrfast.evaluation.as_markdown import escape

NASTY = """<script>alert("1")</script> & *a* _b_ `c` | [d](http://e) ![f](g) #h $i$ ~~j~~ \\k &amp; me1_b1024"""
texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Zs")) | st.sampled_from(" `*_[]<>|~$&#+-.1\\")
)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "run" / "figures" / "a plot.png"
    write_whole(path, b"\x89PNG not really")
    return path


class Reader(HTMLParser):
    """Collects what a browser would: text, tags with attributes; knows whether tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text())
    reader.close()
    assert reader.open == []
    return reader


def full(picture: Path, text: str = NASTY) -> Report:
    """Return a report that shows `text` in every kind of block."""
    report = Report(text, result=text)
    report.beside(Table(pd.DataFrame({text: [text]}), text), Picture(picture, text))
    section = report.section(text)
    section.paragraph(text)
    section.note(text)
    section.warning(text, text)
    section.items(text, text)
    section.facts({text: text})
    section.code(text)
    return report


@settings(max_examples=400, deadline=None)
@given(texts)
def test_markdown_renders_as_the_text_itself(text: str):
    """Whatever a text holds, a Markdown reader shows that text, with runs of blanks as one."""
    shown = html_escape(" ".join(text.split()), quote=False).replace('"', "&quot;")
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(escape(text))
    assert rendered == (f"<p>{shown}</p>\n" if shown else "")


def test_html_shows_the_text_itself(picture: Path, tmp_path: Path):
    """No text becomes markup: it comes back as often as it was put in, and no tag of it exists."""
    reader = read(write_html(full(picture), tmp_path / "report.html"))
    assert reader.text.count(NASTY) == 17
    assert "script" not in {tag for tag, _ in reader.tags}


def test_html_stands_alone(picture: Path, tmp_path: Path):
    """The picture is inside, and nothing points out of the file."""
    reader = read(write_html(full(picture, "plain"), tmp_path / "report.html"))
    sources = [attributes["src"] for tag, attributes in reader.tags if tag == "img"]
    assert [b64decode(source.partition(",")[2]) for source in sources] == [picture.read_bytes()]
    assert not any({"href", "srcset"} & set(attributes) for _, attributes in reader.tags)
    assert "url(" not in (tmp_path / "report.html").read_text()


def test_markdown_links_pictures_relative_to_itself(picture: Path):
    """A run folder can be moved or committed whole."""
    path = picture.parents[1] / "report.md"
    text = write_markdown(full(picture, "plain"), path).read_text()
    assert "![plain](figures/a%20plot.png)" in text


def test_markdown_table_survives_nasty_cells(picture: Path, tmp_path: Path):
    """A cell with a pipe stays one cell."""
    report = Report("t")
    report.table(pd.DataFrame({"a|b": [NASTY], "c": ["x"]}))
    text = write_markdown(report, tmp_path / "report.md").read_text()
    rendered = MarkdownIt("commonmark").enable("table").render(text)
    assert rendered.count("<td") == 2
    assert html_escape(NASTY, quote=False).replace('"', "&quot;") in rendered


def test_code_fence_outlasts_fences_in_the_code(tmp_path: Path):
    """Code that holds a fence is still one block."""
    report = Report("t")
    report.code("a\n````\nb")
    rendered = MarkdownIt().render(write_markdown(report, tmp_path / "report.md").read_text())
    assert rendered.count("<pre>") == 1
    assert "````" in rendered


def test_cells():
    """Thousands have separators, fractions three places, missing values a dash; a format of one's own wins."""
    frame = pd.DataFrame({"n": [12345, 6], "x": [0.12345, np.nan], "p": [0.5, 0.25], "ok": [True, False]})
    table = Table(frame, formats={"p": ".1%"})
    assert table.cells() == [["12,345", "0.123", "50.0%", "True"], ["6", "–", "25.0%", "False"]]
    assert table.numeric() == [True, True, True, False]


def test_auroc_table_is_bold_where_significant(tmp_path: Path):
    """The printed table marks significant cells of other models and no others, in both forms."""
    rng = np.random.default_rng(0)
    labels = np.zeros((80, 3))
    for column, positives in enumerate((40, 20, 2)):
        labels[:positives, column] = 1
    noise = rng.normal(size=labels.shape)
    models = [evaluate(noise + lift * labels, labels, ("A", "B", "C"), model=f"M{lift}") for lift in (0, 3)]
    comparison = compare(*models)
    table = auroc_table(comparison)
    assert table.columns() == ["Class", "Positives", "M0", "M3"]
    bold = [[table.is_bold(row, column) for column in range(4)] for row in range(4)]
    assert bold == [[False, False, False, marked] for marked in (True, True, False, True)]
    report = Report("t")
    report.table(table)
    assert write_markdown(report, tmp_path / "r.md").read_text().count("**") == 6
    assert write_html(report, tmp_path / "r.html").read_text().count("<strong>") == 3


def test_auroc_table_of_one_class_has_no_total():
    """The total of one class is that class."""
    labels = np.repeat([[0.0], [1.0]], 20, axis=0)
    evaluation = evaluate(np.arange(40.0)[:, None], labels, ("A",), replicates=20)
    assert auroc_table(compare(evaluation)).frame["Class"].tolist() == ["A"]


def test_no_empty_callouts(tmp_path: Path):
    """`warning(*provisos(...))` with nothing to say adds nothing."""
    report = Report("t")
    report.warning()
    report.note()
    assert write_markdown(report, tmp_path / "r.md").read_text() == "# t\n"


def test_a_missing_figure_is_named(tmp_path: Path):
    """The message gives the path, and no half report is left."""
    report = Report("t")
    report.picture(tmp_path / "absent.png", "c")
    with pytest.raises(EvaluationError, match=r"absent\.png"):
        write_html(report, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path):
    """Where the new file cannot take its place, the old one stays whole and no temporary is left."""
    (tmp_path / "table.csv").mkdir()
    (tmp_path / "table.csv" / "old").write_text("old")
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "table.csv", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]
    write_whole(tmp_path / "b.csv", b"1")
    write_whole(tmp_path / "b.csv", b"2")
    assert (tmp_path / "b.csv").read_bytes() == b"2"
