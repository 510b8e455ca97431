import io

import pytest
import torch
from rich.console import Console

from cxrfast.learning.progress import ConsoleProgress, Mark, duration, stage


def run(console, *, seconds=0.0):
    progress = ConsoleProgress(console, line_seconds=seconds, bar_seconds=seconds)
    with stage(progress, "pretext"):
        for batch in (1, 2, 3):
            progress.step(Mark("train", 1, 2, batch, 3, 8 * batch, torch.tensor(0.5)))
        progress.say("epoch 1/2 done")


def test_lines_show_where_there_is_no_terminal():
    """Without a terminal plain lines carry stage, epoch, batch, loss, speed and time left, without control codes."""
    text = io.StringIO()
    run(Console(file=text, force_terminal=False))
    lines = text.getvalue().splitlines()
    assert len(lines) == 4
    for words in ("pretext: epoch 1/2", "train 3/3", "loss 0.5000", "images/s", "left"):
        assert words in lines[2]
    assert lines[3] == "pretext: epoch 1/2 done"
    assert "\x1b" not in text.getvalue()


def test_the_loss_is_read_only_when_something_is_drawn():
    """Between two drawings the loss is not touched, so a GPU need not stop for it."""

    class Untouchable:
        def __float__(self):
            raise AssertionError("read")

    progress = ConsoleProgress(Console(file=io.StringIO(), force_terminal=False), line_seconds=1e9)
    with stage(progress, "fit"):
        for batch in range(1, 100):
            progress.step(Mark("train", 1, 1, batch, 99, batch, Untouchable()))


def test_a_terminal_gets_a_bar_that_is_gone_after_an_error():
    """On a terminal the same facts stand beside a bar, and an error closes it."""
    text = io.StringIO()
    run(Console(file=text, force_terminal=True, width=120))
    assert "pretext" in text.getvalue()
    assert "epoch 1/2 done" in text.getvalue()
    progress = ConsoleProgress(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(RuntimeError), stage(progress, "fit"):
        raise RuntimeError
    assert progress._bar is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (250, "4 min 10 s"), (3600, "1 h 00 min"), (7380, "2 h 03 min")]
)
def test_durations_read_as_people_say_them(seconds, text):
    """Seconds, then minutes and seconds, then hours and minutes."""
    assert duration(seconds) == text
