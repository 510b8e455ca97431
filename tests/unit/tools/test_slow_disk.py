"""A disk is held back by the kernel, for one command alone, and nothing of it is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOOL = ROOT / "tools" / "slow_disk.py"
BLKIO = Path("/sys/fs/cgroup/blkio")
GROUPS = "cxrfast-slow-disk-*"


def on_disk(path):
    """Return whether a path lies on a block device, where tests may have their folder in memory."""
    device = path.stat().st_dev
    return Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").exists()


needs_throttle = pytest.mark.skipif(
    os.geteuid() != 0 or not (BLKIO / "cgroup.procs").exists() or not os.access(BLKIO, os.W_OK),
    reason="needs root and cgroup v1's blkio",
)


def command(*arguments):
    return [sys.executable, str(TOOL), *map(str, arguments)]


def slow(*arguments, **options):
    return subprocess.run(command(*arguments), capture_output=True, text=True, **options)


@pytest.fixture
def folder(tmp_path):
    if not on_disk(tmp_path):
        pytest.skip("the temporary folder is not on a disk")
    return tmp_path


READ = "import sys, time; s = time.time(); n = len(open(sys.argv[1], 'rb').read()); print(n, time.time() - s)"


@needs_throttle
@pytest.mark.slow
def test_a_file_reads_at_the_limits_order_of_magnitude(folder):
    """20 MB at 10 MB/s take about two seconds from the disk, though a moment before they were in memory.

    The bounds are wide, and only the lower one depends on the throttle: it proves that there is one.
    """
    path = folder / "file"
    path.write_bytes(os.urandom(20_000_000))
    done = slow("--read-mbps", 10, "--read-iops", 1000, path, "--", sys.executable, "-c", READ, path)
    assert done.returncode == 0, done.stderr
    nbytes, seconds = done.stdout.split()
    assert int(nbytes) == 20_000_000
    assert 0.7 < float(seconds) < 60
    assert '"read_ahead_kb"' in done.stderr


@needs_throttle
def test_the_commands_status_is_ours_and_no_cgroup_is_left(folder):
    """The command runs inside a cgroup of its own, which is gone afterwards."""
    look = "import sys; print(open('/proc/self/cgroup').read()); sys.exit(7)"
    done = slow(folder, "--", sys.executable, "-c", look)
    assert done.returncode == 7
    assert "cxrfast-slow-disk-" in done.stdout
    pid = done.stdout.split("cxrfast-slow-disk-")[1].split()[0]
    assert not (BLKIO / f"cxrfast-slow-disk-{pid}").exists()


@needs_throttle
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_and_removes_the_cgroup(folder, number):
    """Ctrl-C and `kill` leave neither the command nor the cgroup."""
    mark = folder / "pid"
    sleep = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    process = subprocess.Popen(command(folder, "--", sys.executable, "-c", sleep), stderr=subprocess.PIPE)
    while not (mark.exists() and mark.read_text()):
        assert process.poll() is None
        time.sleep(0.02)
    assert (BLKIO / f"cxrfast-slow-disk-{process.pid}").exists()
    process.send_signal(number)
    process.communicate()
    assert process.returncode == 128 + number
    assert not (BLKIO / f"cxrfast-slow-disk-{process.pid}").exists()
    assert not Path(f"/proc/{mark.read_text()}").exists()


@needs_throttle
def test_as_a_context_it_gives_the_process_back(folder):
    """Inside the block this process is held; afterwards it is where it was, an exception or not."""
    code = f"""
import sys; sys.path.insert(0, {str(TOOL.parent)!r})
from pathlib import Path
from slow_disk import drop_cache, served, slow_disk
group = lambda: Path('/proc/self/cgroup').read_text()
before = group()
path = Path({str(folder / "file")!r})
path.write_bytes(bytes(1_000_000))
try:
    with slow_disk(Path({str(folder)!r}), read_mbps=50, read_iops=50) as disk:
        assert group() != before
        assert disk.read_ahead_kb >= 0 and ':' in disk.number
        assert served(disk) == (0, 0)
        drop_cache([path])
        path.read_bytes()
        assert served(disk)[0] >= 1_000_000 and 1 <= served(disk)[1] < 300
        raise KeyError
except KeyError:
    pass
assert group() == before
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_dropping_forgets_a_files_pages(folder):
    """A file just read is in the page cache, and after dropping it is not: the measure of it is no constant."""
    path = folder / "file"
    path.write_bytes(bytes(1_000_000))
    code = f"""
import sys; sys.path.insert(0, {str(TOOL.parent)!r})
from pathlib import Path
from slow_disk import cached_share, drop_cache
path = Path({str(path)!r})
path.read_bytes()
print(cached_share(path)); drop_cache([path]); print(cached_share(path))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = map(float, done.stdout.split())
    assert before > 0.9
    assert after < 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("PATH",), "command"),
        (("nowhere", "--", "true"), "PATH"),
        (("--read-iops", "0", "PATH", "--", "true"), "limit"),
    ],
)
def test_mistakes_are_told(tmp_path, arguments, words):
    """Without a command, a path or a positive limit nothing is run."""
    done = slow(*(str(tmp_path) if each == "PATH" else each for each in arguments))
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]


def test_where_it_cannot_be_done_one_line_says_why():
    """A path that is on no disk, or a machine without the throttle or the right to use it: one line and status 2."""
    done = slow("/proc/self", "--", "true")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("slow_disk: ")
