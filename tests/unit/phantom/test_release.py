"""A phantom is written whole or not at all, the same for the same seed, and never into another release."""

import pytest

from cxrfast import phantom
from cxrfast.errors import SourceError
from cxrfast.phantom import release


def _contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path):
    """One thread or three: every file is equal; another seed gives other images."""
    one = phantom.write(tmp_path / "one", images=12, seed=5, workers=1)["chexpert"]
    three = phantom.write(tmp_path / "three", images=12, seed=5, workers=3)["chexpert"]
    other = phantom.write(tmp_path / "other", images=12, seed=6)["chexpert"]
    assert _contents(one) == _contents(three)
    assert len(_contents(one)) == 15
    ours, theirs = (set(_contents(folder).values()) - {_contents(folder)[release.MARK]} for folder in (one, other))
    assert not ours & theirs


def test_writing_again_only_looks(tmp_path):
    """A complete release of the same arguments is left as it is, its files untouched, and progress still adds up."""
    done = []
    folder = phantom.write(tmp_path, images=8, progress=done.append)["chexpert"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert phantom.write(tmp_path, images=8, progress=done.append)["chexpert"] == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert sum(done) == 16


@pytest.mark.parametrize("change", [{"images": 9}, {"seed": 1}])
def test_another_release_in_the_place_is_refused(tmp_path, change):
    """Other images or another seed: refused, naming the folder and what to do; nothing is changed."""
    folder = phantom.write(tmp_path, images=8)["chexpert"]
    before = _contents(folder)
    with pytest.raises(SourceError, match=r"another or an unfinished release.*remove"):
        phantom.write(tmp_path, **{"images": 8, **change})
    assert _contents(folder) == before


@pytest.mark.parametrize("damage", ["image", "last image", "table"])
def test_a_damaged_release_is_refused(tmp_path, damage):
    """A changed table, a changed first image or a missing file is not taken for a complete release."""
    folder = phantom.write(tmp_path, images=8)["chexpert"]
    images = sorted(folder.rglob("*.jpg"))
    if damage == "last image":
        images[-1].unlink()
    elif damage == "image":
        (folder / "train/patient00001/study1/view1_frontal.jpg").write_bytes(b"other")
    else:
        (folder / "valid.csv").write_text("Path\n")
    with pytest.raises(SourceError, match="unfinished release"):
        phantom.write(tmp_path, images=8)


def test_a_run_that_stops_leaves_nothing_that_looks_whole(tmp_path):
    """When drawing fails half-way there is no release; the next run drops what is left and gives the usual bytes."""

    def fail():
        raise KeyboardInterrupt

    images = {"a/1.jpg": lambda: b"1", "a/2.jpg": fail, "b/3.jpg": lambda: b"3"}
    with pytest.raises(KeyboardInterrupt):
        release.write_files(tmp_path / "set", {"t.csv": b"t"}, images, workers=1)
    assert not (tmp_path / "set").exists()
    images["a/2.jpg"] = lambda: b"2"
    release.write_files(tmp_path / "set", {"t.csv": b"t"}, images, copies={"c/1.jpg": "a/1.jpg"}, workers=2)
    contents = _contents(tmp_path / "set")
    assert b"no patient" in contents.pop(release.MARK)
    assert contents == {"t.csv": b"t", "a/1.jpg": b"1", "a/2.jpg": b"2", "b/3.jpg": b"3", "c/1.jpg": b"1"}
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    """A file where the folder should be: an error in words, not a traceback of the system's."""
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(SourceError, match="cannot write a phantom"):
        phantom.write(tmp_path / "out", images=8)


def test_an_unknown_data_set_is_refused_with_the_known_ones(tmp_path):
    """A wrong name is refused before anything is written, and the message lists the right ones."""
    with pytest.raises(SourceError, match=r"'mimic'.*known: .*chexpert"):
        phantom.write(tmp_path, datasets=("chexpert", "mimic"), images=8)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", sorted(set(phantom.WRITERS) - {"chexpert"}))
def test_every_set_is_the_same_for_the_same_seed(tmp_path, name):
    """One thread or four: every file of every set is equal, and says what it is; progress counts each image once."""
    done = []
    one = phantom.write(tmp_path / "one", datasets=[name], images=24, seed=5, workers=1, progress=done.append)[name]
    four = phantom.write(tmp_path / "four", datasets=[name], images=24, seed=5, workers=4)[name]
    assert _contents(one) == _contents(four)
    assert b"no patient" in _contents(one)[release.MARK]
    assert sum(done) == 24


def test_a_missing_copy_is_not_taken_for_a_whole_release(tmp_path):
    """A release that lost one of its nested copies is refused like one that lost an image."""
    folder = phantom.write(tmp_path, datasets=["kermany"], images=24)["kermany"]
    next((folder / "chest_xray").rglob("*.jpeg")).unlink()
    with pytest.raises(SourceError, match="1 of 48 images are missing"):
        phantom.write(tmp_path, datasets=["kermany"], images=24)
