"""VinBigData's release and its mirrors: votes of three readers, and every layout that people have."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from small_dicom import dicom_bytes, write
from small_runs import pack_into

from cxrfast import sources
from cxrfast.errors import SourceError
from cxrfast.labels import VOCABULARIES, Task
from cxrfast.shardset.shardset import ShardSet

HEADER = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
HEALTHY, ILL, MIXED, UNREAD = (hashlib.md5(text.encode()).hexdigest() for text in ("a", "b", "c", "d"))
BOX = "1.0,2.0,3.0,4.0"
# One image without findings; one whose readers see two, one and three classes, one of them in two boxes.
ROWS = [
    *(f"{HEALTHY},No finding,14,R{reader},,,," for reader in (8, 9, 10)),
    f"{ILL},Nodule/Mass,8,R8,{BOX}", f"{ILL},Nodule/Mass,8,R8,5.0,6.0,7.0,8.0", f"{ILL},Cardiomegaly,3,R8,{BOX}",
    f"{ILL},Nodule/Mass,8,R9,{BOX}", f"{ILL},Nodule/Mass,8,R10,{BOX}", f"{ILL},ILD,5,R10,{BOX}",
    f"{ILL},Cardiomegaly,3,R10,{BOX}",
]  # fmt: skip
VOTES = {"Nodule/Mass": 3, "Cardiomegaly": 2, "ILD": 1}
META = "image_id,dim0,dim1\n" + f"{HEALTHY},2336,2080\n"


def write_csv(path, rows=ROWS, end="\n", start=""):
    write(path, (start + end.join([HEADER, *rows]) + end).encode())


def make(root, *, train="train", test="test", suffix=".dicom", csv="train.csv"):
    """Write two train images and a test image; PNGs and JPEGs are bytes only."""
    write_csv(root / csv)
    for number, (folder, image) in enumerate(((train, HEALTHY), (train, ILL), (test, UNREAD))):
        person = {"PatientSex": "FM"[number % 2], "PatientAge": ("045Y", "000Y", "0200Y")[number]}
        content = dicom_bytes(seed=number, **person) if suffix == ".dicom" else suffix.encode() + bytes([number])
        write(root / folder / f"{image}{suffix}", content)


def scan(folder):
    return sources.find("vinbigdata").scan(folder)


@pytest.fixture(autouse=True)
def _odd_ages_are_meant(recwarn):
    """Pydicom warns of the odd ages that these tests write."""


def test_a_release_is_read(tmp_path):
    """Labels and votes from train.csv, sex and age from headers, impossible ages missing, test images unlabelled."""
    make(tmp_path)
    release = scan(tmp_path)
    table = release.table
    assert (release.findings, release.missing, release.unlisted) == ([], [], [])
    assert release.layout == "Kaggle's release (DICOM)"
    assert table["key"].tolist() == [f"vinbigdata-{image}" for image in (HEALTHY, ILL, UNREAD)]
    assert table["path"].tolist() == [
        f"train/{HEALTHY}.dicom", f"train/{ILL}.dicom", f"test/{UNREAD}.dicom",
    ]  # fmt: skip
    assert table["release_split"].tolist() == ["train", "train", "test"]
    assert table["sex"].tolist() == ["F", "M", "F"]
    assert table["age"].fillna(-1).tolist() == [45, -1, -1]
    assert table["patient"].isna().all()
    for name in VOCABULARIES["vinbigdata"]:
        votes = [3 if name == "No finding" else 0, VOTES.get(name, 0), -1]
        assert table[f"votes.{name}"].fillna(-1).tolist() == votes
        assert table[f"label.{name}"].fillna(-1).tolist() == [min(vote, 1) for vote in votes]


@pytest.mark.parametrize(
    ("layout", "inside", "called"),
    [
        ({}, "", "DICOM"),
        ({}, "..", "DICOM"),
        ({"train": "train/train", "test": "test/test"}, "", "DICOM"),
        ({"suffix": ".png"}, "", "PNG"),
        ({"suffix": ".png", "train": "vinbigdata/train", "test": "vinbigdata/test"}, "", "PNG"),
        ({"suffix": ".jpg", "csv": "labels/train.csv"}, "", "JPG"),
        ({"suffix": ".PNG", "csv": "train/train.csv"}, "", "PNG"),
        ({"suffix": ".png", "train": "512/Train", "test": "512/Test"}, "..", "PNG"),
    ],
)
def test_every_layout_gives_the_same_images(tmp_path, layout, inside, called):
    """The same keys, labels and splits wherever folders and table lie; tables of other names are never taken."""
    root = tmp_path / "above" / "root"
    make(root, **layout)
    write(root / "train_meta.csv", META.encode())
    write(root / "sample_submission.csv", b"image_id,PredictionString\nx,14 1 0 0 1 1\n")
    make(tmp_path / "plain")
    release, plain = scan(root / inside), scan(tmp_path / "plain")
    assert called in release.layout
    assert (release.findings, release.missing, release.unlisted) == ([], [], [])
    left_out = ["path", "sex", "age"]
    assert release.table.drop(columns=left_out).equals(plain.table.drop(columns=left_out))
    assert all((root / inside / path).is_file() for path in release.table["path"])
    assert release.table["sex"].isna().all() == (called != "DICOM")


def test_a_byte_order_mark_windows_line_ends_and_more_columns_change_nothing(tmp_path):
    """Nor does the order of rows and columns change an image's votes."""
    make(tmp_path / "a")
    make(tmp_path / "b")
    turned = [",".join([*row.split(",")[::-1], "512"]) for row in ROWS[::-1]]
    text = "\r\n".join([",".join([*HEADER.split(",")[::-1], "width"]), *turned])
    write(tmp_path / "b" / "train.csv", b"\xef\xbb\xbf" + text.encode())
    first, second = (scan(tmp_path / name).table.sort_values("key", ignore_index=True) for name in "ab")
    assert first.equals(second)


