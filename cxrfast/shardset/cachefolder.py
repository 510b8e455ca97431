"""The folder of cached shards that the processes of a node share: what lies in it, who holds what, what may go.

There is no index and no server: the names in the folder are the whole state, so nothing can disagree with it after a
kill. That costs a scan of the folder for each download (milliseconds for thousands of files), under one file lock.

- `NAME-00000-<32 hex of its SHA-256>.tar`: a whole shard; its time of change is when it was last asked for.
- `.<that>.<bytes>.partial`: a download, locked by whoever is at it. It counts with its final size from the start, so
  that the limit holds over all processes. Without a lock it was left behind: it is gone on with, or goes like a shard.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cxrfast.durable import sync_folder
from cxrfast.errors import ShardSetError
from cxrfast.shardset.transfer import Stopped

POLL = 0.05
"""Seconds between two looks at a lock that another holds."""

_LOCK = ".lock"
_WHOLE = re.compile(r"[A-Za-z0-9_-]+-[0-9a-f]{32}\.tar")
_PARTIAL = re.compile(r"\.[A-Za-z0-9_-]+-[0-9a-f]{32}\.tar\.(\d+)\.partial")

_locked: set[int] = set()


def _forget_locks() -> None:
    """Close a fork's copies of locked descriptors: a lock lives as long as any copy, and must end with its process."""
    for descriptor in _locked:
        with suppress(OSError):
            os.close(descriptor)
    _locked.clear()


os.register_at_fork(after_in_child=_forget_locks)


@dataclass(frozen=True)
class _Entry:
    path: Path
    size: int
    used: int
    partial: bool


@dataclass(frozen=True)
class CacheFolder:
    """The shards in a folder, `limit` bytes of them at most; every method but `open` holds the folder's lock.

    Files of other names are neither counted nor touched. A shard that someone has open stays readable when it goes.
    """

    path: Path
    limit: int
    patience: float
    """Seconds for which the folder's lock may be held by another before that counts as a fault."""

    def open(self, name: str, size: int) -> int | None:
        """Return a read-only descriptor of a whole shard and mark it as used; None where there is none."""
        try:
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if os.fstat(descriptor).st_size == size:
            _mark_used(descriptor)
            return descriptor
        os.close(descriptor)
        (self.path / name).unlink(missing_ok=True)  # someone has cut it short
        return None

    def claim(self, name: str, size: int, stopped: Callable[[], bool], due: Collection[str] = ()) -> int | None:
        """Return the locked partial file of a shard, room for it made; bytes that an earlier download left are in it.

        None where another is at this shard, has finished it, or downloads take all the room: look again later. The
        whole shards in `due` are about to be used, so they count as used now, and go only after all others.
        """
        path = self._partial(name, size)
        with self._alone(stopped):
            if (self.path / name).exists():
                return None
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            _locked.add(descriptor)
            if _lock(descriptor) and self._make_room(size, besides=path, due=due):
                return descriptor
            if os.fstat(descriptor).st_size == 0 and _lock(descriptor):
                path.unlink(missing_ok=True)
            release(descriptor)
            return None

    def publish(self, name: str, size: int, stopped: Callable[[], bool]) -> int:
        """Give a finished, locked partial file its name; return a read-only descriptor of it."""
        partial = self._partial(name, size)
        with self._alone(stopped):
            opened = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _mark_used(opened)
                partial.replace(self.path / name)
                sync_folder(self.path)
            except BaseException:
                os.close(opened)
                raise
            return opened

    def drop(self, name: str, size: int) -> None:
        """Remove the partial file of a shard, which the caller holds."""
        with self._alone(lambda: False):
            self._partial(name, size).unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove the least recently used until the limit holds, as where an earlier run had a higher one."""
        with self._alone(lambda: False):
            self._make_room(0)

    def moves(self) -> object:
        """Return something that changes whenever a download in this folder does."""
        return sorted((entry.path.name, *_state(entry.path)) for entry in self._entries() if entry.partial)

    def _partial(self, name: str, size: int) -> Path:
        return self.path / f".{name}.{size}.partial"

    @contextmanager
    def _alone(self, stopped: Callable[[], bool]) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _locked.add(descriptor)
        try:
            until = time.monotonic() + self.patience
            while not _lock(descriptor):
                if stopped():
                    raise Stopped
                if time.monotonic() > until:
                    raise ShardSetError(
                        f"another process has held {self.path / _LOCK} for {self.patience:.0f} seconds; end it, or "
                        "name another cache folder"
                    )
                time.sleep(POLL / 5)
            yield
        finally:
            release(descriptor)

    def _make_room(self, size: int, besides: Path | None = None, due: Collection[str] = ()) -> bool:
        """Remove the least recently used until `size` more bytes fit; False, with nothing removed, where they cannot.

        A download that runs (the caller's own, `besides`, is not counted) is never removed.
        """
        entries = [entry for entry in self._entries() if entry.path != besides]
        for entry in entries:
            if entry.path.name in due:
                _mark_used(entry.path)
        over = sum(entry.size for entry in entries) + size - self.limit
        going = []
        for entry in sorted(entries, key=lambda entry: (entry.path.name in due, entry.used)):
            if over <= 0:
                break
            if not (entry.partial and _is_held(entry.path)):
                going.append(entry)
                over -= entry.size
        if over > 0 and size:
            return False
        for entry in going:
            entry.path.unlink(missing_ok=True)
        return True

    def _entries(self) -> Iterator[_Entry]:
        with os.scandir(self.path) as found:
            for file in found:
                partial = _PARTIAL.fullmatch(file.name)
                if not partial and not _WHOLE.fullmatch(file.name):
                    continue
                with suppress(FileNotFoundError):
                    state = file.stat()
                    size = int(partial[1]) if partial else state.st_size
                    yield _Entry(Path(file.path), size, state.st_mtime_ns, bool(partial))


def release(descriptor: int) -> None:
    """Close a descriptor that may be locked."""
    _locked.discard(descriptor)
    os.close(descriptor)


def _mark_used(file: int | Path) -> None:
    # By a clock finer than the file system's own, whose ticks of some milliseconds would hide what came first.
    now = time.time_ns()
    with suppress(PermissionError):  # another user's: it goes earlier than it should
        os.utime(file, ns=(now, now))


def _lock(descriptor: int) -> bool:
    """Lock a file, or return False where another has; OSError where the disk knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except FileNotFoundError:
        return 0, 0
    return state.st_size, state.st_mtime_ns
