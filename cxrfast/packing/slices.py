"""Who packs which shards, and that nobody else does: slices of a set, held by locks on files in the staging folder.

Machines that share a disk need no coordinator: a slice is a rule, and the kernel (on NFS the server) frees a lock
however its holder ends, which a file that merely says "taken" would not. The price is that a disk without locks, such
as Lustre mounted without `flock`, cannot keep two packers apart; then a warning says so, and temporary names that are
drawn anew each time keep their files apart at least.
"""

import errno
import fcntl
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cxrfast.durable import sync_folder
from cxrfast.errors import PackError
from cxrfast.packing.write import STAGING, sweep

_LOG = logging.getLogger(__name__)
_FOLDER_LOCK = "folder.lock"
_SLICE_LOCK = re.compile(r"slice-(\d+)-of-(\d+)\.lock")
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Slice:
    """Part `index` (from 0) of `count` of a set's shards: every count-th, so slices are equal to within a shard."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise PackError(
                f"slice {self} is none: of {self.count} slices the first is 0 and the last {self.count - 1}"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def __contains__(self, shard: object) -> bool:
        return isinstance(shard, int) and shard % self.count == self.index

    def shards(self, num_shards: int) -> range:
        """Return the shards of this slice of a set of `num_shards`; none where there are more slices than shards."""
        return range(self.index, num_shards, self.count)


WHOLE = Slice()


@contextmanager
def held(out: Path, share: Slice = WHOLE) -> Iterator[None]:
    """Hold a slice of an output folder for one packer: makes both folders, and sweeps its own temporary files away.

    Raises PackError where another process holds the slice, or packs by other slices: the whole, or other parts.
    """
    path = out / STAGING / f"slice-{share.index}-of-{share.count}.lock"
    what = f"into {out}" if share.count == 1 else f"slice {share} into {out}"
    descriptor = _lock(path, what)
    try:
        _refuse_other_cuts(out, share)
        sweep(out, share)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Wait for, then hold the folder itself for the short steps that concern all slices: its plan and its commit."""
    descriptor = _lock(out / STAGING / _FOLDER_LOCK)
    try:
        yield
    finally:
        os.close(descriptor)


def cuts_seen(out: Path) -> set[int]:
    """Return into how many slices this folder was cut by those who began to pack it."""
    return {share.count for _, share in _slice_locks(out)}


def remove_staging(out: Path) -> None:
    """Remove all that is unfinished, and the locks last; the caller holds the folder, and shardset.json is written.

    Whoever takes a lock after that finds shardset.json and nothing to do.
    """
    staging = out / STAGING
    for path in sorted(staging.iterdir(), key=lambda path: path.suffix == ".lock"):
        path.unlink(missing_ok=True)
    # Another packer may have come in between; then the folder is its own.
    with suppress(OSError):
        staging.rmdir()
    sync_folder(out)


def _refuse_other_cuts(out: Path, share: Slice) -> None:
    """Raise PackError where a slice of another count is held; two such that start at once both see the other's."""
    for path, other in _slice_locks(out):
        if other.count != share.count and _is_held(path):
            other_words, own_words = (
                "the whole set" if each.count == 1 else f"slice {each}" for each in (other, share)
            )
            raise PackError(
                f"another process is packing {other_words} into {out} now{_holder(path)}, which overlaps with "
                f"{own_words}; cut a set into equally many slices for all packers, or wait for the others to end"
            )


def _slice_locks(out: Path) -> Iterator[tuple[Path, Slice]]:
    for path in sorted((out / STAGING).glob("slice-*.lock")):
        if found := _SLICE_LOCK.fullmatch(path.name):
            yield path, Slice(int(found[1]), int(found[2]))


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    finally:
        os.close(descriptor)
    return False


def _lock(path: Path, what: str | None = None) -> int:
    """Return the descriptor of a lock file, locked. With `what`, PackError says that it is held; without, wait for it.

    Whoever commits removes the file; a packer that opened it just before holds a name that is gone, and tries again.
    """
    mode = fcntl.LOCK_EX | (fcntl.LOCK_NB if what else 0)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue
        try:
            if _flock(descriptor, mode, path) and os.path.samestat(os.fstat(descriptor), path.stat()):
                _sign(descriptor)
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise PackError(
                f"another process is packing {what} now{_holder(path)}; wait for it, or choose another folder"
            ) from error
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _flock(descriptor: int, mode: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, mode)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn_once(str(path.parent.parent), str(error.strerror))
    return True


@cache
def _warn_once(out: str, reason: str) -> None:
    _LOG.warning(
        "the disk of %s has no locks (%s), so nothing keeps two packers from the same slice: start each only once",
        out,
        reason,
    )


def _sign(descriptor: int) -> None:
    """Say in a lock file who holds it; on a full disk nobody does."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f" (process {os.getpid()} on {socket.gethostname()})".encode())


def _holder(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
