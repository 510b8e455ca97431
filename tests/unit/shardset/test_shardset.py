import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from small_sets import noise_images, write_set

from cxrfast.errors import LabelError, QueryError, ShardSetError, SplitError
from cxrfast.labels import Task
from cxrfast.shardset.shardset import ShardSet

TASK = Task("two", ("Edema", "Fracture"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "phantom", noise_images(50), per_shard=16)


@pytest.fixture
def shards(folder):
    return ShardSet.open(folder)


def edit_commit(folder, **changes):
    path = folder / "shardset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_offsets_of_the_table_point_at_payloads(shards):
    """Each row's shard, offset and length cut an image out of a tar of this set."""
    for row in shards.table.itertuples():
        content = shards.tar_path(row.shardset, row.shard).read_bytes()
        assert content[row.offset : row.offset + 8] == b"\x89PNG\r\n\x1a\n"


def test_two_folders_open_as_one_table(folder, tmp_path):
    """Rows of both stand below each other, know their folder, and a class that one lacks is NaN there."""
    other = write_set(tmp_path / "other", noise_images(7), name="other")
    both = ShardSet.open(folder, other)
    assert len(both) == 57
    assert both.table["shardset"].value_counts().to_dict() == {0: 50, 1: 7}
    assert both.tar_path(1, 0) == other / "other-00000.tar"
    assert set(both.annotated) == {"phantom", "other"}
    assert both.table.index.equals(pd.RangeIndex(57))


def test_the_same_keys_twice_are_refused(folder):
    """A set opened twice would count its images twice."""
    with pytest.raises(ShardSetError, match="stored twice"):
        ShardSet.open(folder, folder)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "shardset.json").unlink(), "not a shard set"),
        (lambda folder: (folder / "shardset.json").write_text("{"), "damaged"),
        (lambda folder: edit_commit(folder, version=99), "version 99"),
        (lambda folder: (folder / "phantom-00000.tar").unlink(), "No such file"),
        (lambda folder: (folder / "phantom-00000.tar").write_bytes(b"cut"), "has 3 bytes where"),
    ],
)
def test_a_set_that_is_not_whole_is_refused_in_words(tmp_path, damage, words):
    """Absent or foreign commit files and absent or cut tars are found when the set is opened."""
    folder = write_set(tmp_path / "set", noise_images(3))
    damage(folder)
    with pytest.raises(ShardSetError, match=words):
        ShardSet.open(folder)


def test_an_absent_or_unfinished_folder_names_the_remedy(tmp_path, folder):
    """No folder, a folder of shard sets, and a begun one: each gets its own advice."""
    with pytest.raises(ShardSetError, match="pack one with"):
        ShardSet.open(tmp_path / "nowhere")
    with pytest.raises(ShardSetError, match="did you mean its folders phantom"):
        ShardSet.open(folder.parent)
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(ShardSetError, match="run its pack command again"):
        ShardSet.open(tmp_path)


def test_select_keeps_rows_and_labels_together(shards):
    """After any chain of choices a row's labels are still its own, and the first set is as it was."""
    tasked = shards.task(TASK)
    chosen = tasked.select("label.Edema == 1").rows(np.arange(5)[::-1])
    assert len(shards) == len(tasked) == 50
    assert len(chosen) == 5
    expected = chosen.table[["label.Edema", "label.Fracture"]].to_numpy()
    np.testing.assert_array_equal(chosen.labels, expected)
    with pytest.raises(QueryError):
        shards.select("nowhere == 1")


def test_no_row_is_a_set_too(shards):
    """An empty selection can be asked for its length, labels, task and fingerprint."""
    empty = shards.task(TASK).select("age > 1000")
    assert (len(empty), empty.labels.shape, len(empty.rows([]))) == (0, (0, 2), 0)
    assert len(empty.fingerprint()) == 32


