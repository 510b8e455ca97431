"""ChestX-ray14 in every layout that people have, and its traps."""

import shutil

import numpy as np
import pytest

from cxrfast import sources
from cxrfast.errors import SourceError
from cxrfast.labels import VOCABULARIES

LABELS = VOCABULARIES["chestxray14"]
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
OF_SAMPLE = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y"
)
ROWS = [
    "00000001_000.png,Cardiomegaly,0,1,058Y,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,013M,F,AP,2500,2048,0.171,0.171",
    "00030805_000.png,Pleural_Thickening,0,30805,411,F,PA,3056,2544,0.139,0.139",
]
NAMES = [row.partition(",")[0] for row in ROWS]
TABLE, LATER, SAMPLE = "Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv", "sample_labels.csv"


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make(folder, *, table=TABLE, header=HEADER + ",", rows=ROWS, lists=True, images=lambda number: "images"):
    """Write a release: its table, lists without a final newline, and the n-th image into the folder `images(n)`."""
    write(folder / table, "\n".join([header, *rows]) + "\n")
    if lists:
        write(folder / "train_val_list.txt", "\n".join(NAMES[:3]))
        write(folder / "test_list.txt", NAMES[3])
    for number, name in enumerate(NAMES):
        write(folder / images(number) / name)


def make_sample(folder):
    """Write Kaggle's sample as it unpacks: its other header, no lists, and a copy of everything within."""
    make(folder, table=SAMPLE, header=OF_SAMPLE, lists=False, images=lambda _: "images")
    make(folder / "sample", table=SAMPLE, header=OF_SAMPLE, lists=False, images=lambda _: "images")


LAYOUTS = {
    "folders": (lambda root: make(root, images=lambda n: f"images_{n + 1:03}/images"), "", "4 folders, images_001/im"),
    "flat": (make, "", "Data_Entry_2017.csv and images in images"),
    "mirror": (lambda root: make(root, images=lambda _: "images-224/images-224"), "", "in images-224/images-224"),
    "beside the table": (lambda root: make(root, images=lambda _: ""), "", "images in SRC itself"),
    "later edition": (lambda root: make(root, table=LATER, header=HEADER), "", LATER),
    "sex, not gender": (lambda root: make(root, header=HEADER.replace("Gender", "Sex")), "", TABLE),
    "folder above": (lambda root: make(root / "NIH"), "", "images in NIH/images"),
    "folder itself": (lambda root: make(root / "NIH"), "NIH", "images in images"),
    "sample": (make_sample, "", "sample_labels.csv and images in images"),
}  # fmt: skip


def scan(folder):
    return sources.find("chestxray14").scan(folder)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_table(layout, tmp_path):
    """All columns but `path` are equal, split where the layout has no lists, and each path exists."""
    make(tmp_path / "reference")
    reference = scan(tmp_path / "reference").table
    make_layout, inside, called = LAYOUTS[layout]
    make_layout(tmp_path / "root")
    release = scan(tmp_path / "root" / inside)
    assert called in release.layout
    assert release.missing == release.unlisted == []
    assert all((tmp_path / "root" / inside / path).is_file() for path in release.table["path"])
    apart = ["path", "release_split"] if layout == "sample" else ["path"]
    assert release.table.drop(columns=apart).equals(reference.drop(columns=apart))
    assert release.table["release_split"].isna().all() == (layout == "sample")


def test_columns_are_as_released(tmp_path):
    """Patient and study, sex, view, age in years, split; an age over 120 is none; each row annotates all 15 labels."""
    make(tmp_path)
    release = scan(tmp_path)
    table = release.table
    assert table["key"].tolist()[1] == "chestxray14-00000001_001"
    assert table["patient"].tolist() == ["00000001", "00000001", "00000002", "00030805"]
    assert table["study"].tolist()[:2] == ["00000001/000", "00000001/001"]
    assert set(table["projection"]) == {"frontal"}
    assert table["view_position"].tolist() == ["PA", "PA", "AP", "PA"]
    assert table["sex"].tolist() == ["M", "M", "F", "F"]
    assert table["age"].fillna(-1).tolist() == pytest.approx([58, 58, 13 / 12, -1])
    assert release.findings == ["1 ages are over 120 years, such as 411, and are left out"]
    assert table["release_split"].tolist() == ["train", "train", "train", "test"]
    positive = [[label for label in LABELS if row[f"label.{label}"] == 1] for _, row in table.iterrows()]
    assert positive == [["Cardiomegaly"], ["Cardiomegaly", "Emphysema"], ["No Finding"], ["Pleural_Thickening"]]
    labels = table[[f"label.{label}" for label in LABELS]]
    assert set(np.unique(labels)) == {0, 1}
    assert set(labels.dtypes) == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("text", "years"),
    [("060Y", 60), ("60", 60), ("013M", 13 / 12), ("001D", 1 / 365.25), ("2w", 14 / 365.25), ("120", 120), ("", None)],
)
def test_ages_are_years(text, years, tmp_path):
    """Years, months, weeks and days; blank is missing."""
    make(tmp_path, rows=[ROWS[0].replace("058Y", text)])
    age = scan(tmp_path).table["age"].iloc[0]
    assert np.isnan(age) if years is None else age == pytest.approx(years)


