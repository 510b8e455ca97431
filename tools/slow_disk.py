"""Run a command on a disk that is held to so many reads and MB a second, as a shared or spinning disk would be.

    python tools/slow_disk.py [--read-mbps 100] [--read-iops 100] PATH -- COMMAND...

The kernel's own throttle does it (cgroup v1, blkio), so buffered reads, readahead and all are what they would be on
such a disk; in return it needs root, and that hierarchy mounted. The limit is that of one cgroup: other processes keep
the whole disk. PATH is a file or folder on the disk; what lies in it is dropped from the page cache first, as nothing
that is cached is ever slow. The cgroup is removed afterwards, also after Ctrl-C or a failure; the command's exit
status is ours.
"""

import argparse
import contextlib
import json
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ctypes import CDLL, c_int, c_size_t, c_ubyte, c_void_p, get_errno
from dataclasses import asdict, dataclass
from pathlib import Path

BLKIO = Path("/sys/fs/cgroup/blkio")
PREFIX = "cxrfast-slow-disk-"
LIMITS = ("blkio.throttle.read_bps_device", "blkio.throttle.read_iops_device")
CANNOT = 2


class CannotThrottle(Exception):
    """Why a disk cannot be held back here, in one line."""


@dataclass(frozen=True)
class Disk:
    """The whole disk under a path, and what decides how large its reads are."""

    number: str
    """MAJOR:MINOR."""
    name: str
    read_ahead_kb: int
    max_sectors_kb: int


def disk_of(path: Path) -> Disk:
    """Return the disk under a path; a partition's disk, since limits are those of whole disks."""
    device = path.stat().st_dev
    place = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not place.exists():
        raise CannotThrottle(f"{path} does not lie on a block device (a file system in memory, over a network or "
                             "an overlay?); name a path on a disk")  # fmt: skip
    place = place.resolve()
    if (place / "partition").exists():
        place = place.parent
    queue = place / "queue"
    read_ahead, max_sectors = (int((queue / name).read_text()) for name in ("read_ahead_kb", "max_sectors_kb"))
    return Disk((place / "dev").read_text().strip(), place.name, read_ahead, max_sectors)


@contextmanager
def slow_disk(path: Path, *, read_mbps: float = 100.0, read_iops: int = 100) -> Iterator[Disk]:
    """Hold this process and its children to so many MB (10^6 bytes) and reads a second of the disk under `path`.

    Raises CannotThrottle where there is no such hierarchy, no right to use it, or no disk. Writing is not limited.
    """
    _check()
    disk = disk_of(path)
    _remove_leftovers()
    before = BLKIO / _own_group().lstrip("/")
    group = BLKIO / f"{PREFIX}{os.getpid()}"
    group.mkdir(exist_ok=True)
    try:
        for name, limit in zip(LIMITS, (int(read_mbps * 1e6), read_iops), strict=True):
            (group / name).write_text(f"{disk.number} {limit}")
        (group / "cgroup.procs").write_text(str(os.getpid()))
        yield disk
    finally:
        _empty(group, into=before)


def served(disk: Disk) -> tuple[int, int]:
    """Return how many bytes and reads the disk has served to this process's own cgroup since that was made."""
    group = BLKIO / _own_group().lstrip("/")
    found = []
    for name in ("blkio.throttle.io_service_bytes", "blkio.throttle.io_serviced"):
        lines = (line.split() for line in (group / name).read_text().splitlines())
        found.append(sum(int(line[2]) for line in lines if line[:2] == [disk.number, "Read"]))
    return found[0], found[1]


def drop_cache(files: Iterable[Path]) -> None:
    """Let the kernel forget the cached pages of files, after writing what is not on disk yet.

    Where some stay all the same (mapped or held by another process), all clean pages of the machine are dropped.
    """
    paths = [path for path in files if path.is_file()]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    if any(cached_share(path) > 0.01 for path in paths):
        os.sync()
        with contextlib.suppress(PermissionError):
            Path("/proc/sys/vm/drop_caches").write_text("1")


def cached_share(path: Path) -> float:
    """Return which share of a file's pages is in the page cache."""
    size = path.stat().st_size
    if not size:
        return 0.0
    libc = CDLL(None, use_errno=True)
    libc.mmap.restype = c_void_p
    libc.mmap.argtypes = [c_void_p, c_size_t, c_int, c_int, c_int, c_size_t]
    pages = -(-size // mmap.PAGESIZE)
    seen = (c_ubyte * pages)()
    with path.open("rb") as file:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), 0)
        if address in (None, c_void_p(-1).value):
            raise OSError(get_errno(), os.strerror(get_errno()), str(path))
        try:
            if libc.mincore(c_void_p(address), c_size_t(size), seen):
                raise OSError(get_errno(), os.strerror(get_errno()), str(path))
        finally:
            libc.munmap(c_void_p(address), c_size_t(size))
    return sum(page & 1 for page in seen) / pages


def files_under(path: Path) -> list[Path]:
    """Return a file itself, or all files below a folder."""
    return [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())


def _check() -> None:
    if not (BLKIO / LIMITS[0]).exists() and not (BLKIO / "cgroup.procs").exists():
        raise CannotThrottle(f"cgroup v1's blkio is not mounted at {BLKIO}; mount it, or use a machine that has it")
    if os.geteuid() != 0 or not os.access(BLKIO, os.W_OK):
        raise CannotThrottle("limiting a disk needs root and a writable cgroup hierarchy; run it as root")


def _own_group() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if "blkio" in controllers.split(","):
            return group
    return "/"


def _empty(group: Path, *, into: Path) -> None:
    """Move whoever is left in a cgroup to another, and remove it."""
    while members := (group / "cgroup.procs").read_text().split():
        for member in members:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                (into / "cgroup.procs").write_text(member)
    group.rmdir()


def _remove_leftovers() -> None:
    """Remove cgroups of runs that were killed before they could do so; one in use refuses."""
    for group in BLKIO.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            group.rmdir()


def run(command: list[str], path: Path, *, read_mbps: float, read_iops: int) -> int:
    """Run a command on the slow disk and return its exit status."""
    with slow_disk(path, read_mbps=read_mbps, read_iops=read_iops) as disk:
        facts = {**asdict(disk), "read_mbps": read_mbps, "read_iops": read_iops}
        print(json.dumps(facts), file=sys.stderr)
        drop_cache(files_under(path))
        process = subprocess.Popen(command)
        try:
            return process.wait()
        except BaseException:
            # A terminal sends Ctrl-C to the command too; anything else must not leave it behind.
            process.terminate()
            process.wait()
            raise


def main() -> int:
    """Enter from the command line."""
    place = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    given, rest = sys.argv[1:place], sys.argv[place + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--read-mbps", type=float, default=100.0, help="MB (10^6 bytes) a second")
    parser.add_argument("--read-iops", type=int, default=100, help="reads a second")
    parser.add_argument("path", type=Path, help="a file or folder on the disk")
    options = parser.parse_args(given)
    if not rest or not options.path.exists() or options.read_mbps <= 0 or options.read_iops <= 0:
        parser.error("give a PATH that is there, positive limits, and a command after --")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        status = run(rest, options.path, read_mbps=options.read_mbps, read_iops=options.read_iops)
    except (CannotThrottle, OSError) as error:
        print(f"slow_disk: {error}", file=sys.stderr)
        return CANNOT
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
