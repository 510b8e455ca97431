"""What a folder is, where it is not the release that it was said to be: as far as a short look tells.

A user who mistypes waits for this, so it looks at no more than some thousands of names near the top and opens no file.
It knows a set by the `signs` of its source, patterns of paths that no other set has; a wrong guess costs the user a
second, so it is worded as one.
"""

import os
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from cxrfast.sources.base import Source, find, names

_DEPTH = 5
_PER_FOLDER = 100
_IN_ALL = 3000
_ARCHIVE = re.compile(r"\.(zip|rar|7z|tar|tgz|tar\.(gz|bz2|xz|zst)|(zip|7z|tar)\.\d{3})$", re.IGNORECASE)


def not_a_folder(source: Source, src: Path) -> str:
    """Return what to say of a path that is no folder: an archive, another file, a link to nothing, or nothing."""
    give = f"give the folder into which {source.title} was unpacked"
    if src.is_symlink() and not src.exists():
        there = src.readlink()
        return f"{src} is not a folder but a link to {there}, where nothing is: is its disk mounted? Else {give}"
    if src.exists() and _ARCHIVE.search(src.name):
        return f"{src} is not a folder but an archive: unpack it first (with room for all of it), then {give}"
    return f"{src} is not a folder{'' if src.exists() else ': there is nothing of that name'}; {give}"


def hints(source: Source, src: Path) -> list[str]:
    """Return sentences on what a folder may be in which `source` was not found."""
    seen = list(islice(_breadth_first(src), _IN_ALL))
    if not seen:
        return ["It is empty: has the download ended, and is the right disk mounted?"]
    archives = [path for path in seen if _ARCHIVE.search(path)]
    if archives:
        first = archives[0].partition("/")[2]
        return [f"It holds archives that are not unpacked, such as {first}: unpack them first."]
    if sign := _sign_of(source, seen):
        return [
            f"It has names of {source.title} ({sign}) but not the rest: if it is a folder inside the release, give the "
            f"one above it, {src.resolve().parent}."
        ]
    others = [find(name) for name in names() if name != source.name]
    return [
        f"It looks like {other.title} instead ({sign}): use {other.name} in place of {source.name}."
        for other in others
        if (sign := _sign_of(other, seen))
    ]


def _sign_of(source: Source, seen: list[str]) -> str | None:
    """Return the first of the names seen that is a sign of the set."""
    patterns = [re.compile(sign) for sign in source.signs]
    return next((path for path in seen for pattern in patterns if pattern.search(path)), None)


def _breadth_first(src: Path) -> Iterator[str]:
    """Yield paths near the top, the nearest first, each beginning with the folder's own name."""
    pending = deque([(src, src.resolve().name, 1)])
    while pending:
        folder, said, depth = pending.popleft()
        try:
            with os.scandir(folder) as found:
                entries = sorted(islice(found, _PER_FOLDER), key=lambda entry: entry.name)
        except OSError:  # a hint is worth no second error
            continue
        for entry in entries:
            if not entry.name.startswith("."):
                yield f"{said}/{entry.name}"
                if depth < _DEPTH and entry.is_dir():
                    pending.append((Path(entry.path), f"{said}/{entry.name}", depth + 1))
