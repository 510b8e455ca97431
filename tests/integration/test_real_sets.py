"""The real radiographs that lie beside the project: packed, verified, loaded and trained on together."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cxrfast import Loader, Sequential, ShardSet, ViewSpec

SHARD = str(Path(sys.executable).with_name("cxrfast-shard"))
TRAIN = str(Path(sys.executable).with_name("cxrfast-train"))
GB7 = ("MD__20200424__norma", "MD__20190111-1231_pnevmoniya")

# What is packed, and what it must hold: data set, folder below the real data, images, rejects.
SETS = {
    "kermany_224/kermany": ("kermany", "kermany_224", 5_840, 0),
    "kermany_orig/kermany": ("kermany", "kermany_orig", 235, 0),
    "chestxray14": ("chestxray14", "nih_64", 1_000, 1),  # the csv has a row for an image that is not there
}


def run(*command):
    """Run a command to its end; its status must be 0."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def gb7(real_data, tmp_path_factory):
    """Return the two real DICOM files under the names that GB7 would give them."""
    src = tmp_path_factory.mktemp("gb7")
    for folder, name in zip(GB7, ("RG1_UNCR.dcm", "RG1_J2KI.dcm"), strict=True):
        place = src / "GB7" / "FLG" / folder / "Undef"
        place.mkdir(parents=True)
        (place / "IM_00001").symlink_to(real_data / "dicom" / name)
    return src


@pytest.fixture(scope="module")
def shards(real_data, gb7, tmp_path_factory):
    """Return the packed sets; the two forms of Kermany's images, of the same names, lie in folders of their own."""
    out = tmp_path_factory.mktemp("shards")
    for place, (name, folder, images, rejected) in SETS.items():
        said = run(SHARD, "pack", name, real_data / folder, "--out", out / place, "--long-side", 64)
        assert f"{images:,} images" in said
        assert f"{rejected} rejected" in said
    run(SHARD, "pack", "gb7flg", gb7, "--out", out / "gb7flg", "--long-side", 64)
    return out


def sets_with(shards, kermany):
    return [shards / kermany / "kermany", shards / "chestxray14", shards / "gb7flg"]


def test_real_sets_verify(shards):
    """Every byte and every image of all four is right."""
    run(SHARD, "verify", *(shards / place for place in (*SETS, "gb7flg")), "--decode")


@pytest.mark.parametrize(("kermany", "images"), [("kermany_224", 6_842), ("kermany_orig", 1_237)])
def test_real_sets_load_as_one(shards, kermany, images):
    """A loader over three sets hands out each image once, and none is black."""
    three = ShardSet.open(*sets_with(shards, kermany))
    assert len(three) == images
    with Loader(three, views=[ViewSpec.plain()], size=32, batch_size=64, seed=0, order=Sequential(lanes=4)) as loader:
        brightest = [(batch.images.amax(dim=(1, 2, 3, 4)), batch.index) for batch in loader.epoch(0)]
    assert sum(len(index) for _, index in brightest) == images
    assert all(int(pixels.min()) > 60 for pixels, _ in brightest)


@pytest.mark.parametrize("kermany", ["kermany_224", "kermany_orig"])
def test_real_sets_train_as_one(shards, kermany, tmp_path):
    """Pneumonia from real radiographs of three sets: pretext, classifiers and a report, by the command."""
    place = tmp_path / "shards"
    place.mkdir()
    for folder in sets_with(shards, kermany):
        (place / folder.name).symlink_to(folder)
    # Enough rows to be real and few enough to be quick; ChestX-ray14 is the test set of both runs.
    some = "patient < 'IM-0300' or 'bacteria' < patient < 'bacteria-0200'"
    rows = f"projection == 'frontal' and (dataset != 'kermany' or {some})"
    settings = [
        "name=real", "size=32", "runtime.device=cpu", "runtime.threads=1", f"data.rows={rows}", "data.task=pneumonia",
        "data.datasets=[kermany, chestxray14, gb7flg]", "data.train=dataset != 'chestxray14'",
        "data.test=dataset == 'chestxray14'", f"pretext.rows={rows} and dataset != 'chestxray14'",
        "pretext.datasets=[kermany, chestxray14, gb7flg]", "pretext.moco.queue=40", "pretext.fit.epochs=1",
        "classifier.fit.epochs=1", "classifier.batch_size=16", "pretext.batch_size=16",
    ]  # fmt: skip
    options = [word for setting in settings for word in ("-o", setting)]
    run(TRAIN, "--config", "demo.yaml", "--shards", place, "--run", tmp_path / "run", *options)
    table = pd.read_csv(tmp_path / "run" / "split.csv")
    assert set(table["dataset"]) == {"kermany", "chestxray14", "gb7flg"}
    assert len(table[table["part"] == "test"]) == 1_000
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
