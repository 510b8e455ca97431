"""What all tests share: where the real X-rays lie, and one small packed release of phantoms made once a run."""

from pathlib import Path

import pytest
from small_runs import pack_into

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real radiographs beside the project; skip where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real radiographs at {folder}")
    return folder


@pytest.fixture(scope="session")
def phantom_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a synthetic CheXpert release of 320 images."""
    from cxrfast import phantom

    return phantom.write(tmp_path_factory.mktemp("phantom"), images=320, seed=5)["chexpert"]


@pytest.fixture(scope="session")
def phantom_shards(phantom_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of shard sets that holds that release, packed, as `chexpert`; tests must not change it."""
    shards = tmp_path_factory.mktemp("shards")
    pack_into(shards, "chexpert", phantom_release)
    return shards
