"""Write a release's files: all of it or nothing, and never into another one.

Everything is written into `NAME.unfinished` beside the place and renamed at the end, so a killed run leaves no folder
that looks like a release; what it leaves is dropped by the next run, since drawing anew is cheaper than telling a half
from a whole. Nothing is synced to disk for the same reason. A release that stands is compared by its tables, the
presence of its files and its first image, in a fraction of a second, not drawn again.

Every release says at its top, in `SYNTHETIC.txt`, what it is: a folder with the name of a real set may go astray.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cxrfast.errors import SourceError

Progress = Callable[[int], None]
Drawing = Callable[[], bytes]

MARK = "SYNTHETIC.txt"
_MARK_TEXT = (
    b"The images in this folder were drawn by `cxrfast-shard phantom` and stand for no patient; their labels follow "
    b"from what was drawn, and nothing that is measured on them says anything about real radiographs.\n"
)


def write_files(
    folder: Path,
    tables: Mapping[str, bytes],
    images: Mapping[str, Drawing],
    *,
    copies: Mapping[str, str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a release and return `folder`; where it stands already, complete and the same, only look at it.

    `tables`: file contents by path relative to `folder`; `images`: for each path a function that draws and encodes the
    file; `copies`: paths of further copies of images, and of which. `workers`: threads (None: CPUs that this process
    may use); they change no byte. `progress`: called with how many more images are done. SourceError where `folder`
    holds anything else or cannot be written.
    """
    report, copies = progress or (lambda done: None), copies or {}
    tables = {MARK: _MARK_TEXT, **tables}
    if folder.exists():
        _check_same(folder, tables, images, copies)
        report(len(images))
        return folder
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    try:
        _make_folders(unfinished, (*tables, *images, *copies))
        with ThreadPoolExecutor(workers or _cpus()) as pool:
            for _ in pool.map(lambda path: (unfinished / path).write_bytes(images[path]()), images):
                report(1)
        for path, content in tables.items():
            (unfinished / path).write_bytes(content)
        for path, original in copies.items():
            shutil.copyfile(unfinished / original, unfinished / path)
        unfinished.rename(folder)
    except OSError as error:
        raise SourceError(
            f"cannot write a phantom at {folder}: {error}; choose a folder that can be written and has room"
        ) from error
    return folder


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make_folders(folder: Path, paths: Iterable[str]) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    for parent in sorted({(folder / path).parent for path in paths}):
        parent.mkdir(parents=True, exist_ok=True)


def check_enough(title: str, images: int, least: int) -> None:
    """Raise SourceError where a release of so few images could not show each of the set's habits."""
    if images < least:
        raise SourceError(
            f"a phantom of {images} images has no room for the habits of {title}; ask for at least {least}"
        )


def _check_same(
    folder: Path, tables: Mapping[str, bytes], images: Mapping[str, Drawing], copies: Mapping[str, str]
) -> None:
    """Raise SourceError where the folder is not what `write_files` would have written."""
    first = next(iter(images))
    expected = {**tables, first: images[first]()}
    problem = next(
        (f"its {path} is not of this phantom" for path in expected if not _holds(folder / path, expected[path])), None
    )
    if problem is None:
        files = [*images, *copies]
        absent = [path for path in files if not (folder / path).is_file()]
        problem = f"{len(absent)} of {len(files)} images are missing, such as {absent[0]}" if absent else None
    if problem:
        raise SourceError(
            f"{folder} already holds another or an unfinished release: {problem}. "
            "Choose another folder, or remove this one, or ask for the same images and seed as before."
        )


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
