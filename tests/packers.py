"""Packers in processes of their own, for tests that kill them: real signals at moments counted in images."""

import signal
import subprocess
import sys

SIGNALLED = -signal.SIGKILL

# `folder` holds `src` and `release.pickle`, (release, recipe).
PACKER = """
import os, pickle, signal, sys
from multiprocessing import active_children
from pathlib import Path
from cxrfast.packing.run import pack
from cxrfast.packing.slices import Slice

def report(done, *_):
    if moment is None or done < moment:
        return
    children = " ".join(str(child.pid) for child in active_children())
    Path(folder, "children").write_text(children)
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "interrupt":
        os.killpg(0, signal.SIGINT)
    else:
        print("holding", flush=True)
        sys.stdin.readline()

if __name__ == "__main__":
    folder, out, workers, share, what, moment = sys.argv[1:]
    moment = None if moment == "never" else int(moment)
    release, recipe = pickle.loads(Path(folder, "release.pickle").read_bytes())
    index, count = map(int, share.split("/"))
    settings = {"share": Slice(index, count), "workers": int(workers), "max_rejects": 1.0, "progress": report}
    try:
        pack(release, Path(folder, "src"), Path(out), recipe=recipe, **settings)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def start(folder, out, *, what="kill", moment="never", workers=2, share="0/1"):
    """Start a packer that does `what` (kill, interrupt, hold) to itself once `moment` images are done."""
    command = [sys.executable, "-c", PACKER, folder, out, workers, share, what, moment]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(list(map(str, command)), text=True, start_new_session=True, **pipes)


def run(folder, out, **settings):
    """Run such a packer to its end; return its status and what it said on stderr."""
    process = start(folder, out, **settings)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors
