"""Files that are whole or absent: what a killed process leaves behind must never look finished.

A flush to the disk a file costs milliseconds, and without it a rename can outlive the content that it was to publish.
Used for what is written once and believed later (checkpoints, tables, plans, manifests), not for logs.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears as `path` only once the block has ended well and all of it is on disk.

    Until then it is `.NAME.partial` in the same folder, which is made where it is missing; a block that raises leaves
    nothing, a process that is killed leaves the partial file, which the next writer replaces.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Write bytes as a whole file; see `whole_file`."""
    with whole_file(path) as file:
        file.write(content)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
