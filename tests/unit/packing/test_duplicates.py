"""Duplicates by content: all of them, nothing else, and no more reading than that takes."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_releases import release_of

from cxrfast.packing import duplicates
from cxrfast.packing.duplicates import find_duplicates

SIZE = 10_000


def release(folder, contents):
    """Write files of these contents; return their record table."""
    paths = [f"{number:03}.jpg" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        (folder / path).write_bytes(content)
    return release_of(paths).table


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([b"", b"a", b"b", b"ab", b"x" * SIZE, b"y" + b"x" * (SIZE - 1)]), max_size=12))
def test_groups_are_the_equal_contents(tmp_path_factory, contents):
    """For any contents: rows are in a group exactly with those of the same bytes, in the table's order."""
    folder = tmp_path_factory.mktemp("files")
    found = find_duplicates(folder, release(folder, contents)).groups
    by_content = {}
    for number, content in enumerate(contents):
        by_content.setdefault(content, []).append(f"{number:03}.jpg")
    expected = {
        hashlib.sha256(content).hexdigest(): tuple(paths) for content, paths in by_content.items() if len(paths) > 1
    }
    assert {group.sha256: group.paths for group in found} == expected
    assert [group.paths[0] for group in found] == sorted(group.paths[0] for group in found)


def test_groups_know_their_splits_and_patients(tmp_path):
    """Copies within a patient, across patients and across splits are told apart; without a patient each is its own."""
    contents = [bytes([row]) * 100 for row in (0, 0, 1, 2, 1, 2, 3, 3)]
    table = release(tmp_path, contents)
    table["patient"] = ["p", "p", "q", "r", "s", "r", None, None]
    table["release_split"] = ["train", "train", "train", "train", "train", "test", "val", "val"]
    found = find_duplicates(tmp_path, table)
    assert found.files == 8
    assert [group.paths[0] for group in found.across_splits] == ["003.jpg"]
    assert [group.paths[0] for group in found.across_patients] == ["002.jpg", "006.jpg"]


def test_only_files_that_may_be_equal_are_read(tmp_path, monkeypatch):
    """Another size is never opened; another end is never read whole."""
    same = np.random.default_rng(0).bytes(SIZE)
    other_head = b"\0" + same[1:]
    other_end = same[:-1] + b"\0"
    contents = [same, same, other_head, other_end, same + b"longer", b""]
    table = release(tmp_path, contents)
    opened = {"_tail": [], "_sha256": []}
    for name in opened:
        look = getattr(duplicates, name)
        monkeypatch.setattr(
            duplicates, name, lambda path, n=name, look=look: opened[n].append(path[-7:-4]) or look(path)
        )
    found = find_duplicates(tmp_path, table)
    assert [group.paths for group in found.groups] == [("000.jpg", "001.jpg")]
    assert sorted(opened["_tail"]) == ["000", "001", "002", "003"]
    assert sorted(opened["_sha256"]) == ["000", "001", "002"]


@pytest.mark.parametrize("gone", list(itertools.combinations(range(3), 1)))
def test_a_file_that_cannot_be_read_is_listed(gone, tmp_path):
    """It is passed over by name, and the others are still compared."""
    table = release(tmp_path, [b"same", b"same", b"same"])
    for row in gone:
        (tmp_path / f"{row:03}.jpg").unlink()
    found = find_duplicates(tmp_path, table)
    assert list(found.unread) == [f"{row:03}.jpg" for row in gone]
    assert [len(group.paths) for group in found.groups] == [2]


def test_a_damaged_disk_is_listed_by_its_words(tmp_path):
    """A folder in a file's place opens as no file."""
    table = release(tmp_path, [b"x" * 4096, b"y"])
    (tmp_path / "001.jpg").unlink()
    (tmp_path / "001.jpg").mkdir()
    (tmp_path / "000.jpg").write_bytes(b"x" * (tmp_path / "001.jpg").stat().st_size)
    assert find_duplicates(tmp_path, table).unread == {"001.jpg": "Is a directory"}
