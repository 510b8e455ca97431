"""Shards fetched from URLs into a local folder, which all processes of a node share.

A shard is fetched whole before its first sample is read, where ranges of single images would come sooner; in return a
server is asked a thousand times less often, every byte is checked against SHA-256 once, and further epochs and
processes read a local file. What the processes of a node agree by is in `cachefolder`, what a network does wrong in
`transfer`.
"""

import errno
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path
from typing import Any

from cxrfast.amounts import parse_bytes
from cxrfast.errors import ShardSetError
from cxrfast.shardset.cachefolder import POLL, CacheFolder, release
from cxrfast.shardset.transfer import Transfer, never, shown, wait

_HEX = re.compile(r"[0-9a-f]{64}")
_GRACE = 60.0
"""Seconds that the checks and flushes between two signs of life of a download may take."""


@dataclass(frozen=True)
class RemoteFile:
    """A file behind a URL, as its shardset.json has recorded it."""

    url: str
    name: str
    size: int
    sha256: str

    @property
    def cached_name(self) -> str:
        """The name that it has in a cache: another content has another name, the same from another host has not."""
        return f"{self.name.removesuffix('.tar')}-{self.sha256[:32]}.tar"


@dataclass(frozen=True, kw_only=True)
class ShardCache:
    """Where shards of sets that were opened by URL are kept, and how they are fetched.

    Any number of processes of a node may share a folder: a shard that several want is downloaded once, and the limit
    holds over all. What was used least recently goes first. A process that is killed leaves a partial file, which the
    next one that wants the shard goes on with. Pickles; holds no lock and no connection itself.

    Failures of a file, together, take `patience` seconds at most (163 by default), and once more where its SHA-256 was
    wrong: then ShardSetError names the URL. A server that is slow but never silent for long is waited for.
    Raises ShardSetError where an option does not fit.
    """

    folder: str | Path | None = None
    """None: the environment variable CXRFAST_CACHE, else `cxrfast` in the user's cache folder (XDG_CACHE_HOME)."""
    limit: str | int = "100GB"
    """What all shards in it may take, such as "100GB"; it has to hold the largest shard at least."""
    storage_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """fsspec's options by protocol: {"s3": {"key": ..., "secret": ..., "endpoint_url": ...}}."""
    retries: int = 6
    """How many failures of a file (dropped, stalled or refused connections, 5xx) are tried again."""
    stall: float = 20.0
    """Seconds that a request of at most 8 MiB, less after failures, may take."""
    pause: float = 0.5
    """Seconds before the first retry; doubled for each further one, to 8 at most."""

    def __post_init__(self) -> None:
        folder = self.folder or os.environ.get("CXRFAST_CACHE") or _users_folder()
        object.__setattr__(self, "folder", Path(folder).expanduser().absolute())
        object.__setattr__(self, "limit", parse_bytes(self.limit, name="limit", error=ShardSetError))
        if self.retries < 0 or self.stall <= 0 or self.pause < 0:
            raise ShardSetError(
                f"retries={self.retries}, stall={self.stall}, pause={self.pause}: retries and pause are at least 0, "
                "stall is more"
            )
        for protocol, options in self.storage_options.items():
            if not isinstance(options, Mapping):
                raise ShardSetError(
                    f"storage_options[{protocol!r}] holds no options; give them by protocol, "
                    'such as {"s3": {"key": ..., "secret": ...}}'
                )

    @property
    def transfer(self) -> Transfer:
        """How files are fetched."""
        return Transfer(options=self.storage_options, retries=self.retries, stall=self.stall, pause=self.pause)

    @property
    def patience(self) -> float:
        """The most seconds that the failures of one file may take, before its error is raised."""
        return self.transfer.bound

    def path(self, wanted: RemoteFile) -> Path:
        """Return where a file lies once it is here."""
        return self._folder.path / wanted.cached_name

    def open(
        self,
        wanted: RemoteFile,
        *,
        stopped: Callable[[], bool] = never,
        due: Callable[[], Collection[str]] = tuple,
    ) -> int:
        """Return a read-only descriptor of a file, which is fetched first where it is not here; the caller closes it.

        What is open stays readable, whatever leaves the cache; `due()`, asked before each download, gives the cached
        names of files that should not, since they are about to be used. Raises ShardSetError where the file cannot be
        fetched, is not what was packed (fetched twice), or cannot be kept; `Stopped` soon after `stopped()` is true.
        """
        self.check(wanted)
        with self._said(wanted):
            return self._open(wanted, stopped, due)

    def check(self, wanted: RemoteFile) -> None:
        """Raise ShardSetError where a file can never be kept here, or has no checksum."""
        if wanted.size > int(self.limit):
            raise ShardSetError(
                f"the cache's limit of {self.limit:,} bytes is less than {shown(wanted.url)} alone, which has "
                f"{wanted.size:,}: raise ShardCache(limit=...)"
            )
        if not _HEX.fullmatch(wanted.sha256):
            raise ShardSetError(f"{shown(wanted.url)} has no SHA-256 in its shardset.json; upload the set again")

    def trim(self) -> None:
        """Make the folder, and let go of what is over the limit."""
        with self._said(None):
            self._folder.trim()

    @property
    def _folder(self) -> CacheFolder:
        return CacheFolder(Path(self.folder or ""), int(self.limit), self.patience + _GRACE)

    def _open(self, wanted: RemoteFile, stopped: Callable[[], bool], due: Callable[[], Collection[str]]) -> int:
        folder, name = self._folder, wanted.cached_name
        moves, since = None, time.monotonic()
        while (descriptor := folder.open(name, wanted.size)) is None:
            claimed = folder.claim(name, wanted.size, stopped, due())
            if claimed is not None:
                try:
                    return self._fetch(claimed, wanted, stopped)
                finally:
                    release(claimed)
            if (now := folder.moves()) != moves:
                moves, since = now, time.monotonic()
            if time.monotonic() - since > folder.patience:
                raise ShardSetError(
                    f"a download into {folder.path} by another process has not moved for {folder.patience:.0f} "
                    f"seconds, and {name} waits for it; end that process, or name another cache folder"
                )
            wait(POLL, stopped)
        return descriptor

    def _fetch(self, claimed: int, wanted: RemoteFile, stopped: Callable[[], bool]) -> int:
        """Fill the partial file from where it ends, check it, and give it its name. What fails by network stays."""
        folder, name, size = self._folder, wanted.cached_name, wanted.size
        try:
            for _ in range(2):
                self._fill(claimed, wanted, stopped)
                if _digest(claimed) == wanted.sha256:
                    os.fsync(claimed)
                    return folder.publish(name, size, stopped)
                os.ftruncate(claimed, 0)
        except OSError:
            with suppress(OSError):
                os.ftruncate(claimed, 0)  # gives the disk back at once, whoever else has it open
                folder.drop(name, size)
            raise
        folder.drop(name, size)
        raise ShardSetError(
            f"{shown(wanted.url)} is not as it was packed (SHA-256 differs, fetched twice): upload it again, and check "
            "it there with `cxrfast-shard verify`"
        )

    def _fill(self, claimed: int, wanted: RemoteFile, stopped: Callable[[], bool]) -> None:
        start = os.fstat(claimed).st_size
        if start > wanted.size:
            os.ftruncate(claimed, start := 0)
        for piece in self.transfer.pieces(wanted.url, start=start, size=wanted.size, stopped=stopped):
            left = memoryview(piece)
            while left:
                written = os.pwrite(claimed, left, start)
                start += written
                left = left[written:]

    @contextmanager
    def _said(self, wanted: RemoteFile | None) -> Iterator[None]:
        """Say in words what is wrong with the folder; the transfer's own errors are ShardSetErrors already."""
        try:
            yield
        except OSError as error:
            what = f"{shown(wanted.url)} ({wanted.size:,} bytes) cannot be kept in " if wanted else ""
            remedy = "make it writable"
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                remedy = f"free space there, lower ShardCache(limit=...), now {self.limit:,} bytes,"
            elif error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                remedy = "its disk has no file locks: take a local one"
            raise ShardSetError(
                f"{what}the cache folder {self.folder}: {error.strerror or error}; {remedy} or name another by "
                "ShardCache(folder=...) or CXRFAST_CACHE"
            ) from error


def _digest(descriptor: int) -> str:
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        return file_digest(file, "sha256").hexdigest()


def _users_folder() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if given.startswith("/") else Path.home() / ".cache") / "cxrfast"
