"""The cache folder: its limit, its order, and what processes that share it, or die in it, leave."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from web_server import serving, wait_for

from cxrfast import ShardCache
from cxrfast.errors import ShardSetError
from cxrfast.shardset import cachefolder
from cxrfast.shardset.cache import RemoteFile
from cxrfast.shardset.transfer import Stopped

SIZE = 200_000
FILES = 6

# A process of its own that opens files of the cache again and again, and says whether each was whole.
READER = """
import os, random, sys
from hashlib import sha256
from cxrfast import ShardCache
from cxrfast.shardset.cache import RemoteFile
folder, limit, rounds, seed, *files = sys.argv[1:]
cache = ShardCache(folder=folder, limit=int(limit), retries=3, stall=20.0, pause=0.01)
wanted = [RemoteFile(url, url.rpartition("/")[2], int(size), digest)
          for url, size, digest in (file.split("|") for file in files)]
chance = random.Random(int(seed))
print("ready", flush=True)
for _ in range(int(rounds)):
    file = chance.choice(wanted)
    with os.fdopen(cache.open(file), "rb") as opened:
        assert sha256(opened.read()).hexdigest() == file.sha256
print("whole", flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    rng = np.random.default_rng(0)
    for number in range(FILES):
        (folder / f"set-{number:05d}.tar").write_bytes(rng.bytes(SIZE))
    return folder


@pytest.fixture
def site(folder):
    with serving(folder) as (url, site):
        site.url = url
        yield site


def wanted(site, number):
    name = f"set-{number:05d}.tar"
    content = (site.folder / name).read_bytes()
    return RemoteFile(f"{site.url}/{name}", name, len(content), sha256(content).hexdigest())


def cache_in(folder, limit=SIZE * FILES):
    return ShardCache(folder=folder, limit=limit, retries=3, stall=5.0, pause=0.01)


def held(cache, pattern="*.tar"):
    """Return the numbers of the files in the cache."""
    return sorted(int(path.name[4:9]) for path in cache.folder.glob(pattern))


def fetch(cache, *files):
    for file in files:
        os.close(cache.open(file))


def reader(cache, site, *, rounds, seed=0, files=range(FILES)):
    """Start a process that opens files at random."""
    named = (wanted(site, number) for number in files)
    arguments = [f"{file.url}|{file.size}|{file.sha256}" for file in named]
    command = [sys.executable, "-c", READER, cache.folder, cache.limit, rounds, seed, *arguments]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_least_recently_used_goes_first(site, tmp_path):
    """The limit holds; what was asked for lately stays; what goes stays readable to whoever has it open."""
    cache = cache_in(tmp_path / "cache", SIZE * 3)
    files = [wanted(site, number) for number in range(5)]
    fetch(cache, *files[:3])
    opened = cache.open(files[1])
    fetch(cache, files[0], files[3], files[4])
    assert held(cache) == [0, 3, 4]
    assert sha256(os.pread(opened, SIZE, 0)).hexdigest() == files[1].sha256
    os.close(opened)


def test_a_cache_that_is_over_its_limit_is_trimmed(site, tmp_path):
    """A lower limit than an earlier run's lets the oldest go; files that are not the cache's stay and do not count."""
    cache = cache_in(tmp_path / "cache")
    fetch(cache, *(wanted(site, number) for number in range(5)))
    (cache.folder / "notes.tar").write_bytes(bytes(SIZE * 10))
    (cache.folder / f".set-00009-{'0' * 32}.tar.{SIZE}.partial").write_bytes(b"left behind")
    smaller = cache_in(tmp_path / "cache", SIZE * 2)
    smaller.trim()
    assert sum(path.stat().st_size for path in cache.folder.glob("set-*.tar")) <= smaller.limit
    assert held(cache, "set-*.tar") == [4]
    fetch(smaller, wanted(site, 5), wanted(site, 3))
    assert held(cache, "set-*.tar") == [3, 5]
    assert (cache.folder / "notes.tar").exists()
    assert not list(cache.folder.glob(".*partial"))


def test_a_limit_below_one_shard_is_refused(site, tmp_path):
    """Limit, shard and remedy are in the message."""
    with pytest.raises(ShardSetError, match=f"limit of {SIZE - 1:,} bytes .*set-00000.tar alone.*{SIZE:,}"):
        cache_in(tmp_path, SIZE - 1).open(wanted(site, 0))


def test_a_folder_that_cannot_be_used_is_named(site, tmp_path):
    """A file in the folder's place ends in one message."""
    (tmp_path / "file").touch()
    for use in (lambda cache: cache.open(wanted(site, 0)), lambda cache: cache.trim()):
        with pytest.raises(ShardSetError, match=f"the cache folder {tmp_path}/file/cache: Not a directory; make it"):
            use(cache_in(tmp_path / "file" / "cache"))


def test_a_full_disk_is_named_and_leaves_nothing(site, tmp_path):
    """Where the disk takes no more: folder, remedy, and no partial file that would keep the disk full."""
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({SIZE // 2}, {SIZE // 2}))
{READER}"""
    file = wanted(site, 0)
    arguments = [tmp_path / "cache", SIZE, 1, 0, f"{file.url}|{file.size}|{file.sha256}"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert f"cannot be kept in the cache folder {tmp_path}/cache: File too large; free space there" in done.stderr
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_where_the_folder_lies(monkeypatch, tmp_path):
    """Named, else CXRFAST_CACHE, else the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("CXRFAST_CACHE", raising=False)
    assert ShardCache().folder == tmp_path / "xdg" / "cxrfast"
    monkeypatch.setenv("CXRFAST_CACHE", str(tmp_path / "named"))
    assert ShardCache().folder == tmp_path / "named"
    assert ShardCache(folder=tmp_path).folder == tmp_path
    with pytest.raises(ShardSetError, match="limit='much'"):
        ShardCache(limit="much")


def test_threads_that_want_one_file_fetch_it_once(site, tmp_path):
    """Eight threads, one download; all have the file."""
    site.faults["set-00000.tar"] = [("slow", 0.5)]
    cache, file = cache_in(tmp_path / "cache"), wanted(site, 0)
    opened = []
    threads = [threading.Thread(target=lambda: opened.append(cache.open(file))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sha256(os.pread(descriptor, SIZE, 0)).hexdigest() for descriptor in opened] == [file.sha256] * 8
    assert site.requests["set-00000.tar"] == 1
    for descriptor in opened:
        os.close(descriptor)


def test_processes_that_want_the_same_fetch_it_once(site, tmp_path):
    """Four processes over one folder that holds all: each file is downloaded once."""
    cache = cache_in(tmp_path / "cache")
    for number in range(FILES):
        site.faults[f"set-{number:05d}.tar"] = [("slow", 0.1)]
    processes = [reader(cache, site, rounds=40, seed=seed) for seed in range(4)]
    for process in processes:
        assert process.communicate(timeout=120)[0] == "ready\nwhole\n"
    assert all(site.sent[f"set-{number:05d}.tar"] <= SIZE for number in range(FILES))


def test_the_limit_holds_over_all_processes(site, tmp_path):
    """Three processes that fight for room for two files: every file whole, never more on disk than the limit."""
    cache = cache_in(tmp_path / "cache", SIZE * 2)
    processes = [reader(cache, site, rounds=30, seed=seed) for seed in range(3)]
    most = 0
    while any(process.poll() is None for process in processes):
        with (
            contextlib.suppress(FileNotFoundError),
            cachefolder.CacheFolder(cache.folder, cache.limit, 20.0)._alone(lambda: False),
        ):
            most = max(most, sum(path.stat().st_size for path in cache.folder.iterdir()))
        time.sleep(0.01)
    assert [process.communicate()[0] for process in processes] == ["ready\nwhole\n"] * 3
    assert 0 < most <= cache.limit
    assert not list(cache.folder.glob(".*partial"))


def test_what_a_killed_process_began_is_gone_on_with(site, tmp_path, monkeypatch):
    """SIGKILL amid a download leaves a partial file and no lock; the next one asks for the rest alone."""
    file = wanted(site, 0)
    site.faults[file.name] = [("drop", 0), ("drop", 0), ("short", 30_000), ("stall", 30), ("stall", 30)]
    cache = ShardCache(folder=tmp_path / "cache", retries=6, stall=20.0, pause=0.01)
    process = reader(cache, site, rounds=1, files=[0])
    wait_for(lambda: site.requests[file.name] == 4)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert held(cache) == []
    [partial] = cache.folder.glob(".*partial")
    reached = partial.stat().st_size
    assert 0 < reached < SIZE
    site.faults.clear()
    site.ranges.clear()
    descriptor = cache.open(file)
    assert sha256(os.pread(descriptor, SIZE, 0)).hexdigest() == file.sha256
    os.close(descriptor)
    assert site.ranges == [(file.name, reached)]
    assert not list(cache.folder.glob(".*partial"))


def test_what_a_killed_process_began_makes_room(site, tmp_path):
    """A partial file that nobody is at goes as a shard would."""
    cache = cache_in(tmp_path / "cache", SIZE)
    cache.folder.mkdir()
    left = cache.folder / f".{wanted(site, 1).cached_name}.{SIZE}.partial"
    left.write_bytes(b"some")
    fetch(cache, wanted(site, 0))
    assert held(cache) == [0]
    assert not left.exists()


def test_a_damaged_leftover_is_fetched_anew(site, tmp_path):
    """Bytes that a killed process left are no part of a file unless the whole has the right SHA-256."""
    cache, file = cache_in(tmp_path / "cache"), wanted(site, 0)
    cache.folder.mkdir()
    for content in (b"other bytes", bytes(SIZE), bytes(SIZE + 5)):
        (cache.folder / f".{file.cached_name}.{SIZE}.partial").write_bytes(content)
        descriptor = cache.open(file)
        assert sha256(os.pread(descriptor, SIZE + 1, 0)).hexdigest() == file.sha256
        os.close(descriptor)
        cache.path(file).unlink()


def test_whoever_waits_for_a_process_that_dies_takes_over(site, tmp_path):
    """The lock goes with its process: the one that waits fetches the file itself."""
    file = wanted(site, 0)
    site.faults[file.name] = [("stall", 60)]
    cache = cache_in(tmp_path / "cache")
    process = reader(cache, site, rounds=1, files=[0])
    wait_for(lambda: site.requests[file.name] == 1)
    opened = []
    thread = threading.Thread(target=lambda: opened.append(cache.open(file)))
    thread.start()
    time.sleep(0.2)
    assert not opened
    process.kill()
    process.communicate()
    thread.join(20)
    assert os.fstat(opened[0]).st_size == SIZE
    os.close(opened[0])


def test_a_fork_keeps_no_lock(tmp_path):
    """A child that outlives its parent's download does not hold its lock."""
    folder = cachefolder.CacheFolder(tmp_path, SIZE, 5.0)
    descriptor = folder.claim("set-" + "0" * 32 + ".tar", 10, lambda: False)
    (reading, writing), (ready, begun) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.write(begun, b"x")
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    os.read(ready, 1)
    cachefolder.release(descriptor)
    [partial] = tmp_path.glob(".*partial")
    with partial.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for end in (writing, ready, begun):
        os.close(end)
    os.waitpid(child, 0)


def test_a_process_that_does_not_move_is_not_waited_for_for_ever(site, tmp_path):
    """A lock that nothing moves behind ends the wait with a message that says what to do."""
    cache, file = cache_in(tmp_path / "cache"), wanted(site, 0)
    folder = cachefolder.CacheFolder(cache.folder, SIZE, 0.3)
    descriptor = folder.claim(file.cached_name, SIZE, lambda: False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cxrfast.shardset.cache._GRACE", 0.3 - cache.patience)
        with pytest.raises(ShardSetError, match=r"by another process has not moved .* end that process"):
            cache.open(file)
    cachefolder.release(descriptor)


@pytest.mark.parametrize("stage", ["request", "pause", "lock"])
def test_whoever_stops_is_heard_within_a_second(site, tmp_path, stage):
    """A silent server, a pause between tries and another's lock all notice that nobody wants the file any more."""
    cache, file = ShardCache(folder=tmp_path / "cache", stall=60.0, pause=8.0), wanted(site, 0)
    site.always[file.name] = {"request": ("stall", 60), "pause": ("status", 503)}.get(stage, (None, None))
    stopped, raised, holder = threading.Event(), [], None
    if stage == "lock":
        holder = cachefolder.CacheFolder(cache.folder, SIZE, 5.0).claim(file.cached_name, SIZE, lambda: False)

    def open_it():
        with pytest.raises(Stopped):
            cache.open(file, stopped=stopped.is_set)
        raised.append(time.monotonic())

    thread = threading.Thread(target=open_it)
    thread.start()
    time.sleep(0.5)
    assert not raised
    started = time.monotonic()
    stopped.set()
    thread.join(20)
    assert raised[0] - started < 10  # a second on a machine that is not busy
    if holder is not None:
        cachefolder.release(holder)


def test_a_read_only_descriptor_is_what_comes_back(site, tmp_path):
    """Nobody can change a cached file through what `open` gives, and no descriptor is left open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    cache, file = cache_in(tmp_path / "cache"), wanted(site, 0)
    for _ in range(2):
        descriptor = cache.open(file)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
        os.close(descriptor)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 8  # fsspec's own loop and connection
    assert not cachefolder._locked
