"""A packed set behind a URL: two files are read to open it, and a tar only when one of its samples is wanted.

Nothing is listed and no tar's size is asked for, so a set of a thousand shards opens as fast as one of ten; that a tar
is missing or another shows when it is fetched, by its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cxrfast.errors import ShardSetError
from cxrfast.shardset import format as layout
from cxrfast.shardset.cache import RemoteFile, ShardCache
from cxrfast.shardset.transfer import joined, shown


@dataclass(frozen=True)
class RemoteFolder:
    """What stands for a folder in a `ShardSet` that was opened by URL; its text is the URL without secrets."""

    url: str = field(repr=False)
    cache: ShardCache
    name: str = ""
    """The data set's name."""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """Size and SHA-256 of each file, as shardset.json has them."""

    def __str__(self) -> str:
        return shown(self.url)

    def read(self, file: str) -> bytes:
        """Return a whole file, which is not kept: shardset.json, or one that it lists."""
        url = joined(self.url, file)
        if file not in self.files:
            return self.cache.transfer.whole(url)
        size = int(self.files[file]["size"])
        return b"".join(self.cache.transfer.pieces(url, start=0, size=size))

    def tar(self, shard: int) -> RemoteFile:
        """Return a shard's tar. Raises ShardSetError where shardset.json does not list it."""
        file = layout.tar_name(self.name, shard)
        if file not in self.files:
            raise ShardSetError(f"{self}: {layout.COMMIT_FILE} does not list {file}; upload the set again")
        return self._file(file, self.files[file])

    def path(self, shard: int) -> Path:
        """Return where a shard's tar lies in the cache once it is there; fetches nothing."""
        return self.cache.path(self.tar(shard))

    def check(self) -> None:
        """Raise ShardSetError where a tar does not fit into the cache, or the cache's folder cannot be used."""
        for file, entry in self.files.items():
            if file.endswith(".tar"):
                self.cache.check(self._file(file, entry))
        self.cache.trim()

    def _file(self, file: str, entry: Mapping[str, Any]) -> RemoteFile:
        return RemoteFile(joined(self.url, file), file, int(entry["size"]), str(entry["sha256"]))
