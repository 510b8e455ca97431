"""Files are whole or absent, whatever happens while they are written."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cxrfast.durable import whole_file, write_whole


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_whole(tmp_path: Path) -> None:
    """Missing folders are made, an older file is replaced, and nothing else stays in the folder."""
    path = tmp_path / "a" / "b" / "table.csv"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["table.csv"]


def test_an_error_leaves_the_older_file_and_nothing_more(tmp_path: Path) -> None:
    """A block that raises changes nothing that a reader can see."""
    path = tmp_path / "table.csv"
    write_whole(path, b"old")
    with pytest.raises(KeyboardInterrupt):
        _interrupted_while_writing(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["table.csv"]


def test_a_kill_leaves_the_older_file(tmp_path: Path) -> None:
    """A process killed while it writes leaves the older file; the next writer sweeps its partial one away."""
    path = tmp_path / "table.csv"
    write_whole(path, b"old")
    code = f"""
import os, signal
from pathlib import Path
from cxrfast.durable import whole_file
with whole_file(Path({str(path)!r})) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code])
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    write_whole(path, b"new")
    assert names(tmp_path) == ["table.csv"]


def _interrupted_while_writing(path: Path) -> None:
    with whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
