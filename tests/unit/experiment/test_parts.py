"""Who serves for what: parts are disjoint by patient, and nothing of the test set reaches a pretext."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from small_dicom import dicom_bytes, write
from small_runs import experiment, pack_into

from cxrfast import sources
from cxrfast.errors import ConfigError, RunMismatch
from cxrfast.experiment.caveats import caveats
from cxrfast.experiment.copies import has_pixels_of
from cxrfast.experiment.folder import record_split
from cxrfast.experiment.parts import Parts, open_parts, split_table
from cxrfast.experiment.run import queue_warning
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack
from cxrfast.shardset.shardset import ShardSet


def patients(*parts: ShardSet | None) -> set[str]:
    return {
        f"{dataset}/{patient}"
        for part in parts
        if part is not None
        for dataset, patient in zip(part.table["dataset"], part.table["patient"], strict=True)
    }


def keys(part: ShardSet | None) -> set[str]:
    return set() if part is None else set(part.table["key"])


@pytest.fixture(scope="module")
def two_sets(phantom_shards: Path, phantom_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return shards of CheXpert phantoms, and a Kermany tree of which one image is a copy of a test image's file."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(phantom_shards / "chexpert", folder / "shards" / "chexpert")
    tests = sorted((phantom_release / "valid").rglob("*frontal.jpg"))
    others = sorted((phantom_release / "train").rglob("*frontal.jpg"))
    names = [f"IM-{number:04d}-0001.jpeg" for number in range(24)]
    for name, file in zip(names, [tests[0], *others], strict=False):
        target = folder / "kermany" / "train" / "NORMAL" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    pneumonia = folder / "kermany" / "train" / "PNEUMONIA" / "person1_virus_1.jpeg"
    pneumonia.parent.mkdir(parents=True)
    shutil.copyfile(others[-1], pneumonia)
    pack_into(folder / "shards", "kermany", folder / "kermany")
    return folder / "shards"


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("task", ["chexpert14", "chexpert-rare"])
def test_no_patient_is_on_two_sides(phantom_shards: Path, task: str, seed: int) -> None:
    """Training, validation and test share no patient; pretext follows the labelled sides, whatever the task."""
    parts = open_parts(experiment(f"data.task={task}", f"data.split.seed={seed}"), phantom_shards)
    train, valid, test = patients(parts.train), patients(parts.valid), patients(parts.test)
    assert not train & valid
    assert not (train | valid) & test
    assert not patients(parts.pretext_train) & (patients(parts.pretext_valid) | valid | test)
    assert not patients(parts.pretext_valid) & (train | test)
    assert keys(parts.train) <= keys(parts.pretext_train)
    assert keys(parts.valid) <= keys(parts.pretext_valid)


def test_a_pretext_of_the_labelled_set_is_its_frontal_training_images(phantom_shards: Path) -> None:
    """With one set and a task that keeps all rows, pretext and classifier see the same images."""
    parts = open_parts(experiment(), phantom_shards)
    assert keys(parts.pretext_train) == keys(parts.train)
    assert keys(parts.pretext_valid) == keys(parts.valid)
    assert set(parts.train.table["projection"]) == {"frontal"}


def test_pixels_of_a_test_image_stay_out_under_any_name(two_sets: Path) -> None:
    """A copy of a test image in another data set, under another patient, enters neither side of the pretext."""
    parts = open_parts(experiment("pretext.datasets=[chexpert, kermany]"), two_sets)
    pretext = keys(parts.pretext_train) | keys(parts.pretext_valid)
    assert "kermany-IM-0000-0001" not in pretext
    assert sum(key.startswith("kermany") for key in pretext) == 24
    assert keys(parts.pretext_valid) - keys(parts.valid)
    assert any("1 further images with the stored pixels of a test image" in check for check in parts.checks)


def test_a_training_copy_of_a_test_image_is_left_out(phantom_release: Path, tmp_path: Path) -> None:
    """A training image whose stored bytes are a test image's, under another patient, trains nothing and is counted."""
    release = tmp_path / "release"
    shutil.copytree(phantom_release, release)
    test = next((release / "valid").rglob("*frontal.jpg"))
    train = next((release / "train").rglob("*frontal.jpg"))
    shutil.copyfile(test, train)
    pack_into(tmp_path / "shards", "chexpert", release)
    parts = open_parts(experiment(), tmp_path / "shards")
    assert "1 training images with the stored pixels of a test image" in parts.checks[0]
    served = split_table(parts)
    key = "chexpert-" + "-".join(train.relative_to(release).with_suffix("").parts)
    assert not served["key"].str.endswith("-".join(train.with_suffix("").parts[-3:])).any(), key


