"""A few images of a release decoded before all are packed: which cannot be read, and what kinds there are.

A sample tells of damage that is common, never of a single bad file; so the share among all is given as an interval.
Images are drawn by a hash of their keys: the same ones each time, and a larger sample holds the smaller one.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

import numpy as np
import pandas as pd

from cxrfast import chance
from cxrfast.errors import ImageRejected
from cxrfast.imaging import read_gray
from cxrfast.packing.executors import in_order, processes, usable_cpus
from cxrfast.sources.headers import describe

Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Made for a stage by its verb ("decoding"); what its `with` gives is called with images done and images in all."""

_CHUNK = 16
_NORMAL_95 = 1.96
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"
_PNG_COLOURS = {0: "gray", 2: "RGB", 3: "palette", 4: "gray with alpha", 6: "RGBA"}


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be read. `code`: as of `ImageRejected`, or `unreadable` where the disk refused."""

    path: str
    code: str
    reason: str


@dataclass(frozen=True)
class Readable:
    """An image that was decoded: what it is, and its size in pixels."""

    kind: str
    width: int
    height: int


@dataclass(frozen=True)
class Trial:
    """What became of a sample. `total`: images on disk of which it was drawn; paths are relative to the release."""

    total: int
    readable: list[Readable]
    unreadable: list[Unreadable]

    @property
    def drawn(self) -> int:
        """Return how many images were tried."""
        return len(self.readable) + len(self.unreadable)

    @property
    def kinds(self) -> dict[str, int]:
        """Return how many readable images are of each kind, the most frequent first."""
        return dict(Counter(image.kind for image in self.readable).most_common())

    def sides(self, side: str) -> tuple[int, int, int] | None:
        """Return least, median and largest `width` or `height` of the readable images, None without any."""
        pixels = sorted(getattr(image, side) for image in self.readable)
        return (pixels[0], pixels[len(pixels) // 2], pixels[-1]) if pixels else None

    def share(self) -> tuple[float, float]:
        """Return the share of all images that is unreadable, as Wilson's 95 % interval; exact where all were tried."""
        bad, drawn = len(self.unreadable), self.drawn
        if drawn in (0, self.total):
            return (bad / drawn, bad / drawn) if drawn else (0.0, 1.0)
        square = _NORMAL_95**2
        centre = (bad + square / 2) / (drawn + square)
        half = _NORMAL_95 * math.sqrt(bad * (drawn - bad) / drawn + square / 4) / (drawn + square)
        return max(0.0, centre - half), min(1.0, centre + half)


@contextmanager
def silent(verb: str) -> Iterator[Callable[[int, int], None]]:
    """Count without telling anyone; see `Counting`."""
    yield lambda done, total: None


def try_images(src: Path, table: pd.DataFrame, count: int, *, counting: Counting = silent) -> Trial:
    """Decode `count` images of a record table whose files are there, on all usable CPUs."""
    paths = draw(table, count)
    jobs = [(str(src), paths[start : start + _CHUNK]) for start in range(0, len(paths), _CHUNK)]
    workers = max(1, min(usable_cpus(), len(jobs)))
    readable: list[Readable] = []
    unreadable: list[Unreadable] = []
    with counting("decoding") as progress, processes(workers) as pool:
        progress(0, len(paths))
        for outcomes in in_order(pool, _try, jobs, window=4 * workers):
            readable += [image for image in outcomes if isinstance(image, Readable)]
            unreadable += [image for image in outcomes if isinstance(image, Unreadable)]
            progress(len(readable) + len(unreadable), len(paths))
    return Trial(len(table), readable, unreadable)


def draw(table: pd.DataFrame, count: int) -> list[str]:
    """Return the paths of `count` images, drawn evenly by a hash of their keys, in the table's order."""
    words = chance.counter_hash("doctor decode", chance.hash_keys(table["key"].tolist()))
    rows = np.sort(np.argsort(words, kind="stable")[:count])
    return table["path"].iloc[rows].tolist()


def _try(job: tuple[str, Sequence[str]]) -> list[Readable | Unreadable]:
    src, paths = job
    return [_try_one(src, path) for path in paths]


def _try_one(src: str, path: str) -> Readable | Unreadable:
    try:
        if not S_ISREG(Path(src, path).stat().st_mode):
            return Unreadable(path, "unreadable", "it is no regular file")
        data = Path(src, path).read_bytes()
        height, width = read_gray(data).shape
    except ImageRejected as rejected:
        return Unreadable(path, rejected.code, rejected.detail)
    except OSError as error:
        return Unreadable(path, "unreadable", os.strerror(error.errno) if error.errno else str(error))
    except Exception as error:
        error.add_note(f"while decoding {path}")
        raise
    return Readable(_kind(data), width, height)


def _kind(data: bytes) -> str:
    if data.startswith(_JPEG):
        return "JPEG"
    if data.startswith(_PNG):
        return f"PNG, {data[24]} bits, {_PNG_COLOURS.get(data[25], 'unknown colours')}"
    return describe(data)