def test_a_task_gives_targets_and_without_one_there_are_none(shards):
    """`labels` is (n, 0) until a task is chosen, then float32 (n, C) in the order of its targets."""
    assert shards.labels.shape == (50, 0)
    tasked = shards.task(TASK)
    assert (tasked.targets, tasked.labels.shape, tasked.labels.dtype) == (TASK.targets, (50, 2), np.float32)
    rare = shards.task(Task("rare", ("Edema",), among=("Fracture",)))
    assert len(rare) == int((shards.table["label.Fracture"] == 1).sum())


@pytest.mark.parametrize(
    "policies", [{"uncertain": None}, {"blank": 1}, {"blank": ["ones"]}, {"uncertain": {"Edema": None}}]
)
def test_a_policy_that_is_no_word_or_mapping_is_refused(shards, policies):
    """What was given is named."""
    with pytest.raises(LabelError, match=r"None|1|ones"):
        shards.task(Task("edema", ("Edema",)), **policies)


@pytest.mark.parametrize("wrong", [{"fraction": "a"}, {"seed": 1.5}, {"seed": None}])
def test_a_split_by_what_is_no_number_is_refused(shards, wrong):
    """It is a mistake of the call, said in words."""
    with pytest.raises(SplitError):
        shards.split(**{"fraction": 0.5, "seed": 0} | wrong)


def test_split_parts_share_no_patient_and_lose_no_row(shards):
    """Both parts together are the set, and no patient is in both."""
    first, second = shards.task(TASK).split(fraction=0.8, seed=1)
    assert sorted([*first.table["key"], *second.table["key"]]) == sorted(shards.table["key"])
    assert not set(first.table["patient"]) & set(second.table["patient"])


def test_equal_patient_names_of_two_sets_are_two_people(folder, tmp_path):
    """Patient p0 of one set may be on another side than p0 of the other; each set's own stays on one side."""
    other = write_set(tmp_path / "other", noise_images(50), name="other")
    first, second = ShardSet.open(folder, other).split(fraction=0.5, seed=3)
    sides = [{(row.dataset, row.patient) for row in part.table.itertuples()} for part in (first, second)]
    assert not sides[0] & sides[1]
    assert {patient for _, patient in sides[0]} & {patient for _, patient in sides[1]}


def test_labels_of_a_csv_replace_and_restrict(shards, tmp_path):
    """Rows take the csv's values, rows that it does not name are left out, and the class counts as annotated."""
    keys = shards.table["key"].iloc[[4, 2, 9]].tolist()
    csv = tmp_path / "labels.csv"
    csv.write_text(
        "key,Edema,label.New\n" + "".join(f"{key},-1,{n}\n" for n, key in enumerate(keys[:2])) + f"{keys[2]},1,\n"
    )
    mine = shards.with_labels(csv)
    assert set(mine.table["key"]) == set(keys)
    by_key = mine.table.set_index("key")
    assert by_key.loc[keys, "label.Edema"].tolist() == [-1, -1, 1]
    np.testing.assert_array_equal(by_key.loc[keys, "label.New"], [0, 1, np.nan])
    assert mine.annotated == {"phantom": ("Fracture", "Edema", "New")}
    tasked = mine.task(Task("new", ("New",)), blank="ignore")
    assert np.isnan(tasked.labels).sum() == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,Edema\na,1\n", "needs `key`"),
        ("key\na\n", "at least one class"),
        ("key,Edema\nphantom-00001,1\nphantom-00001,0\n", "twice"),
        ("key,Edema\nphantom-00001,yes\n", "labels are"),
        ("key,Edema,label.Edema\nphantom-00001,1,0\n", "the column Edema twice"),
        ("key,Edema,New,Edema\nphantom-00001,1,1,0\n", "the column Edema twice"),
        ("key,Edema,key\nphantom-00001,1,phantom-00002\n", "the column key twice"),
        ("", "cannot be read"),
        ("key,Edema\nphantom-00001,2\n", "another number"),
        ("key,Edema\nstranger,1\n", "none of the 1 keys"),
    ],
)
def test_a_csv_that_cannot_be_meant_is_refused(shards, tmp_path, text, words):
    """Each mistake in a label file has its own message."""
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(LabelError, match=words):
        shards.with_labels(tmp_path / "labels.csv")