def test_without_a_pretext_there_are_no_pretext_parts(phantom_shards: Path) -> None:
    """`pretext: null` leaves the baseline alone."""
    parts = open_parts(experiment("pretext=null"), phantom_shards)
    assert parts.pretext_train is None
    assert parts.pretext_valid is None


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.datasets=[kermany]", "cxrfast-shard pack kermany"),
        ("data.rows=projection == 'oblique'", "data.rows"),
        ("data.test=release_split == 'test'", "data.test"),
        ("pretext.rows=age > 500", "pretext.rows"),
        ("data.test=release_split == 'train'", "share"),
    ],
)
def test_parts_that_cannot_be_made_are_named(phantom_shards: Path, override: str, words: str) -> None:
    """A missing shard set, an expression that keeps nothing, and a test set among the training images are refused."""
    with pytest.raises(ConfigError) as error:
        open_parts(experiment(override), phantom_shards)
    assert words in str(error.value)


def test_the_split_is_written_down_and_never_changes(phantom_shards: Path, tmp_path: Path) -> None:
    """`split.csv` names every image's part, is the same each time, and a folder refuses another split of other data."""
    parts = open_parts(experiment(), phantom_shards)
    first = record_split(tmp_path, parts)
    table = pd.read_csv(tmp_path / "split.csv")
    assert (table["part"] == "train").sum() == len(parts.train)
    assert (table["part"] == "test").sum() == len(parts.test)
    assert table.loc[table["part"] == "test", "pretext"].isna().all()
    assert record_split(tmp_path, open_parts(experiment(), phantom_shards)) == first
    with pytest.raises(RunMismatch, match=r"split\.csv"):
        record_split(tmp_path, open_parts(experiment("data.split.seed=9"), phantom_shards))
    with pytest.raises(RunMismatch, match="train"):
        record_split(tmp_path, _relabelled(parts))


def test_the_split_table_has_one_row_an_image(phantom_shards: Path) -> None:
    """An image that serves in both stages stands there once, with both."""
    parts = open_parts(experiment(), phantom_shards)
    table = split_table(parts)
    assert not table["key"].duplicated().any()
    assert len(table) == len(parts.train) + len(parts.valid) + len(parts.test)


def _relabelled(parts: Parts) -> Parts:
    """Return the parts with one training label changed: same images, another task."""
    labels = parts.train.labels.copy()
    labels[0, 0] = np.float32(1) - labels[0, 0]
    train = parts.train
    changed = ShardSet(train.table, train.folders, train.names, train.annotated, train.targets, labels)
    return Parts(changed, parts.valid, parts.test, parts.pretext_train, parts.pretext_valid, parts.checks)


@pytest.mark.parametrize(("over", "warned"), [(-1, False), (0, False), (1, True)])
def test_a_queue_longer_than_a_quarter_of_the_images_is_warned_of(
    phantom_shards: Path, over: int, warned: bool
) -> None:
    """Beyond a quarter of the pretext images, not at it, the run says so and names a length that fits."""
    images = len(keys(open_parts(experiment(), phantom_shards).pretext_train))
    longest = images // 4
    chosen = experiment(f"pretext.moco.queue={longest + over}")
    warning = queue_warning(chosen, open_parts(chosen, phantom_shards))
    assert (warning is not None) == warned
    assert warning is None or f"pretext.moco.queue={longest}" in warning


@pytest.mark.parametrize(("side", "told"), [(96, False), (64, True)])
def test_sets_packed_unlike_are_told_of(two_sets: Path, tmp_path: Path, side: int, told: bool) -> None:
    """Stored bytes tell copies only where both sets were packed alike; where they were not, the report says so."""
    shutil.copytree(two_sets, tmp_path / "shards")
    commit = tmp_path / "shards" / "kermany" / "shardset.json"
    commit.write_text(commit.read_text().replace('"long_side": 96', f'"long_side": {side}'))
    parts = open_parts(experiment("pretext.datasets=[chexpert, kermany]"), tmp_path / "shards")
    words = "chexpert with long_side 96, kermany with long_side 64"
    assert any(words in check for check in parts.checks) == told


@pytest.mark.parametrize("key", ["data", "pretext"])
def test_six_means_all_six_sets(phantom_shards: Path, key: str) -> None:
    """`datasets: six` spells them out, a single name stands for a list of one, and an absent set is named."""
    settings = getattr(experiment(f"{key}.datasets=six"), key)
    assert sorted(settings.datasets) == ["chestxray14", "chexpert", "gb7flg", "kermany", "tbx11k", "vinbigdata"]
    assert getattr(experiment(f"{key}.datasets=kermany"), key).datasets == ("kermany",)
    with pytest.raises(ConfigError, match=rf"'chestxray14'.*{key}\.datasets="):
        open_parts(experiment(f"{key}.datasets=six"), phantom_shards)


