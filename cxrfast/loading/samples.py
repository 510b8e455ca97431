"""Where every sample of a set lies, as plain arrays, and how to say so when one is damaged.

A DataFrame row costs tens of microseconds to look at; reading an image costs less. So the columns that reading needs
are taken out once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cxrfast.chance import UInt64Array, hash_keys
from cxrfast.errors import DamagedSample
from cxrfast.loading.order import Layout
from cxrfast.shardset.remote import RemoteFolder

if TYPE_CHECKING:
    from cxrfast.shardset.cache import RemoteFile
    from cxrfast.shardset.shardset import ShardSet

Integers = npt.NDArray[np.int64]

_NPY_HEADER = 128
"""Bytes before the pixels of a stored array, whatever its size."""


class Samples:
    """The n samples of a set: place, size and checksum of each image's payload."""

    def __init__(self, shards: "ShardSet") -> None:
        table = shards.table
        self._shards = shards
        self._keys = table["key"]
        self._hashes = np.empty(len(table), dtype=np.uint64)
        self._is_hashed = np.zeros(len(table), dtype=np.bool_)
        columns = ("shardset", "shard", "offset", "nbytes", "crc32", "width", "height")
        self.shardset, self.shard, self.offset, self.nbytes, self.crc32, self.width, self.height = (
            table[name].to_numpy(dtype=np.int64) for name in columns
        )

    def __len__(self) -> int:
        return len(self.offset)

    def layout(self) -> Layout:
        """Return what the epoch's order needs to know."""
        return Layout.of(shardset=self.shardset, shard=self.shard, offset=self.offset, nbytes=self.nbytes)

    def holds_arrays(self) -> bool:
        """Return whether any image is stored as a plain array: what has just that many bytes is taken for one."""
        return bool((self.nbytes == self.width * self.height + _NPY_HEADER).any())

    def hashes(self, rows: Integers) -> UInt64Array:
        """Return the hash of each row's key: uint64 (len(rows),); each is worked out once, when it is first wanted."""
        new = rows[~self._is_hashed[rows]]
        if len(new):
            self._hashes[new] = hash_keys(self._keys.take(new))
            self._is_hashed[new] = True
        return self._hashes[rows]

    def open(self, shardset: int, shard: int, *, stopped: Callable[[], bool]) -> int:
        """Return a descriptor of a shard's tar, fetched first where it is remote; see `ShardSet.open_tar`."""
        return self._shards.open_tar(shardset, shard, stopped=stopped)

    @property
    def any_remote(self) -> bool:
        """Whether any folder of the set is behind a URL."""
        return any(isinstance(folder, RemoteFolder) for folder in self._shards.folders)

    def remote(self, shardset: int, shard: int) -> "tuple[RemoteFolder, RemoteFile] | None":
        """Return a shard's folder and tar where these are behind a URL; None where they are on this machine."""
        folder = self._shards.folders[shardset]
        return (folder, folder.tar(shard)) if isinstance(folder, RemoteFolder) else None

    def damaged(self, row: int, detail: str) -> DamagedSample:
        """Return the error that names this row's data set, key, shard and path."""
        dataset, key = self._shards.table["dataset"].iloc[row], self._keys.iloc[row]
        shard = int(self.shard[row])
        path = self._shards.tar_place(int(self.shardset[row]), shard)
        return DamagedSample(
            f"{dataset}: sample {key} in shard {shard} ({path}, {self.nbytes[row]} bytes from {self.offset[row]}): "
            f"{detail}"
        )