def test_of_two_editions_the_later_is_read_and_said(tmp_path):
    """Ages and the order of labels differ between editions; they are not compared."""
    make(tmp_path)
    write(tmp_path / LATER, "\n".join([HEADER, ROWS[1].replace("Cardiomegaly|Emphysema,1,1,58", "Hernia,1,1,57")]))
    release = scan(tmp_path)
    assert f"{LATER} and {TABLE} are there; {LATER} is read" in release.findings
    assert release.table["age"].tolist() == [57]
    assert len(release.unlisted) == 3


def test_what_is_there_more_than_once_counts_once(tmp_path):
    """Nested copies of images, lists and table, and a repeated row, are told of; the least deep is taken."""
    make(tmp_path, rows=[*ROWS, ROWS[0]])
    make(tmp_path / "a" / "copy", rows=[*ROWS, ROWS[0]])
    release = scan(tmp_path)
    assert len(release.table) == 4
    assert release.table["path"].tolist() == [f"images/{name}" for name in NAMES]
    told = "\n".join(release.findings)
    assert "4 files repeat an image, such as a/copy/images/00000001_000.png" in told
    assert f"{TABLE} is there 2 times" in told
    assert "1 rows name an image" in told


def test_two_different_tables_of_one_name_are_not_mixed(tmp_path):
    """The user says which."""
    make(tmp_path / "a")
    make(tmp_path / "b", rows=ROWS[:2])
    with pytest.raises(SourceError, match=rf"two different tables, a/{TABLE} and b/{TABLE}"):
        scan(tmp_path)


def test_missing_and_unlisted_files_are_named(tmp_path):
    """A row without a file stays, under the path where it belongs; a file without a row is listed."""
    make(tmp_path, images=lambda n: f"images_{n // 2 + 1:03}/images")
    (tmp_path / "images_001/images" / NAMES[1]).unlink()
    (tmp_path / "images_002/images" / NAMES[3]).rename(tmp_path / "images_002/images/00030806_000.png")
    release = scan(tmp_path)
    assert release.missing == [f"images_001/images/{NAMES[1]}", f"images_002/images/{NAMES[3]}"]
    assert release.table["path"].tolist()[1] == release.missing[0]
    assert release.unlisted == ["images_002/images/00030806_000.png"]
    shutil.rmtree(tmp_path / "images_001")
    shutil.rmtree(tmp_path / "images_002")
    assert scan(tmp_path).missing == [f"images/{name}" for name in NAMES]


def test_an_image_in_no_list_has_no_split(tmp_path):
    """As in copies of train_val_list.txt that lack a line; a list that is absent is told of."""
    make(tmp_path)
    write(tmp_path / "train_val_list.txt", f"\ufeffimages\\{NAMES[0]}\r\n\r\n  {NAMES[2]}\r\n")
    release = scan(tmp_path)
    assert release.table["release_split"].fillna("").tolist() == ["train", "", "train", "test"]
    assert "1 images are in no list of a split, such as 00000001_001, and have no release split" in release.findings
    (tmp_path / "train_val_list.txt").unlink()
    release = scan(tmp_path)
    assert release.table["release_split"].fillna("").tolist() == ["", "", "", "test"]
    assert "there is no train_val_list.txt" in release.findings