PARTS = "data.test=release_split in ['val', 'test']"


@pytest.mark.parametrize(("votes", "positive"), [(1, {1, 2, 3}), (2, {2, 3}), (3, {3})])
def test_as_many_votes_as_the_experiment_says(
    phantom_shards: Path, tmp_path: Path, votes: int, positive: set[int]
) -> None:
    """`data.votes` reaches the targets of training, validation and test, and its test images stay unlabelled."""
    rows = ["image_id,class_name,rad_id"]
    for number in range(24):
        rows += [f"{number:032x},{'Cardiomegaly' if reader < number % 4 else 'ILD'},R{reader}" for reader in range(3)]
        write(tmp_path / "train" / f"{number:032x}.dicom", dicom_bytes(seed=number))
    write(tmp_path / "train.csv", "\n".join(rows).encode())
    write(tmp_path / "test" / f"{24:032x}.dicom", dicom_bytes(seed=24))
    shutil.copytree(phantom_shards, tmp_path / "shards")
    pack_into(tmp_path / "shards", "vinbigdata", tmp_path)
    chosen = experiment("data.datasets=[chexpert, vinbigdata]", "pretext=null", f"data.votes={votes}", PARTS)
    parts = open_parts(chosen, tmp_path / "shards")
    heart = parts.train.targets.index("Cardiomegaly")
    for part in (parts.train, parts.valid):
        mine = part.rows(part.table["dataset"] == "vinbigdata")
        assert len(mine)
        assert set(mine.table["votes.Cardiomegaly"][mine.labels[:, heart] == 1]) <= positive
        assert set(mine.table["votes.Cardiomegaly"][mine.labels[:, heart] == 0]).isdisjoint(positive)
    unlabelled = parts.test.rows(parts.test.table["dataset"] == "vinbigdata")
    assert len(unlabelled) == 1
    assert np.isnan(unlabelled.labels).all()


def test_another_format_and_unknown_splits_are_told_of(phantom_shards: Path, two_sets: Path) -> None:
    """Two sets may hold one picture in two formats, and a lost list of splits hides test images: both are said."""
    alone = open_parts(experiment(), phantom_shards)
    assert len(alone.checks) == 2
    parts = open_parts(experiment("pretext.datasets=[chexpert, kermany]"), two_sets)
    assert any("in another file format" in check for check in parts.checks)
    assert not any("release split" in check for check in parts.checks)
    unsplit = parts.pretext_train.table.assign(release_split=None)
    said = caveats((), (ShardSet(unsplit, (), (), {}, (), parts.pretext_train.labels),))
    assert len(said) == 1
    assert f"{(unsplit['dataset'] == 'chexpert').sum():,} of chexpert" in said[0]


@pytest.mark.parametrize("suffix", [".png", ".jpeg"])
def test_a_picture_in_another_format_is_a_copy_where_files_are_kept(tmp_path: Path, suffix: str) -> None:
    """With long_side 0 gray JPEGs and PNGs are stored as they are: equal pixels count, not equal bytes or names."""
    rng = np.random.default_rng(0)
    for number in range(8):
        small = rng.integers(0, 256, (6, 6), dtype=np.uint8)
        file = tmp_path / "src" / "kermany" / ("test" if number < 4 else "train") / "NORMAL" / f"IM-{number:04d}-1.jpeg"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), cv2.resize(small, (48, 40 + number % 2), interpolation=cv2.INTER_CUBIC))
        pixels = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        for name, changed in (("same", 0), ("other", 1)):
            copy = tmp_path / "src" / "gb7flg" / "normal" / f"{name}{number}{suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            pixels[0, 0] ^= changed
            cv2.imwrite(str(copy), pixels, [cv2.IMWRITE_JPEG_QUALITY, 100])
    for name in ("kermany", "gb7flg"):
        src = tmp_path / "src" / name
        pack(sources.find(name).scan(src), src, tmp_path / name, recipe=Recipe(name, long_side=0), workers=1)
    kermany, gb7 = (ShardSet.open(tmp_path / name) for name in ("kermany", "gb7flg"))
    test = kermany.select("release_split == 'test'")
    found = set(gb7.rows(has_pixels_of(gb7, test)).table["path"])
    expected = {f"normal/same{number}.png" for number in range(4)} if suffix == ".png" else set()
    assert found == expected
    assert has_pixels_of(test, test).all()
