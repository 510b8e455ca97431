"""CheXpert in every layout that people have, and its traps."""

import numpy as np
import pandas as pd
import pytest

from cxrfast import sources
from cxrfast.errors import SourceError
from cxrfast.labels import CHEXPERT

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT)
# (split folder, tail, what follows the path in the csv)
TRAIN = [
    ("patient00001/study1/view1_frontal.jpg", "Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0"),
    ("patient00002/study2/view1_frontal.jpg", "Female,87,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,"),
    ("patient00002/study1/view1_frontal.jpg", "Unknown,0,Frontal,LL,,,,,,,,,,,,,,"),
    ("patient00002/study1/view2_lateral.jpg", "Male,83,Lateral,,,,,1.0,,,-1.0,,,,,,1.0,"),
]
VALID = [
    (
        "patient64541/study1/view1_frontal.jpg",
        "Male,73,Frontal,AP,0.0,1.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0",
    )
]
SMALL = "CheXpert-v1.0-small"
BATCHES = "CheXpert-v1.0 batch {}"


def csv_text(top, folder, rows):
    return "\n".join([HEADER, *(f"{top}/{folder}/{tail},{rest}" for tail, rest in rows)]) + "\n"


def write(path, content=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def make_plain(folder, *, top="CheXpert-v1.0-small"):
    """Write the layout with train/ and valid/ into `folder`, csv paths beginning with `top`."""
    write(folder / "train.csv", csv_text(top, "train", TRAIN))
    write(folder / "valid.csv", csv_text(top, "valid", VALID))
    for split, rows in (("train", TRAIN), ("valid", VALID)):
        for tail, _ in rows:
            write(folder / split / tail)


def make_batches(folder):
    """Write the layout in four batches, whose csv says another."""
    first = folder / BATCHES.format("1 (validate & csv)")
    write(first / "train.csv", csv_text("CheXpert-v1.0", "train", TRAIN))
    write(first / "valid.csv", csv_text("CheXpert-v1.0", "valid", VALID))
    for name in ("train_cheXbert.csv", "train_visualCheXbert.csv"):
        write(first / name, csv_text("CheXpert-v1.0", "train", TRAIN).replace("1.0", "0.0"))
    for tail, _ in VALID:
        write(first / "valid" / tail)
    for batch, (tail, _) in zip(["2 (train 1)", "3 (train 2)", "4 (train 3)", "4 (train 3)"], TRAIN, strict=True):
        write(folder / BATCHES.format(batch) / tail)


LAYOUTS = {
    "small": (lambda root: make_plain(root / SMALL), "", SMALL),
    "small itself": (lambda root: make_plain(root / SMALL), SMALL, SMALL),
    "full": (lambda root: make_plain(root / "CheXpert-v1.0", top="CheXpert-v1.0"), "", "CheXpert-v1.0"),
    "mirror": (lambda root: make_plain(root / "archive"), "archive", "without its top folder"),
    "mirror above": (lambda root: make_plain(root / "archive"), "", "without its top folder"),
    "batches": (lambda root: make_batches(root / "chexpertchestxrays-u20210408"), "", "batches"),
    "batches itself": (make_batches, "", "batches"),
}  # fmt: skip


def scan(folder):
    return sources.find("chexpert").scan(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_table(layout, tmp_path):
    """All columns but `path` are equal, each path exists, and the layout is called by its name."""
    make_plain(tmp_path / "reference" / "CheXpert-v1.0-small")
    reference = scan(tmp_path / "reference")
    make, inside, called = LAYOUTS[layout]
    root = tmp_path / "root"
    make(root)
    release = scan(root / inside)
    assert called in release.layout
    assert release.findings == []
    assert release.missing == []
    assert release.unlisted == []
    assert release.table.drop(columns="path").equals(reference.table.drop(columns="path"))
    for path, key in zip(release.table["path"], release.table["key"], strict=True):
        assert (root / inside / path).is_file()
        assert path.removesuffix(".jpg").replace("/", "-").endswith(key.removeprefix("chexpert-"))


def test_columns_hold_what_the_release_says(tmp_path):
    """Labels as released, blank as NaN; projection and view position apart; odd sexes missing, odd ages kept."""
    make_plain(tmp_path)
    table = scan(tmp_path).table
    assert table["key"].tolist()[0] == "chexpert-patient00001-study1-view1_frontal"
    assert table["patient"].tolist() == ["patient00001", "patient00002", "patient00002", "patient00002", "patient64541"]
    assert table["study"].nunique() == 4
    assert table["projection"].tolist() == ["frontal", "frontal", "frontal", "lateral", "frontal"]
    assert table["view_position"].fillna("").tolist() == ["AP", "PA", "LL", "", "AP"]
    assert table["sex"].fillna("").tolist() == ["F", "F", "", "M", "M"]
    assert table["age"].tolist() == [68, 87, 0, 83, 73]
    assert table["release_split"].tolist() == ["train"] * 4 + ["val"]
    assert table["label.Edema"].fillna(9).tolist() == [9, -1, 9, 9, 0]
    assert table["label.Support Devices"].fillna(9).tolist() == [1, 9, 9, 9, 0]
    assert [name for name in table.columns if name.startswith("label.")] == [f"label.{name}" for name in CHEXPERT]


def test_columns_are_read_by_name(tmp_path):
    """Another order of columns, one more of them and a byte order mark change nothing."""
    make_plain(tmp_path / "a")
    make_plain(tmp_path / "b")
    lines = (tmp_path / "b" / "train.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    turned = "\n".join(",".join(["x", *row[::-1]]) for row in rows)
    (tmp_path / "b" / "train.csv").write_bytes(b"\xef\xbb\xbf" + turned.encode())
    assert scan(tmp_path / "b").table.equals(scan(tmp_path / "a").table)


def test_missing_and_unlisted_files_are_named(tmp_path):
    """A row without a file stays in the table, under the path where it belongs; a file without a row is listed."""
    make_plain(tmp_path / "CheXpert-v1.0-small")
    folder = tmp_path / "CheXpert-v1.0-small" / "train"
    (folder / TRAIN[1][0]).rename(folder / "patient00002/study2/view3_frontal.jpg")
    release = scan(tmp_path)
    path = f"CheXpert-v1.0-small/train/{TRAIN[1][0]}"
    assert release.missing == [path]
    assert release.table["path"].tolist()[1] == path
    assert len(release.table) == 5
    assert release.unlisted == ["CheXpert-v1.0-small/train/patient00002/study2/view3_frontal.jpg"]


def test_one_table_alone_is_enough_and_said(tmp_path):
    """A mirror without valid.csv can be packed."""
    make_plain(tmp_path)
    (tmp_path / "valid.csv").unlink()
    release = scan(tmp_path)
    assert release.findings == ["there is no valid.csv"]
    assert len(release.table) == 4


def test_doubled_rows_and_images_count_once(tmp_path):
    """Rows that repeat an image, and copies of an image, are told of and left out."""
    make_plain(tmp_path)
    (tmp_path / "train.csv").write_text(csv_text("CheXpert-v1.0", "train", [*TRAIN, TRAIN[0]]))
    write(tmp_path / "train copy" / TRAIN[0][0])
    release = scan(tmp_path)
    assert len(release.table) == 5
    assert any("1 rows" in finding for finding in release.findings)
    assert any("1 images" in finding for finding in release.findings)


def test_images_of_another_suffix_are_found(tmp_path):
    """A PNG mirror keeps the csv's .jpg names."""
    make_plain(tmp_path)
    for path in tmp_path.rglob("*.jpg"):
        path.rename(path.with_suffix(".png"))
    release = scan(tmp_path)
    assert release.missing == []
    assert release.table["path"].str.endswith(".png").all()


def test_other_label_files_are_never_taken_for_train_csv(tmp_path):
    """With train_cheXbert.csv alone there is no CheXpert."""
    write(tmp_path / "train_cheXbert.csv", csv_text("CheXpert-v1.0", "train", TRAIN))
    with pytest.raises(SourceError, match=r"(?s)Looked for: train.csv.*There is: train_cheXbert.csv.*should look like"):
        scan(tmp_path)


def test_two_releases_in_one_folder_are_not_mixed(tmp_path):
    """The small and the full release side by side: the user says which."""
    make_plain(tmp_path / "CheXpert-v1.0-small")
    make_plain(tmp_path / "CheXpert-v1.0")
    with pytest.raises(SourceError, match=r"more than once.*CheXpert-v1\.0, CheXpert-v1\.0-small"):
        scan(tmp_path)


def test_another_sets_train_csv_beside_does_not_disturb(tmp_path):
    """VinBigData's train.csv, before or behind CheXpert's folder, is not taken for it."""
    make_plain(tmp_path / SMALL)
    alone = scan(tmp_path).table
    for folder in ("A", "vinbigdata"):
        write(tmp_path / folder / "train.csv", "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n")
    together = scan(tmp_path)
    pd.testing.assert_frame_equal(together.table, alone)
    assert together.layout == SMALL


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Pleural Effusion", "Effusion", "no column 'Pleural Effusion'"),
        ("Frontal/Lateral", "View", "no column 'Frontal/Lateral'"),
        ("Female,68,Frontal,AP,1.0", "Female,68,Frontal,AP,yes", "line 2: No Finding is 'yes'"),
        ("Female,87,Frontal,PA,,,-1.0", "Female,87,Frontal,PA,,,3.0", "line 3: Cardiomegaly is"),
        ("Female,68", "Female,old", "line 2: Age is 'old'"),
        ("Female,68", "Female,-5", "line 2: Age is "),
        ("Female,68", "Female,inf", "line 2: Age is 'inf'"),
        ("68,Frontal", "68,FrontaI", "line 2: Frontal/Lateral is 'FrontaI', not Frontal or Lateral"),
        ("patient00002/study2/view1_frontal.jpg", "patient2.jpg", "line 3: the path"),
    ],
)
def test_a_damaged_table_is_refused_with_its_place(old, new, message, tmp_path):
    """File, line, column and value, so that the user can look."""
    make_plain(tmp_path)
    path = tmp_path / "train.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(SourceError, match=message) as refused:
        scan(tmp_path)
    assert str(path) in str(refused.value)


def test_a_table_cut_off_by_a_broken_download_is_told(tmp_path):
    """The last row stays, with blank labels where the file ends, and the finding says so."""
    make_plain(tmp_path)
    path = tmp_path / "train.csv"
    path.write_text(path.read_text().rstrip("\n").removesuffix(",-1.0,,,,,,1.0,"))
    release = scan(tmp_path)
    assert len(release.table) == 5
    assert release.findings == ["train.csv ends inside its last row (11 of 19 cells): an unfinished download?"]


@pytest.mark.parametrize("content", ["", '"', "\0\1\2", "a,b\n1,2,3\n4\n"])
def test_a_table_that_is_none_is_refused(content, tmp_path):
    """An empty or garbled csv is a SourceError, not pandas' own."""
    make_plain(tmp_path)
    (tmp_path / "train.csv").write_text(content)
    with pytest.raises(SourceError, match=r"train\.csv"):
        scan(tmp_path)


def test_a_csv_that_is_not_text_is_refused(tmp_path):
    """UTF-16 from a spreadsheet, or an image by mistake."""
    make_plain(tmp_path)
    (tmp_path / "train.csv").write_bytes("Path,Sex".encode("utf-16"))
    with pytest.raises(SourceError, match="cannot be read"):
        scan(tmp_path)


def test_memory_of_labels_is_small(tmp_path):
    """Labels are float32, so a table of CheXpert's size stays under 1 KB an image."""
    make_plain(tmp_path)
    table = scan(tmp_path).table
    assert {table[f"label.{name}"].dtype for name in CHEXPERT} == {np.dtype(np.float32)}
