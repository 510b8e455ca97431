"""DALI is an extra: where it is not installed, everything else works on OpenCV."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "nvidia" or name.startswith("nvidia.dali"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
try:
    import nvidia.dali
    sys.exit("DALI was not hidden")
except ModuleNotFoundError:
    pass

from cxrfast import Loader, Sequential, ShardSet, ViewSpec
from cxrfast.errors import LoaderError

shards = ShardSet.open(sys.argv[1])
settings = dict(views=[ViewSpec.paper()] * 2, size=32, batch_size=16, seed=0, order=Sequential())
with Loader(shards, **settings) as loader:
    print(sum(len(batch.index) for batch in loader.epoch(0)) == len(shards))
try:
    Loader(shards, backend="dali", **settings)
except LoaderError as error:
    print(error)
"""


def test_without_dali_opencv_renders(phantom_shards: Path) -> None:
    """With DALI hidden, `auto` loads a whole epoch, and asking for DALI by name is refused in words."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(phantom_shards / "chexpert")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded, refusal = done.stdout.splitlines()
    assert loaded == "True"
    assert "pip install 'nvidia-dali-cuda" in refusal
    assert "backend='opencv'" in refusal