def test_an_image_in_both_lists_is_kept_from_training(tmp_path):
    """It counts as test, and is told of."""
    make(tmp_path)
    write(tmp_path / "test_list.txt", "\n".join(NAMES[2:]))
    release = scan(tmp_path)
    assert release.table["release_split"].tolist() == ["train", "train", "test", "test"]
    assert "1 images are in both train_val_list.txt and test_list.txt; they count as test" in release.findings


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Finding Labels", "Labels", "no column 'Finding Labels'"),
        ("Cardiomegaly|Emphysema", "Cardiomegaly|Infiltrate", "line 3: .*'Infiltrate', .*did you mean 'Infiltration'"),
        ("Cardiomegaly|Emphysema", "Cardiomegaly|", "line 3: .*holds '', .*its labels: Atelectasis"),
        ("Cardiomegaly|Emphysema", "", "line 3: Finding Labels is blank"),
        ("013M", "old", "line 4: Patient Age is 'old', not an age such as"),
        ("00000002_000.png", "2.png", "line 4: Image Index is '2.png'"),
        ("00000002_000.png", "", "line 4: Image Index is blank"),
    ],
)
def test_a_damaged_table_is_refused_with_its_place(old, new, message, tmp_path):
    """File, line and text, so that the user can look; the nearest label of this set."""
    make(tmp_path)
    path = tmp_path / TABLE
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(SourceError, match=message) as refused:
        scan(tmp_path)
    assert str(path) in str(refused.value)


def test_a_table_without_rows_or_sex_is_told_of(tmp_path):
    """Both can be read, and neither is silent."""
    make(tmp_path, rows=[], header=HEADER.replace("Patient Gender", "Ward") + ",")
    release = scan(tmp_path)
    assert len(release.table) == 0
    assert [label for label in release.table.columns if label.startswith("label.")] == [f"label.{n}" for n in LABELS]
    assert any("no column 'Patient Gender' or 'Patient Sex'" in finding for finding in release.findings)
    assert any("has no rows" in finding for finding in release.findings)


def test_a_table_as_spreadsheets_save_it(tmp_path):
    """A byte order mark, carriage returns and another order of columns change nothing."""
    make(tmp_path / "a")
    make(tmp_path / "b")
    lines = (tmp_path / "b" / TABLE).read_text().splitlines()
    turned = [",".join(row.split(",")[:11][::-1]) for row in lines]
    (tmp_path / "b" / TABLE).write_bytes(b"\xef\xbb\xbf" + "\r\n".join(turned).encode())
    assert scan(tmp_path / "b").table.equals(scan(tmp_path / "a").table)


def test_a_wrong_folder_says_what_was_looked_for_and_found(tmp_path):
    """And how it should look; boxes and images alone are no release."""
    write(tmp_path / "BBox_List_2017.csv", "Image Index,Finding Label\n")
    write(tmp_path / "images" / NAMES[0])
    with pytest.raises(SourceError, match=r"(?s)Looked for: Data_Entry_2017_v2020\.csv.*BBox_List.*train_val_list"):
        scan(tmp_path)
    with pytest.raises(SourceError, match="is not a folder"):
        scan(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("table", "header", "lists", "images", "patients"),
    [
        (TABLE, HEADER + ",", ["train_val_list.txt", "test_list.txt"], {"train": 86_524, "test": 25_596}, 30_805),
        (TABLE, HEADER + ",", [], {"none": 112_120}, 30_805),
        (TABLE, HEADER + ",", ["test_list.txt"], {}, 0),
        (SAMPLE, OF_SAMPLE, [], {"none": 5_606}, 0),
    ],
)
def test_known_counts_fit_what_is_there(table, header, lists, images, patients, tmp_path):
    """112,120 images of 30,805 patients, by split where both lists are there; the sample's 5,606."""
    make(tmp_path, table=table, header=header)
    for name in {"train_val_list.txt", "test_list.txt"} - set(lists):
        (tmp_path / name).unlink()
    expected = scan(tmp_path).expected
    assert {split: count for (split, _), count in expected.images.items()} == images
    assert sum(expected.patients.values()) == patients
    assert sum(expected.images.values()) in (112_120, 5_606, 0)


def test_the_real_folder_is_recognised(real_data):
    """1,001 real rows over 1,000 small images, one of which is missing; labels counted apart from the source."""
    release = scan(real_data / "nih_64")
    table = release.table
    assert len(table) == 1001
    assert release.missing == ["images/00027426_000.png"]
    assert release.unlisted == []
    assert table["patient"].nunique() == 265
    assert table["view_position"].value_counts().to_dict() == {"PA": 638, "AP": 363}
    assert table["age"].between(24, 94).all()
    lines = (real_data / "nih_64" / LATER).read_text().splitlines()[1:]
    for label in LABELS:
        assert (table[f"label.{label}"] == 1).sum() == sum(label in line.split(",")[1].split("|") for line in lines)
