"""CheXpert at full size, from train.csv to the parts of an experiment: every documented count comes out at the end."""

import numpy as np
import pytest
from chexpert_tables import TRAIN, VALID, write_csvs

from cxrfast import ShardSet, sources
from cxrfast.labels import CHEXPERT, TASKS
from cxrfast.packing import doctor

DOCUMENTED = {"train": TRAIN, "val": VALID}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Return what the doctor sees of both tables, whose images are not there."""
    src = tmp_path_factory.mktemp("chexpert")
    write_csvs(src / "CheXpert-v1.0-small")
    return doctor.examine(sources.find("chexpert"), src, out=src)


@pytest.fixture(scope="module")
def shards(seen, tmp_path_factory):
    """Return the release's table as a shard set; no tar of it is ever read."""
    table = seen.release.table
    return ShardSet(table, (), (), {"chexpert": CHEXPERT}, (), np.zeros((len(table), 0), dtype=np.float32))


def frontal(shards, split):
    return shards.select(f"projection == 'frontal' and release_split == '{split}'")


def positives(part):
    return dict(zip(part.targets, (part.labels == 1).sum(axis=0).tolist(), strict=True))


def test_the_doctor_counts_what_is_documented(seen):
    """Images by split and projection and patients by split are the release's, and the verdict knows."""
    counts = {(count.split, count.what): count.found for count in seen.counts if count.released is not None}
    assert counts == {
        ("train", "frontal"): 191_027,
        ("train", "lateral"): 32_387,
        ("val", "frontal"): 202,
        ("val", "lateral"): 32,
        ("train", "patients"): 64_540,
        ("val", "patients"): 200,
    }
    assert [count for count in seen.counts if count.released not in (None, count.found)] == []
    assert len(seen.release.missing) == len(seen.release.table) == 223_648
    assert "files are missing" in seen.verdict
    assert seen.release.findings == []


def test_with_all_files_the_counts_are_those_of_the_release(seen):
    """The same release without a missing file gets the plain verdict."""
    from dataclasses import replace

    whole = replace(seen, release=replace(seen.release, missing=[]))
    assert whole.verdict == "All counts are those of the release."


def test_the_table_has_the_documented_traps(seen):
    """Studies, view positions, one unknown sex, three ages of 0, 12 rows without a label, No Finding 1 or blank."""
    table = seen.release.table
    train = table[table["release_split"] == "train"]
    assert train["study"].nunique() == 187_641
    assert train["patient"].is_monotonic_increasing
    positions = train["view_position"].fillna("blank").value_counts().to_dict()
    assert positions == {"AP": 161_590, "PA": 29_420, "LL": 16, "RL": 1, "blank": 32_387}
    assert (train["projection"] == "lateral").equals(train["view_position"].isna())
    assert int(train["sex"].isna().sum()) == 1
    assert int((train["age"] == 0).sum()) == 3
    labels = train[[f"label.{name}" for name in CHEXPERT]]
    assert int(labels.isna().all(axis=1).sum()) == 12
    assert train["label.No Finding"].dropna().unique().tolist() == [1]
    assert int(train.groupby("study").size().max()) <= 3
    assert not labels.fillna(9).groupby(train["study"]).nunique().gt(1).any(axis=None)
    patients = {split: set(rows["patient"]) for split, rows in table.groupby("release_split")}
    assert not patients["train"] & patients["val"]


@pytest.mark.parametrize("split", DOCUMENTED)
def test_positives_of_the_fourteen_are_the_studys(shards, split):
    """With uncertain as positive and blank as negative, on frontal images of train and of the test set's 202."""
    part = frontal(shards, split).task("chexpert14")
    assert len(part) == DOCUMENTED[split].frontal
    assert positives(part) == DOCUMENTED[split].positives
    assert np.isin(part.labels, (0, 1)).all()


@pytest.mark.parametrize(("split", "images", "other"), [("train", 83_374, 67_022), ("val", 139, 110)])
def test_the_rare_set_is_the_studys(shards, split, images, other):
    """Rows with a positive among the six, and Other where any of the remaining eight is; the test set by one rule."""
    part = frontal(shards, split).task("chexpert-rare")
    assert len(part) == images
    rare = {name: DOCUMENTED[split].positives[name] for name in TASKS["chexpert-rare"].among}
    assert positives(part) == {**rare, "Other": other}


@pytest.mark.parametrize("word", ["ones", "zeros", "ignore"])
def test_policies_move_the_uncertain_and_the_blank_alone(shards, word):
    """At full size: what a policy gives is what the raw values say, for all classes and for one by name."""
    part = frontal(shards, "train")
    raw = part.table[[f"label.{name}" for name in CHEXPERT]].to_numpy()
    becomes = np.float32({"ones": 1, "zeros": 0, "ignore": np.nan}[word])
    sure = np.where(np.isnan(raw), np.float32(0), raw)
    labels = part.task("chexpert14", uncertain=word).labels
    np.testing.assert_array_equal(labels, np.where(sure == -1, becomes, sure))
    labels = part.task("chexpert14", blank=word).labels
    np.testing.assert_array_equal(labels, np.where(np.isnan(raw), becomes, np.abs(raw)))
    edema = CHEXPERT.index("Edema")
    labels = part.task("chexpert14", uncertain={"Edema": word}).labels
    others = [column for column in range(14) if column != edema]
    np.testing.assert_array_equal(labels[:, edema], np.where(sure == -1, becomes, sure)[:, edema])
    np.testing.assert_array_equal(labels[:, others], np.abs(sure)[:, others])


@pytest.mark.parametrize("task", ["chexpert14", "chexpert-rare"])
@pytest.mark.parametrize(("by", "seed"), [("patient", 0), ("patient", 1234), ("patient", 2**40), ("image", 1234)])
def test_a_split_keeps_every_share(shards, task, by, seed):
    """Images within 0.1 % of 80 %, each prevalence within 0.2 % relative or 0.02 points; no patient on both sides."""
    whole = frontal(shards, "train").task(task)
    first, second = whole.split(fraction=0.8, seed=seed, by=by)
    assert len(first) + len(second) == len(whole)
    assert abs(len(first) / len(whole) - 0.8) <= 0.001 * 0.8
    prevalence = whole.labels.mean(axis=0, dtype=np.float64)
    for part in (first, second):
        off = np.abs(part.labels.mean(axis=0, dtype=np.float64) - prevalence)
        assert (off <= np.maximum(0.002 * prevalence, 0.0002)).all(), off
    shared = set(first.table["patient"]) & set(second.table["patient"])
    assert (not shared) == (by == "patient")
