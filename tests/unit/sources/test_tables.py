"""Label files as texts: whatever a release's csv looks like, the same rows or one clear refusal."""

import re

import numpy as np
import pytest

from cxrfast.errors import SourceError
from cxrfast.sources.tables import cut_off, numbers, read_csv, read_lines, refuse


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,x y\n,z\n",
        "\ufeffa,b\r\n1,x y\r\n,z\r\n",
        " a , b\n 1 , x y \n  ,z",
        "b,a\nx y,1\nz,\n",
        "a,b,\n1,x y\n,z\n",  # a trailing comma in the header alone
        "a,b,\n1,x y,\n,z,\n",
    ],
)
def test_one_table_however_it_is_written(tmp_path, text):
    """Byte-order marks, line ends, spaces, column order and trailing commas change nothing."""
    rows = read_csv(write(tmp_path / "t.csv", text), needed=("a", "b"))
    assert set(rows.columns) == {"a", "b"}
    assert rows["b"].tolist() == ["x y", "z"]
    assert numbers(rows, "a", tmp_path).tolist()[0] == 1
    assert rows["a"].isna().tolist() == [False, True]


@pytest.mark.parametrize("text", ["None,1\n", "NA,1\n", "nan,1\n"])
def test_words_that_look_missing_are_texts(tmp_path, text):
    """Only a blank cell is missing: a class may be called None, and nan is no number that was released."""
    rows = read_csv(write(tmp_path / "t.csv", "a,b\n" + text))
    assert rows["a"].tolist() == [text.split(",")[0]]
    with pytest.raises(SourceError, match=r"t\.csv, line 2: a is"):
        numbers(rows, "a", tmp_path / "t.csv")


@pytest.mark.parametrize("text", ["", "a,b\n1,2,3\n", "a,b\n1,2\n1,2,3\n", 'a,b\n"1,2\n'])
def test_what_is_no_table_is_refused(tmp_path, text):
    """Empty files, rows wider than the header and open quotes are errors that name the file."""
    with pytest.raises(SourceError, match=r"t\.csv"):
        read_csv(write(tmp_path / "t.csv", text), needed=("a", "b"))


def test_another_encoding_and_absent_columns_are_refused(tmp_path):
    """UTF-16 cannot be read; an absent column is named beside those that are there."""
    with pytest.raises(SourceError, match="cannot be read"):
        read_csv(write(tmp_path / "t.csv", "a,b\n1,2\n", encoding="utf-16"))
    with pytest.raises(SourceError, match="no column 'c', 'd'; its columns: a, b"):
        read_csv(write(tmp_path / "t.csv", "a,b\n1,2\n"), needed=("a", "c", "d"))


def test_numbers_outside_their_set_are_named_by_line(tmp_path):
    """The file's own line is told, the header being line 1."""
    rows = read_csv(write(tmp_path / "t.csv", "a\n1\n-1\n0\n\n2\n"), needed=("a",))
    assert numbers(rows, "a", tmp_path).tolist()[:3] == [1, -1, 0]
    with pytest.raises(SourceError, match=r"a is '2', not 1, 0, -1 or blank"):
        numbers(rows, "a", tmp_path, among=(1, 0, -1))
    assert numbers(rows, "a", tmp_path).dtype == np.float32


@pytest.mark.parametrize("header", ["a,b,c\n", "a,b,c,\n", '\ufeffa,"b, d",c\r\n'])
def test_a_row_that_was_cut_off_is_told(tmp_path, header):
    """Wherever the file ends inside its last row but the last cell, however its header and line ends are."""
    whole = header + '1,2,3\n4,"5, 6",7\n'
    start = whole.rindex("\n", 0, -1) + 1
    for end in range(start, len(whole) + 1):
        last = whole[start:end]
        cells = re.sub('"[^"]*"?', "", last).count(",") + 1
        found = cut_off(write(tmp_path / "t.csv", whole[:end]))
        if not last or cells == 3:
            assert found == []
        else:
            assert found == [f"t.csv ends inside its last row ({cells} of 3 cells): an unfinished download?"]


def test_a_long_table_is_judged_by_its_end_alone(tmp_path):
    """Also where the last row lies beyond the first bytes that are read from the end."""
    text = "a,b\n" + "1,2\n" * 50_000
    assert cut_off(write(tmp_path / "t.csv", text)) == []
    assert len(cut_off(write(tmp_path / "t.csv", text + "1"))) == 1
    assert cut_off(write(tmp_path / "t.csv", "a,b\n")) == []
    assert cut_off(write(tmp_path / "t.csv", "a,b")) == []


def test_blank_cells_are_named_as_such(tmp_path):
    """What is wrong with a cell is told by file, line and text; nothing wrong passes."""
    rows = read_csv(write(tmp_path / "t.csv", "a,b\nx,1\n,2\n"), needed=("a",))
    refuse(rows, "a", tmp_path / "t.csv", rows["a"] == "y", "a letter")
    with pytest.raises(SourceError, match=r"t\.csv, line 3: a is blank, not a letter"):
        refuse(rows, "a", tmp_path / "t.csv", rows["a"].isna(), "a letter")


@pytest.mark.parametrize("text", ["a/b.png\nc.png", "\ufeffa\\b.png\r\n\r\n c.png \r\n", "\n\na/b.png\nc.png\n\n"])
def test_one_list_however_it_is_written(tmp_path, text):
    """Byte-order marks, line ends, blank lines and the other slash change nothing."""
    assert read_lines(write(tmp_path / "l.txt", text)) == ["a/b.png", "c.png"]


def test_a_list_that_is_no_text_is_refused(tmp_path):
    """UTF-16, or an image by mistake."""
    with pytest.raises(SourceError, match=r"l\.txt cannot be read as a list"):
        read_lines(write(tmp_path / "l.txt", "a.png", encoding="utf-16"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,c\n1,2,3\n1,2\n4,5,6\n", "line 3: 2 cells, but the header has 3"),
        ("a,b,\n1\n1,2\n", "line 2: 1 cells"),
        ("a,b\n1,2,3\n4,5\n", "line 2: 3 cells"),
        ('a,b\n"1,2\n3",4\n5,6\n', "line 2: a cell goes on over a line end"),
        ("a,b\n1,\0\0\n", "NUL bytes, from byte 6"),
        ("a,b,a\n1,2,3\n", "column 'a' twice"),
        ("a,b\n1,inf\n", "b is 'inf', not a number"),
    ],
)
def test_rows_that_would_move_labels_in_silence_are_refused(tmp_path, text, words):
    """Short and long rows, rows joined by a quote, holes, doubled columns: each by file, line and what is wrong."""
    path = write(tmp_path / "t.csv", text)
    with pytest.raises(SourceError, match=rf"t\.csv.*{words}"):
        numbers(read_csv(path), "b", path)


def test_line_ends_of_every_kind_and_a_short_last_row_are_read(tmp_path):
    """CR alone too; a last row that is cut off is told of by `cut_off`, and read with blanks."""
    for end in ("\n", "\r\n", "\r"):
        path = write(tmp_path / "t.csv", end.join(["a,b", "1,2", "", "3,4", ""]))
        assert read_csv(path)["b"].tolist() == ["2", "4"]
        assert cut_off(path) == []
    assert read_csv(write(tmp_path / "t.csv", "a,b\n1,2\n3"))["b"].isna().tolist() == [False, True]