def test_missing_and_unlisted_images_are_named(tmp_path):
    """A missing one where the others lie; one in train/ that the table does not name is no test image."""
    make(tmp_path, train="x/train", suffix=".png")
    stray = "0" * 32
    (tmp_path / "x" / "train" / f"{ILL}.png").rename(tmp_path / "x" / "train" / f"{stray}.png")
    release = scan(tmp_path)
    assert release.missing == [f"x/train/{ILL}.png"]
    assert release.unlisted == [f"x/train/{stray}.png"]
    assert len(release.table) == 3
    shutil.rmtree(tmp_path / "x")
    release = scan(tmp_path)
    assert release.missing == [f"train/{HEALTHY}.dicom", f"train/{ILL}.dicom"]
    assert "without its images" in release.layout


def test_odd_readings_are_told_of(tmp_path):
    """An image with a reader too few, one with too many, and one both with and without findings."""
    rows = [*ROWS[1:], f"{ILL},ILD,5,R11,{BOX}"]
    rows += [f"{MIXED},No finding,14,R1,,,,", f"{MIXED},ILD,5,R2,{BOX}", f"{MIXED},ILD,5,R3,{BOX}"]
    make(tmp_path)
    write_csv(tmp_path / "train.csv", rows)
    release = scan(tmp_path)
    assert release.findings[0].startswith("2 images have not 3 readers, such as")
    assert release.findings[1] == f"1 images have both 'No finding' and findings, such as {MIXED}"
    mixed = release.table.set_index("key").loc[f"vinbigdata-{MIXED}"]
    assert (mixed["votes.No finding"], mixed["votes.ILD"]) == (1, 2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"{ILL},Nodul/Mass,8,R8,{BOX}", r"line 12: class_name is 'Nodul/Mass'.*did you mean 'Nodule/Mass'"),
        (f"{ILL},No Finding,14,R8,,,,", r"line 12: class_name is 'No Finding'.*did you mean 'No finding'"),
        (f"{ILL},Xyz,8,R8,{BOX}", r"line 12: class_name is 'Xyz'.*its classes: Aortic"),
        (f"{ILL},,8,R8,{BOX}", "line 12: class_name is blank"),
        (f"{ILL},ILD,5,,{BOX}", "line 12: rad_id is blank"),
        (f",ILD,5,R8,{BOX}", "line 12: image_id is blank"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused_with_its_place(tmp_path, row, message):
    """File, line, value, and the nearest class."""
    make(tmp_path)
    write_csv(tmp_path / "train.csv", [*ROWS, row])
    with pytest.raises(SourceError, match=message) as refused:
        scan(tmp_path)
    assert str(tmp_path / "train.csv") in str(refused.value)


def test_a_table_without_readers_is_refused(tmp_path):
    """Votes cannot be counted in a table of labels alone; an empty one holds nothing."""
    make(tmp_path)
    write(tmp_path / "train.csv", f"image_id,class_name\n{ILL},ILD\n".encode())
    with pytest.raises(SourceError, match="no column 'rad_id'"):
        scan(tmp_path)
    write_csv(tmp_path / "train.csv", [])
    with pytest.raises(SourceError, match="has no rows"):
        scan(tmp_path)


def test_nested_copies_count_once_and_two_mirrors_are_not_mixed(tmp_path):
    """The same files twice are told of; the same ids in another size need the user's word."""
    make(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "a" / "a")
    release = scan(tmp_path)
    assert release.findings == ["3 images are there more than once (nested copies); each is counted once"]
    assert len(release.table) == 3
    again = next((tmp_path / "a" / "a").rglob("*.dicom"))
    whole = again.read_bytes()
    again.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(SourceError, match="two different images of one id"):
        scan(tmp_path)
    again.write_bytes(whole)
    make(tmp_path / "png", suffix=".png")
    with pytest.raises(SourceError, match=r"two different images of one id, a/.*\.dicom and png/.*\.png"):
        scan(tmp_path)


def test_two_different_tables_are_not_mixed(tmp_path):
    """The user says which; a train.csv of another data set beside it is none of ours."""
    make(tmp_path)
    write(tmp_path / "other" / "train.csv", b"Path,Sex\nx,y\n")
    assert scan(tmp_path).findings == []
    write_csv(tmp_path / "mine" / "train.csv", ROWS[1:])
    with pytest.raises(SourceError, match=r"different train\.csv \(train\.csv, mine/train\.csv\)"):
        scan(tmp_path)


def test_a_wrong_folder_says_what_was_looked_for_and_found(tmp_path):
    """A mirror without labels, and another set's train.csv, are not this release."""
    make(tmp_path, suffix=".png")
    (tmp_path / "train.csv").unlink()
    write(tmp_path / "train_meta.csv", META.encode())
    with pytest.raises(
        SourceError, match=r"(?s)Looked for: train\.csv with image_id.*There is: test/, train/.*put the"
    ):
        scan(tmp_path)
    write(tmp_path / "train.csv", b"Path,Sex\nx,y\n")
    write(tmp_path / "copy" / "train" / f"{ILL}.png", b"of another size")
    with pytest.raises(SourceError, match="does not look like VinBigData"):
        scan(tmp_path)
    with pytest.raises(SourceError, match="is not a folder"):
        scan(tmp_path / "nowhere")


def test_a_header_that_cannot_be_read_leaves_its_fields_blank(tmp_path):
    """The image keeps its row: packing rejects it by name and reason."""
    make(tmp_path)
    write(tmp_path / "train" / f"{HEALTHY}.dicom", b"\0" * 50)
    table = scan(tmp_path).table
    assert table["sex"].isna().tolist() == [True, False, False]
    assert len(table) == 3


def test_votes_travel_into_shards_and_decide_there(tmp_path):
    """Manifest, sample document and task know the votes; the majority needs two; the unlabelled stay masked."""
    make(tmp_path / "src")
    folder = pack_into(tmp_path / "shards", "vinbigdata", tmp_path / "src")
    shards = ShardSet.open(folder)
    table = shards.table.set_index("key")
    assert table.loc[f"vinbigdata-{ILL}", "votes.Nodule/Mass"] == 3
    assert json.loads((folder / "shardset.json").read_text())["votes"] == list(VOCABULARIES["vinbigdata"])
    documents = {sample["__key__"]: sample["json"] for sample in shards.webdataset()}
    assert documents[f"vinbigdata-{ILL}"]["votes"]["Cardiomegaly"] == 2
    assert documents[f"vinbigdata-{UNREAD}"]["votes"]["Cardiomegaly"] is None
    assert len(shards.select("`votes.Nodule/Mass` >= 2")) == 1
    task = Task("three", ("Nodule/Mass", "Cardiomegaly", "ILD", "No Finding"))
    for votes, expected in ((1, [1, 1, 1, 0]), (2, [1, 1, 0, 0]), (3, [1, 0, 0, 0])):
        chosen = shards.task(task, votes=votes)
        by_key = dict(zip(chosen.table["key"], chosen.labels.tolist(), strict=True))
        assert by_key[f"vinbigdata-{ILL}"] == expected
        assert by_key[f"vinbigdata-{HEALTHY}"] == [0, 0, 0, 1]
        assert np.isnan(by_key[f"vinbigdata-{UNREAD}"]).all()


def test_the_release_of_67914_rows_is_counted_in_full(tmp_path):
    """A table of the documented counts: 10,606 images without finding, 4,394 with, three readers each."""
    classes = VOCABULARIES["vinbigdata"][:-1]
    rows = [f"{image:032x},No finding,14,R{reader},,,," for image in range(10_606) for reader in range(3)]
    boxes = 67_914 - len(rows)
    for box in range(boxes):  # each image's three readers first, then further boxes of the same
        reader, image = box // 4_394, 10_606 + box % 4_394
        rows.append(f"{image:032x},{classes[image % 14]},{image % 14},R{reader % 3},{BOX}")
    write_csv(tmp_path / "train.csv", rows)
    release = scan(tmp_path)
    table = release.table
    assert len(rows) == 67_914
    assert release.findings == []
    assert release.expected.images[("train", "frontal")] == len(table) == len(release.missing)
    assert release.expected.positives[("train", "No finding")] == (table["label.No finding"] == 1).sum()
    assert (table[[f"votes.{name}" for name in classes]].max(axis=1) == 3).sum() == 4_394
