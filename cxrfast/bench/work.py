"""What one round of a benchmark has to do, worked out beforehand, so that the bare loops do that and nothing else.

Payloads and pixels are held in memory up to a limit and are gone through again from there: a ceiling of many thousand
images would need gigabytes otherwise, and some hundred megabytes are far beyond any processor cache already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from cxrfast.chance import hash_keys
from cxrfast.errors import ShardSetError
from cxrfast.loading.decode import UndecodableError, decode
from cxrfast.loading.views import Floats, Integers, ViewSpec, back_maps, halvings, matrices

if TYPE_CHECKING:
    from cxrfast.shardset.shardset import ShardSet

Gray = npt.NDArray[np.uint8]

HELD = 256_000_000
"""Most bytes of payloads, and most bytes of pixels, that are held."""
GAP = 16 * 1024
"""Bytes between two payloads that are read over."""
LONGEST = 4 * 1024**2
"""Most bytes of one read."""
_RAW = b"\x93NUMPY"


@dataclass(frozen=True, eq=False)
class Work:
    """A round over n images in V views of S x S pixels."""

    images: int
    """n"""
    size: int
    """S"""
    files: tuple[Path, ...]
    """The tars that hold them."""
    extents: tuple[tuple[int, int, int], ...]
    """Number of the tar, first byte, byte after the last: every payload once a row, in storage
    order; rows that the set repeats are read again after all others."""
    payloads: tuple[Gray, ...]
    """(m,) stored bytes of the first m <= n images."""
    pixels: tuple[Gray, ...]
    """(k,) the first k <= m of them, decoded."""
    halvings: list[list[int]]
    """(m, V) how often each view's source is halved."""
    inverse: Floats
    """(m, V, 2, 3) from output to (halved) source pixels, centres at whole numbers."""

    @property
    def views(self) -> int:
        """V, how many views each image has."""
        return int(self.inverse.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes that reading alone reads."""
        return sum(stop - start for _, start, stop in self.extents)

    @cached_property
    def raw(self) -> bool:
        """Whether pixels are stored as they are, so that there is nothing to decode."""
        return all(payload[: len(_RAW)].tobytes() == _RAW for payload in self.payloads)


def prepare(shards: "ShardSet", *, views: Sequence[ViewSpec], size: int, seed: int = 0, held: int = HELD) -> Work:
    """Work out a round over all rows of a set, and read and decode what is held.

    Raises ShardSetError where a tar cannot be read, or an image does not decode.
    """
    table = shards.table
    columns = (table[name].to_numpy(dtype=np.int64) for name in ("shardset", "shard", "offset", "nbytes"))
    order, files, extents = _extents(*columns)
    nbytes = table["nbytes"].to_numpy(dtype=np.int64)[order]
    count = _fitting(nbytes, held)
    kept = order[:count]
    payloads = tuple(_payload(shards, int(row)) for row in kept)
    sides = table["width"].to_numpy(dtype=np.int64)[kept], table["height"].to_numpy(dtype=np.int64)[kept]
    fitting = _fitting(sides[0] * sides[1], held)
    pixels = tuple(_decoded(payload, shards, row) for payload, row in zip(payloads[:fitting], kept, strict=False))
    keys = hash_keys(table["key"].take(kept))
    counts = np.empty((count, len(views)), dtype=np.int64)
    inverse = np.empty((count, len(views), 2, 3))
    for view, spec in enumerate(views):
        maps = matrices(spec, widths=sides[0], heights=sides[1], size=size, seed=seed, epoch=0, keys=keys, view=view)
        counts[:, view] = halvings(maps)
        inverse[:, view] = _centred(back_maps(maps, counts[:, view]))
    paths = tuple(shards.tar_path(*file) for file in files)
    return Work(len(table), size, paths, extents, payloads, pixels, counts.tolist(), inverse)


def halved(image: Gray) -> Gray:
    """Return 2x2 means, uint8 (ceil(h / 2), ceil(w / 2)): what every backend does before it warps."""
    height, width = image.shape
    if height % 2 or width % 2:
        image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))
    return np.asarray(cv2.resize(image, (-(-width // 2), -(-height // 2)), interpolation=cv2.INTER_AREA))


def _extents(
    shardset: Integers, shard: Integers, offset: Integers, nbytes: Integers
) -> tuple[Integers, list[tuple[int, int]], tuple[tuple[int, int, int], ...]]:
    """Return rows in storage order, the files (shard set, shard), and the reads that cover each payload once."""
    order = np.lexsort((offset, shard, shardset, _repetition(shardset, shard, offset)))
    files: dict[tuple[int, int], int] = {}
    extents: list[tuple[int, int, int]] = []
    places = zip(*(column[order].tolist() for column in (shardset, shard, offset, nbytes)), strict=True)
    for of_set, of_shard, start, length in places:
        number, stop = files.setdefault((of_set, of_shard), len(files)), start + length
        file, first, last = extents[-1] if extents else (-1, 0, 0)
        if file == number and 0 <= start - last <= GAP and stop - first <= LONGEST:
            extents[-1] = (file, first, stop)
        else:
            extents.append((number, start, stop))
    return order, list(files), tuple(extents)


def _repetition(*place: Integers) -> Integers:
    """Return for each row how often its place has come before: int64 (n,)."""
    order = np.lexsort(place)  # stable
    same = np.ones(len(order), dtype=np.bool_)
    same[:1] = False
    for column in place:
        same[1:] &= np.diff(column[order]) == 0
    index = np.arange(len(order))
    found = np.empty(len(order), dtype=np.int64)
    found[order] = index - np.maximum.accumulate(np.where(same, 0, index))
    return found


def _fitting(nbytes: Integers, held: int) -> int:
    """Return how many images fit into `held` bytes, at least one."""
    return max(1, int(np.searchsorted(np.cumsum(nbytes), held, side="right")))


def _payload(shards: "ShardSet", row: int) -> Gray:
    place = shards.table.iloc[row]
    path = shards.tar_path(int(place["shardset"]), int(place["shard"]))
    found = np.fromfile(path, dtype=np.uint8, count=int(place["nbytes"]), offset=int(place["offset"]))
    if len(found) != place["nbytes"]:
        raise ShardSetError(f"{path} ends inside {place['key']}; `cxrfast-shard verify` says what is damaged")
    return found


def _decoded(payload: Gray, shards: "ShardSet", row: int) -> Gray:
    try:
        return decode(payload.data)
    except UndecodableError as error:
        place = shards.table.iloc[row]
        path = shards.tar_path(int(place["shardset"]), int(place["shard"]))
        raise ShardSetError(f"{path}, {place['key']}: {error}; `cxrfast-shard verify` says what is damaged") from error


def _centred(maps: Floats) -> Floats:
    """Return maps back, (n, 2, 3), between pixels whose centres are at whole numbers, as OpenCV has them."""
    moved = maps.copy()
    moved[..., 2] += 0.5 * (maps[..., 0] + maps[..., 1] - 1)
    return moved
