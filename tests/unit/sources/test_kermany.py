"""Kermany's set in every layout that people have, and its traps."""

import pytest

from cxrfast import sources
from cxrfast.errors import SourceError

NAMES = {
    "train/NORMAL": ["IM-0115-0001", "NORMAL2-IM-0115-0001", "NORMAL2-IM-0416-0001-0002"],
    "train/PNEUMONIA": ["person7_bacteria_24", "person7_virus_29", "person447_virus_921_1"],
    "val/NORMAL": ["NORMAL2-IM-1427-0001"],
    "val/PNEUMONIA": ["person1946_bacteria_4874"],
    "test/NORMAL": ["IM-0001-0001"],
    "test/PNEUMONIA": ["person1_virus_6"],
}
PATIENTS = [
    "IM-0115", "NORMAL2-IM-0115", "NORMAL2-IM-0416", "bacteria-0007", "virus-0007", "virus-0447",
    "NORMAL2-IM-1427", "bacteria-1946", "IM-0001", "virus-0001",
]  # fmt: skip


def make(folder, *, splits=("train", "val", "test"), merge_val=False):
    for place, stems in NAMES.items():
        if merge_val and place.startswith("val"):
            place = place.replace("val", "train")
        if place.split("/")[0] in splits:
            (folder / place).mkdir(parents=True, exist_ok=True)
            for stem in stems:
                (folder / place / f"{stem}.jpeg").touch()


def make_zip(root):
    """Write what Kaggle's zip unpacks to: chest_xray in chest_xray, and what macOS adds."""
    make(root / "chest_xray")
    make(root / "chest_xray" / "chest_xray")
    make(root / "chest_xray" / "__MACOSX")
    (root / "chest_xray" / "train" / "NORMAL" / "._IM-0115-0001.jpeg").touch()
    (root / "chest_xray" / "train" / "NORMAL" / ".DS_Store").touch()


def make_mendeley(root):
    """Write Mendeley's: val inside train, and retina scans beside, which have NORMAL folders too."""
    make(root / "CellData" / "chest_xray", merge_val=True)
    for place in ("train/NORMAL", "train/CNV", "test/NORMAL"):
        (root / "CellData" / "OCT" / place).mkdir(parents=True)
        (root / "CellData" / "OCT" / place / "NORMAL-1001666-1.jpeg").touch()


def scan(folder):
    return sources.find("kermany").scan(folder)


@pytest.mark.parametrize(
    ("make_layout", "inside", "called"),
    [
        (lambda root: make(root / "chest_xray"), "", "Kaggle"),
        (lambda root: make(root / "chest_xray"), "chest_xray", "Kaggle"),
        (make_zip, "", "zip"),
        (make_zip, "chest_xray", "zip"),
        (make_mendeley, "", "Mendeley"),
        (make_mendeley, "CellData/chest_xray", "Mendeley"),
        (make, "", "Kaggle"),
        (lambda root: make(root, splits=("train", "test")), "", "without val"),
        (lambda root: make(root, splits=("train",)), "", "without val"),
        (lambda root: make(root, splits=("train",)), "train", "without val"),
    ],
)
def test_every_layout_counts_each_image_once_under_the_same_key(make_layout, inside, called, tmp_path):
    """Keys are the names' and do not know the layout; each path exists."""
    make_layout(tmp_path)
    release = scan(tmp_path / inside)
    assert called in release.layout
    table = release.table
    expected = {f"kermany-{stem}" for stems in NAMES.values() for stem in stems}
    if "without val" in called:
        assert set(table["key"]) < expected
    else:
        assert sorted(table["key"]) == sorted(expected)
    assert all((tmp_path / inside / path).is_file() for path in table["path"])
    assert (table["projection"] == "frontal").all()


def test_patients_are_series_and_number(tmp_path):
    """IM and NORMAL2-IM, bacteria and virus are numbered apart; the number alone would mix people up."""
    make(tmp_path)
    table = scan(tmp_path).table
    by_key = dict(zip(table["key"], table["patient"], strict=True))
    stems = [stem for stems in NAMES.values() for stem in stems]
    assert [by_key[f"kermany-{stem}"] for stem in stems] == PATIENTS


def test_labels_come_from_folder_and_name(tmp_path):
    """Two classes from the folder, two causes from the name; a cause is 0 in a normal chest, blank where unsaid."""
    make(tmp_path)
    (tmp_path / "train" / "PNEUMONIA" / "renamed.jpeg").touch()
    release = scan(tmp_path)
    table = release.table.set_index("key")
    columns = ["label.NORMAL", "label.PNEUMONIA", "label.bacteria", "label.virus"]
    expected = {
        "kermany-IM-0115-0001": [1, 0, 0, 0],
        "kermany-person7_bacteria_24": [0, 1, 1, 0],
        "kermany-person447_virus_921_1": [0, 1, 0, 1],
        "kermany-renamed": [0, 1, 9, 9],
    }
    for key, values in expected.items():
        assert table.loc[key, columns].fillna(9).tolist() == values
    assert table["patient"].isna().sum() == 1
    assert "1 names say no patient" in release.findings[0]


def test_an_image_in_two_splits_is_told_of(tmp_path):
    """A leak between train and test in a copy is counted once and named."""
    make(tmp_path)
    (tmp_path / "test" / "NORMAL" / "IM-0115-0001.jpeg").touch()
    release = scan(tmp_path)
    assert len(release.table) == 10
    assert any("another split" in finding for finding in release.findings)


def test_a_wrong_folder_says_what_was_looked_for_and_found(tmp_path):
    """And how it should look; a folder that is not there is said to be none."""
    (tmp_path / "images").mkdir()
    for number in range(12):
        (tmp_path / f"{number:02}.csv").touch()
    with pytest.raises(
        SourceError, match=r"(?s)Looked for: .*NORMAL.*There is: 00.csv.* and 3 more.*person1_bacteria_1"
    ):
        scan(tmp_path)
    with pytest.raises(SourceError, match="is not a folder"):
        scan(tmp_path / "nowhere")


def test_the_real_folders_are_recognised(real_data):
    """1,341 and 3,875 images in train, 234 and 390 in test, as released; no patient in both."""
    table = scan(real_data / "kermany_224").table
    counts = table.groupby(["release_split", "label.PNEUMONIA"]).size().to_dict()
    assert counts == {("train", 0): 1341, ("train", 1): 3875, ("test", 0): 234, ("test", 1): 390}
    assert table["patient"].notna().all()
    train, test = (set(table["patient"][table["release_split"] == split]) for split in ("train", "test"))
    assert not train & test
    originals = scan(real_data / "kermany_orig").table
    assert len(originals) == 235
    assert set(originals["key"]) < set(table["key"])


def test_files_of_one_name_and_size_are_compared(tmp_path):
    """A copy that ends otherwise is another image under the same name, and is refused."""
    for folder, end in (("a", b"1"), ("b", b"2")):
        path = tmp_path / folder / "train" / "NORMAL" / "IM-0001-0001.jpeg"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(9_000) + end)
    with pytest.raises(SourceError, match="two different files of one name"):
        scan(tmp_path)
