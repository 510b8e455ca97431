"""A wrong folder: what is said of it, and that saying it is quick."""

from itertools import permutations

import pytest

from cxrfast import sources
from cxrfast.errors import SourceError
from cxrfast.sources import base

KERMANY = "chest_xray/train/NORMAL/IM-0115-0001.jpeg"
CHEXPERT = "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg"
LOOKS = {
    "chexpert": CHEXPERT,
    "kermany": KERMANY,
    "chestxray14": "NIH/images_001/images/00000001_000.png",
    "gb7flg": "GB7/FLG/MD__20200424__norma/Undef/IM_00001",
    "tbx11k": "TBX11K/imgs/health/h0001.png",
    "vinbigdata": "vinbigdata/train/50a418190bc3fb1ef1633bf9678929b3.dicom",
}


def complaint(name, src):
    with pytest.raises(SourceError) as refused:
        sources.find(name).scan(src)
    return str(refused.value)


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


@pytest.mark.parametrize("name", sources.names())
def test_an_empty_folder_is_called_empty_by_every_set(name, tmp_path):
    """With what was looked for and what it should look like."""
    message = complaint(name, tmp_path)
    for part in ("Looked for: ", "There is: nothing", "It is empty", "It should look like:"):
        assert part in message


@pytest.mark.parametrize("name", sources.names())
def test_what_is_no_folder_is_told_by_every_set(name, tmp_path):
    """A link to nothing, an archive, a file, and nothing at all each get their own words."""
    touch(tmp_path, "set.zip", "set.tar.gz", "set.zip.001", "notes.txt")
    (tmp_path / "link").symlink_to(tmp_path / "unmounted")
    assert f"a link to {tmp_path / 'unmounted'}, where nothing is" in complaint(name, tmp_path / "link")
    for archive in ("set.zip", "set.tar.gz", "set.zip.001"):
        assert "unpack it first" in complaint(name, tmp_path / archive)
    assert "notes.txt is not a folder; give" in complaint(name, tmp_path / "notes.txt")
    assert "there is nothing of that name" in complaint(name, tmp_path / "nowhere")


def test_archives_that_are_not_unpacked_are_seen(tmp_path):
    """Also a folder down, as a download program leaves them."""
    touch(tmp_path, "download/images_001.tar.gz")
    assert "archives that are not unpacked, such as download/images_001.tar.gz" in complaint("chexpert", tmp_path)


def test_every_set_has_a_look_here():
    """A further source says by which names it is known, and is tried below."""
    assert sorted(LOOKS) == sources.names()


# GB7-FLG takes any folders called normal and pneumonia, and so Kermany's.
@pytest.mark.parametrize(("given", "meant"), [pair for pair in permutations(LOOKS, 2) if pair != ("gb7flg", "kermany")])
def test_another_set_is_recognised(given, meant, tmp_path):
    """Each set given under each other's name is called by its own, alone; also from the folder above it."""
    touch(tmp_path, "above/" + LOOKS[meant])
    for src in (tmp_path, tmp_path / "above"):
        message = complaint(given, src)
        assert f"use {meant} in place of {given}" in message
        assert message.count("in place of") == 1


@pytest.mark.parametrize(
    ("name", "path", "inside"),
    [
        ("chexpert", CHEXPERT, "CheXpert-v1.0-small/train"),
        ("chexpert", CHEXPERT, "CheXpert-v1.0-small/train/patient00001"),
        ("kermany", KERMANY, "chest_xray/train/NORMAL"),
    ],
)
def test_a_folder_inside_the_release_points_upwards(name, path, inside, tmp_path):
    """The set's own names without its tables: the folder above is named."""
    touch(tmp_path, path)
    message = complaint(name, tmp_path / inside)
    assert f"give the one above it, {(tmp_path / inside).parent}." in message
    assert "in place of" not in message


def test_an_unknown_folder_gets_no_guess(tmp_path):
    """Names that are no set's give no hint, and hidden ones count for nothing."""
    touch(tmp_path, "photos/holiday.jpg", ".cache/patient00001/x")
    message = complaint("kermany", tmp_path)
    assert "looks like Ch" not in message.replace("does not look like", "")
    assert "There is: .cache/, photos/" in message


def test_the_look_is_short(tmp_path, monkeypatch):
    """Of thousands of names in a folder, and of folders below folders, only so many are listed."""
    listed = []
    scandir = base.os.scandir
    monkeypatch.setattr("cxrfast.sources.astray.os.scandir", lambda path: listed.append(path) or scandir(path))
    for number in range(300):
        (tmp_path / f"{number:03}" / "a" / "b" / "c" / "d" / "e").mkdir(parents=True)
    from cxrfast.sources import astray

    assert astray.hints(sources.find("kermany"), tmp_path) == []
    assert len(listed) <= 1 + 100 * 4
