"""All six releases in one folder, as a user has them: looked at, packed, verified, loaded and trained on as one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import experiment

from cxrfast import Loader, Sequential, ShardSet, ViewSpec, phantom
from cxrfast.experiment.config import DataSettings, PretextSettings
from cxrfast.experiment.parts import open_parts
from cxrfast.labels import CHEXPERT, VOCABULARIES, class_of

SHARD = str(Path(sys.executable).with_name("cxrfast-shard"))
TRAIN = str(Path(sys.executable).with_name("cxrfast-train"))
IMAGES = 64
FOLDERS = {
    "chexpert": "CheXpert-v1.0-small", "chestxray14": "ChestX-ray14", "kermany": "chest_xray", "gb7flg": "GB7",
    "tbx11k": "TBX11K", "vinbigdata": "vinbigdata-chest-xray-abnormalities-detection",
}  # fmt: skip


def run(*command):
    """Run a command to its end and return what it printed; its status must be 0."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    """Return one folder that holds synthetic releases of all six sets."""
    out = tmp_path_factory.mktemp("releases")
    phantom.write(out, datasets=tuple(VOCABULARIES), images=IMAGES, seed=2)
    return out


@pytest.fixture(scope="module")
def shards(releases, tmp_path_factory):
    """Return a folder with the six packed sets, each packed from the one folder of all releases."""
    out = tmp_path_factory.mktemp("shards")
    for name in VOCABULARIES:
        run(SHARD, "pack", name, releases, "--out", out / name, "--long-side", 64, "--samples-per-shard", 16)
    return out


@pytest.mark.parametrize("name", VOCABULARIES)
def test_doctor_finds_each_release_among_the_others(releases, name):
    """Nothing is missing or left over, no image of another set is counted, and all of it is said to be synthetic."""
    seen = json.loads(run(SHARD, "doctor", name, releases, "--json", "--decode", 20, "--hash"))
    extra = len(list(releases.glob("TBX11K/imgs/extra/*/*"))) if name == "tbx11k" else 0
    assert seen["images"] == IMAGES - extra
    assert seen["missing"] == seen["unlisted"] == []
    assert any("synthetic" in finding and FOLDERS[name] in finding for finding in seen["findings"])
    assert set(seen["labels"]) == set(VOCABULARIES[name])


def test_all_six_verify_with_every_image_decoded(shards):
    """As one call over six sets: status 0."""
    run(SHARD, "verify", *sorted(shards.iterdir()), "--decode")


def test_six_select_as_one_and_unknown_classes_are_masked(shards):
    """A target is known exactly where the row's own set annotates its class and has labelled the row at all."""
    six = ShardSet.open(*(shards / name for name in VOCABULARIES)).select("projection == 'frontal'")
    assert set(six.table["dataset"]) == set(VOCABULARIES)
    chosen = six.task("chexpert14")
    dataset = chosen.table["dataset"].to_numpy()
    for name, vocabulary in VOCABULARIES.items():
        rows = dataset == name
        labelled = ~chosen.table.loc[rows, [f"label.{label}" for label in vocabulary]].isna().all(axis=1).to_numpy()
        labelled |= name == "chexpert"  # a blank CheXpert row is a report that names nothing
        annotated = {class_of(label) for label in vocabulary}
        for column, target in enumerate(CHEXPERT):
            known = ~np.isnan(chosen.labels[rows, column])
            np.testing.assert_array_equal(known, labelled & (target in annotated), err_msg=f"{name}: {target}")


def test_six_load_as_one(shards):
    """One loader over all six hands out every image once, none of them empty, in every backend's uint8 form."""
    six = ShardSet.open(*(shards / name for name in VOCABULARIES))
    with Loader(six, views=[ViewSpec.plain()], size=32, batch_size=16, seed=0, order=Sequential(lanes=4)) as loader:
        seen = [(batch.index.numpy(), batch.images.numpy()) for batch in loader.epoch(0)]
    np.testing.assert_array_equal(np.sort(np.concatenate([index for index, _ in seen])), np.arange(len(six)))
    assert all(images.max(axis=(1, 2, 3, 4)).min() > 60 for _, images in seen)


def test_six_train_as_one(shards, tmp_path):
    """ME2's pattern by the command: pretext on six, classifier on six, no test image of any set in either."""
    settings = [
        "name=six", "size=32", "runtime.device=cpu", "runtime.threads=1", "data.datasets=six", "pretext.datasets=six",
        "data.train=dataset != 'chexpert' and not release_split == 'test' or release_split == 'train'",
        "data.test=dataset == 'chexpert' and release_split == 'val'", "pretext.moco.queue=40", "pretext.fit.epochs=1",
        "pretext.rows=projection == 'frontal' and not release_split == 'test'", "classifier.fit.epochs=1",
    ]  # fmt: skip
    options = [word for setting in settings for word in ("-o", setting)]
    run(TRAIN, "--config", "demo.yaml", "--shards", shards, "--run", tmp_path / "run", *options)
    split = pd.read_csv(tmp_path / "run" / "split.csv").set_index("key")
    table = ShardSet.open(*(shards / name for name in VOCABULARIES)).table.set_index("key")
    used = split.join(table[["release_split", "projection"]])
    assert set(used["dataset"]) == set(VOCABULARIES)
    trained = used[used["part"].isin(["train", "valid"]) | used["pretext"].notna()]
    assert not (trained["release_split"] == "test").any()
    assert set(trained["dataset"]) == set(VOCABULARIES)
    assert (used.loc[used["part"] == "test", "dataset"] == "chexpert").all()
    assert used.loc[used["part"] == "test", "pretext"].isna().all()
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_test_images_of_every_set_stay_out_unless_asked_for(shards):
    """By default neither the classifier's training nor the pretext takes an image that its release calls test."""
    text = ("data.datasets=[kermany, chestxray14]", "pretext.datasets=six", "data.task=pneumonia")
    defaults = {
        "data.train": DataSettings.model_fields["train"].default,
        "pretext.rows": PretextSettings.model_fields["rows"].default,
    }
    chosen = experiment(
        *text, "data.test=release_split == 'test'", *(f"{key}={value}" for key, value in defaults.items())
    )
    parts = open_parts(chosen, shards)
    for part in (parts.train, parts.valid, parts.pretext_train, parts.pretext_valid):
        assert not (part.table["release_split"] == "test").any()
    asked = experiment(*text, "data.test=release_split == 'val'", "data.train=release_split == 'test'")
    assert (open_parts(asked, shards).train.table["release_split"] == "test").all()
