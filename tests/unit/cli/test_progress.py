"""Progress: lines where there is no terminal, a bar where there is one."""

import pytest

from cxrfast.cli.progress import Counting, duration


def test_without_a_terminal_there_are_plain_lines(capsys):
    """The first and the last count are always told; nothing goes to stdout."""
    with Counting("packing", live=False) as progress:
        for done in range(0, 1001, 10):
            progress(done, 1000, 3, done * 1000, done * 100)
    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert output.out == ""
    assert lines[0] == "packing: 0 of 1,000 images"
    assert lines[-1].startswith("packing: 1,000 of 1,000 images, ")
    assert len(lines) < 50
    for part in ("images/s", "MB/s in", "MB/s out", "3 rejected"):
        assert part in lines[-1]


def test_a_resumed_run_is_not_credited_with_earlier_images(capsys):
    """Rates count what this run did: nothing yet at its first call."""
    with Counting("packing", live=False) as progress:
        progress(900, 1000)
    assert capsys.readouterr().err == "packing: 900 of 1,000 images\n"


def test_the_same_line_is_told_once(capsys):
    """A run that was complete before says so once."""
    with Counting("packing", live=False) as progress:
        progress(10, 10)
        progress(10, 10)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_terminal_gets_a_bar(capsys):
    """Drawn on stderr, and gone to its end however often it was called."""
    with Counting("drawing", live=True) as progress:
        for done in range(51):
            progress(done, 50)
    output = capsys.readouterr()
    assert output.out == ""
    assert "50 of 50 images" in output.err


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7900, "2 h 11 min")],
)
def test_durations_are_said_as_people_do(seconds, said):
    """Two units at most."""
    assert duration(seconds) == said
