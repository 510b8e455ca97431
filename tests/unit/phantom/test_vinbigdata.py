"""The phantom VinBigData has a row for each box of each reader, and DICOM files of every kind."""

import csv
import re
from collections import defaultdict

import pytest
from phantom_checks import drawn_findings
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless

from cxrfast.imaging import read_gray
from cxrfast.phantom import vinbigdata
from cxrfast.phantom.vinbigdata import CLASSES, COLUMNS, NO_FINDING


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return vinbigdata.write_release(tmp_path_factory.mktemp("phantom"), images=24, seed=1)


def _rows(release):
    with (release / "train.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _votes(rows):
    readers = defaultdict(set)
    for row in rows:
        readers[row["image_id"], row["class_name"]].add(row["rad_id"])
    return {pair: len(names) for pair, names in readers.items()}


def test_rows_and_files_agree(release):
    """20 images in train/, all in the table, and 4 in test/, none of which is; names are 32 hexadecimal digits."""
    rows = _rows(release)
    train = {path.stem for path in (release / "train").iterdir()}
    test = {path.stem for path in (release / "test").iterdir()}
    assert tuple(rows[0]) == COLUMNS
    assert (len(train), len(test)) == (20, 4)
    assert {row["image_id"] for row in rows} == train
    assert all(re.fullmatch(r"[0-9a-f]{32}", name) for name in train | test)
    assert [row["image_id"] for row in rows] != sorted(row["image_id"] for row in rows)


def test_three_readers_see_an_image_and_disagree(release):
    """Each image has three of R1 to R17; classes have 1, 2 or 3 votes; some reader drew two boxes of one class."""
    rows = _rows(release)
    readers = defaultdict(set)
    for row in rows:
        readers[row["image_id"]].add(row["rad_id"])
        assert row["class_id"] == str(CLASSES.index(row["class_name"]))
        assert re.fullmatch(r"R(1?\d)", row["rad_id"])
    assert {len(names) for names in readers.values()} == {3}
    assert set(_votes(rows).values()) == {1, 2, 3}
    assert len(rows) > sum(_votes(rows).values())


def test_no_finding_has_no_box_and_stands_alone(release):
    """No image has No finding and a finding; its rows have no corners, and the others have, inside the image."""
    found = defaultdict(set)
    for row in _rows(release):
        found[row["image_id"]].add(row["class_name"])
        corners = [row[name] for name in COLUMNS[4:]]
        assert all(corners) == (row["class_name"] != NO_FINDING)
        if all(corners):
            header = dcmread(release / "train" / f"{row['image_id']}.dicom", stop_before_pixels=True)
            x_min, y_min, x_max, y_max = map(int, corners)
            assert 0 <= x_min < x_max <= header.Columns
            assert 0 <= y_min < y_max <= header.Rows
    assert {NO_FINDING} in found.values()
    assert all(names == {NO_FINDING} or NO_FINDING not in names for names in found.values())


def test_files_are_of_all_kinds(release):
    """Both polarities, 12 and 16 bits, plain and JPEG 2000, with and without window and rescale, odd ages; all read."""
    seen = defaultdict(set)
    for path in release.rglob("*.dicom"):
        header = dcmread(path)
        seen["polarity"].add(header.PhotometricInterpretation)
        seen["bits"].add(header.BitsStored)
        seen["jpeg2000"].add(header.file_meta.TransferSyntaxUID == JPEG2000Lossless)
        seen["window"].add("WindowWidth" in header)
        seen["rescale"].add(header.get("RescaleIntercept"))
        seen["ages"].add(header.PatientAge)
        seen["sexes"].add(header.PatientSex)
        gray = read_gray(path.read_bytes())
        height, width = gray.shape
        assert gray[height // 3 : height // 2, 12 * width // 25 : 13 * width // 25].mean() > 150  # the spine
    assert seen["polarity"] == {"MONOCHROME1", "MONOCHROME2"}
    assert seen["bits"] == {12, 16}
    assert seen["jpeg2000"] == seen["window"] == {True, False}
    assert seen["rescale"] == {None, -1024}
    assert {"000Y", ""} < seen["ages"]
    assert seen["sexes"] == {"F", "M", "O", ""}


def test_labels_follow_the_drawing_and_all_occur(monkeypatch, tmp_path):
    """As many findings are drawn as the table has classes, the same one for a class each time; of 120, all occur."""
    drawn = drawn_findings(monkeypatch, vinbigdata, tmp_path, 120)
    told = defaultdict(set)
    for row in _rows(tmp_path / vinbigdata.NAME):
        told[row["image_id"]].add(row["class_name"])
    painted = defaultdict(set)
    for image, classes in told.items():
        findings = drawn[f"train/{image}.dicom"]
        assert len(findings) == len(classes - {NO_FINDING})
        if len(findings) == 1:
            painted[next(iter(classes))] |= findings
    assert {name for classes in told.values() for name in classes} == set(CLASSES)
    assert all(len(findings) == 1 for findings in painted.values())
    assert len(set().union(*painted.values())) == len(painted)
