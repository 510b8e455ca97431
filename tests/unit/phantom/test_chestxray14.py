"""The phantom ChestX-ray14 has the layout and the traps of the released one, and labels that follow the drawing."""

import csv
from collections import Counter, defaultdict

import cv2
import pytest
from phantom_checks import drawn_findings

from cxrfast.errors import SourceError
from cxrfast.labels import VOCABULARIES
from cxrfast.phantom import chestxray14

LABELS = VOCABULARIES["chestxray14"]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return chestxray14.write_release(tmp_path_factory.mktemp("phantom"), images=24, seed=1)


@pytest.fixture(scope="module")
def rows(release):
    with (release / "Data_Entry_2017.csv").open(newline="") as file:
        return list(csv.reader(file))


def _lists(release):
    return [(release / name).read_text().split("\n") for name in ("train_val_list.txt", "test_list.txt")]


def test_the_header_has_a_cell_more_than_the_rows(rows):
    """A comma at its end and one inside two names: 12 cells over 11."""
    assert len(rows[0]) == 12
    assert rows[0][-1] == ""
    assert rows[0][7:9] == ["OriginalImage[Width", "Height]"]
    assert {len(row) for row in rows[1:]} == {11}


def test_rows_and_files_are_the_same(release, rows):
    """Every row has its image in one of two folders of parts and every image its row; names tell patient and number."""
    files = [path.relative_to(release) for path in release.rglob("*.png")]
    assert {path.parent.as_posix() for path in files} == {"images_001/images", "images_002/images"}
    assert sorted(path.name for path in files) == [row[0] for row in rows[1:]]
    assert [row[0] for row in rows[1:]] == [f"{int(row[3]):08d}_{int(row[2]):03d}.png" for row in rows[1:]]


def test_lists_have_no_final_newline_and_share_no_patient(release, rows):
    """Each image is on one list, each list ends without a newline, and no patient is on both."""
    lists = _lists(release)
    assert sorted(lists[0] + lists[1]) == [row[0] for row in rows[1:]]
    patients = [{name[:8] for name in names} for names in lists]
    assert all(patients)
    assert not patients[0] & patients[1]


def test_values_are_those_of_the_table(rows):
    """An age over 400, AP and PA, several images of a patient, labels joined by |, No Finding never with others."""
    column = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=False))
    assert "411" in column["Patient Age"]
    assert set(column["View Position"]) == {"AP", "PA"}
    assert set(column["Patient Gender"]) == {"M", "F"}
    assert max(Counter(column["Patient ID"]).values()) > 2
    told = [labels.split("|") for labels in column["Finding Labels"]]
    assert any(len(labels) > 1 for labels in told)
    assert {label for labels in told for label in labels} <= set(LABELS)
    assert all(labels == ["No Finding"] or "No Finding" not in labels for labels in told)


def test_images_are_gray_and_some_rgba(release):
    """All are 8 bits and 320 wide and high; some have four channels, of which three are the same and one is full."""
    images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in release.rglob("*.png")]
    assert {image.shape[:2] for image in images} == {(320, 320)}
    assert Counter(image.ndim for image in images) == {2: 22, 3: 2}
    for image in images:
        if image.ndim == 3:
            assert image.shape[2] == 4
            assert (image[..., 3] == 255).all()


def test_boxes_call_infiltration_by_another_name(release, rows):
    """A box's image has its label in the table, but for Infiltration, which is Infiltrate there."""
    labels = {row[0]: row[1].split("|") for row in rows[1:]}
    with (release / "BBox_List_2017.csv").open(newline="") as file:
        boxes = list(csv.reader(file))
    assert boxes[0] == ["Image Index", "Finding Label", "Bbox [x", "y", "w", "h]", "", "", ""]
    assert "Infiltrate" in {box[1] for box in boxes}
    for box in boxes[1:]:
        assert {"Infiltrate": "Infiltration"}.get(box[1], box[1]) in labels[box[0]]


def test_labels_follow_the_drawing_and_all_occur(monkeypatch, tmp_path):
    """Each label stands for one finding, drawn where the row has the label and nowhere else; of 120, all occur."""
    drawn = drawn_findings(monkeypatch, chestxray14, tmp_path, 120)
    with (tmp_path / chestxray14.NAME / "Data_Entry_2017.csv").open(newline="") as file:
        told = {row["Image Index"]: set(row["Finding Labels"].split("|")) for row in csv.DictReader(file)}
    painted = defaultdict(set)
    for path, findings in drawn.items():
        labels = told[path.split("/")[-1]]
        assert len(findings) == len(labels - {"No Finding"})
        if len(findings) == 1:
            painted[next(iter(labels))] |= findings
    assert {label for labels in told.values() for label in labels} == set(LABELS)
    assert all(len(findings) == 1 for findings in painted.values())
    assert len(set().union(*painted.values())) == len(painted)


def test_too_few_images_are_refused(tmp_path):
    """Fewer than can show all the set's habits: refused with the least number, before anything is written."""
    with pytest.raises(SourceError, match="at least 24"):
        chestxray14.write_release(tmp_path / "out", images=23)
    assert not (tmp_path / "out").exists()