def test_fingerprint_names_rows_order_targets_and_labels(shards, folder):
    """It is the same for the same choice and another one after any change that a loader could see."""
    tasked = shards.task(TASK)
    assert tasked.fingerprint() == ShardSet.open(folder).task(TASK).fingerprint()
    others = [
        shards,
        tasked.rows(np.arange(49)),
        tasked.rows(np.r_[1, 0, 2:50]),
        shards.task(Task("one", ("Edema",))),
        shards.task(Task("turned", ("Fracture", "Edema"))),
    ]
    prints = {tasked.fingerprint(), *(other.fingerprint() for other in others)}
    assert len(prints) == len(others) + 1


def test_opening_and_querying_imports_neither_torch_nor_opencv(folder):
    """A table is enough: heavy packages stay out of a process that only asks questions."""
    code = (
        "import sys; from cxrfast import ShardSet; "
        f"ShardSet.open({str(folder)!r}).select('age > 1').split(fraction=.5, seed=0); "
        "print([name for name in ('torch', 'cv2', 'webdataset') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_damaged_manifest_is_refused(tmp_path):
    """One flipped bit in manifest.parquet, which parquet mostly reads in silence, is seen on opening."""
    folder = write_set(tmp_path / "set", noise_images(20))
    path = folder / "manifest.parquet"
    whole = path.read_bytes()
    for place in range(8, len(whole) - 8, len(whole) // 20):
        content = bytearray(whole)
        content[place] ^= 16
        path.write_bytes(bytes(content))
        with pytest.raises(ShardSetError, match="SHA-256"):
            ShardSet.open(folder)


def test_given_labels_replace_their_synonyms(tmp_path):
    """Labels given as `Pneumonia` take the place of a set's own PNEUMONIA, so that no old positive stays behind."""
    shards = ShardSet.open(write_set(tmp_path / "set", noise_images(6)))
    shards.table["label.PNEUMONIA"] = np.ones(6, dtype=np.float32)
    shards.annotated["phantom"] = (*shards.annotated["phantom"], "PNEUMONIA")
    csv = tmp_path / "labels.csv"
    csv.write_text("key,Pneumonia\n" + "".join(f"{key},0\n" for key in shards.table["key"]))
    assert shards.with_labels(csv).task("pneumonia").labels.sum() == 0


def test_given_labels_have_no_votes_of_others(tmp_path):
    """A csv's label counts as given, however many readers the release had for it; other classes keep their votes."""
    shards = ShardSet.open(write_set(tmp_path / "set", noise_images(4)))
    for name in ("Edema", "Fracture"):
        shards.table[f"label.{name}"] = np.float32(1)
        shards.table[f"votes.{name}"] = np.arange(4, dtype=np.float32)
    csv = tmp_path / "labels.csv"
    csv.write_text("key,Edema\n" + "".join(f"{key},1\n" for key in shards.table["key"]))
    mine = shards.with_labels(csv).task(TASK, votes=2)
    assert mine.labels.T.tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert shards.task(TASK, votes=2).labels.T.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize(
    "changes",
    [
        {"files": None}, {"files": []}, {"files": {}}, {"files": {"manifest.parquet": {}}}, {"name": None},
        {"labels": None}, {"labels": "Edema"}, {"labels": [1]}, {"name": "../x"}, {"recipe": 5},
        {"files": {"manifest.parquet": {"size": 1, "sha256": ""}, "a\ud800": {"size": 1, "sha256": ""}}},
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused_in_words(folder, tmp_path, changes):
    """Fields of shardset.json that are gone or of another kind: one sentence, whatever reads it first."""
    copy = tmp_path / "set"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    edit_commit(copy, **changes)
    with pytest.raises(ShardSetError, match=r"shardset\.json is damaged"):
        ShardSet.open(copy)
