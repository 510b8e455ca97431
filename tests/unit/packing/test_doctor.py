"""The doctor: counts beside the known ones, a verdict in words, and what packing will take."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from small_releases import write_release

from cxrfast import sources
from cxrfast.errors import SourceError
from cxrfast.packing import doctor
from cxrfast.sources.base import Expected, Release, record_table

EXPECTED = Expected(
    images={("train", "frontal"): 4, ("train", "lateral"): 1, ("val", "frontal"): 2},
    patients={"train": 3, "val": 2},
    positives={("train", "Edema"): 2},
)


def release(*, drop=(), again=(), missing=(), expected=EXPECTED):
    """Return a release that is complete but for rows that are dropped or repeated under another key."""
    rows = [row for row in range(7) if row not in drop] + list(again)
    table = record_table(
        {
            "key": [f"set-{place}-{row}" for place, row in enumerate(rows)],
            "path": [f"{row}.jpg" for row in rows],
            "dataset": "set",
            "patient": ["abbccde"[row] for row in rows],
            "projection": ["lateral" if row == 2 else "frontal" for row in rows],
            "release_split": ["train" if row < 5 else "val" for row in rows],
        },
        {"Edema": [[1, 1, 0, -1, np.nan, 0, 1][row] for row in rows]},
    )
    return Release("set", "flat", table, expected, [], list(missing), [])


@dataclass
class FakeSource:
    """A source that found one release."""

    found: Release
    name: str = "set"
    title: str = "The Set"
    vocabulary: tuple[str, ...] = ("Edema",)
    home: str = "somewhere else"
    terms: str = "Do as you like."
    layout_help: str = "    *.jpg"
    signs: tuple[str, ...] = ()

    def scan(self, src):
        return self.found


def examine(found, src=Path("somewhere"), **settings):
    return doctor.examine(FakeSource(found), src, out=Path("out"), **settings)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (release(), "All counts are those of the release"),
        (release(drop=[0]), "fewer than in the release: a subset?"),
        (release(drop=range(7)), "fewer than in the release: a subset?"),
        (release(again=[0]), "more than in the release"),
        (release(drop=[2], again=[6]), "some fewer and some more"),
        (release(missing=["0.jpg"]), "files are missing"),
        (release(expected=Expected()), "not known"),
    ],
)
def test_the_verdict_follows_from_the_counts(found, verdict):
    """Whatever the counts, the doctor answers, and says plainly what they mean."""
    assert verdict in examine(found).verdict


def test_counts_stand_beside_the_known_ones():
    """Images and patients by split and projection, known positives; what is absent counts 0."""
    counts = {
        (count.split, count.what): (count.found, count.released) for count in examine(release(drop=[5, 6])).counts
    }
    assert counts == {
        ("train", "frontal"): (4, 4),
        ("train", "lateral"): (1, 1),
        ("val", "frontal"): (0, 2),
        ("train", "patients"): (3, 3),
        ("val", "patients"): (0, 2),
        ("train", "patients, frontal"): (3, None),
        ("train", "patients, lateral"): (1, None),
        ("train", "Edema"): (2, 2),
    }


def test_labels_are_counted_by_value():
    """Positive, negative, uncertain and blank make up all rows."""
    assert examine(release()).labels == {"Edema": {"positive": 3, "negative": 2, "uncertain": 1, "blank": 1}}


def test_counts_come_in_the_order_of_use():
    """Training first, then validation, then test, whatever order the table has."""
    splits = [count.split for count in examine(release(again=[6])).counts if count.what == "frontal"]
    assert splits == ["train", "val"]


@pytest.mark.parametrize("mark", ["SYNTHETIC.txt", "{top}/SYNTHETIC.txt", "other/SYNTHETIC.txt", None])
def test_a_synthetic_release_is_called_one(mark, tmp_path):
    """By the phantom's mark in SRC or in the folder right below it that holds the images; not by another set's."""
    if mark:
        mark = mark.format(top=release().table["path"][0].partition("/")[0])
        (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / mark).touch()
    findings = examine(release(), tmp_path).findings
    assert [mark in finding for finding in findings] == ([True] if mark and not mark.startswith("other") else [])


def test_what_packing_takes_is_judged_by_images_on_disk(tmp_path):
    """Size and time are a sample's means times the images that are there; missing ones add nothing."""
    found = write_release(tmp_path, 24)
    whole = examine(found, tmp_path).outlook
    assert (whole.images, whole.seen) == (24, 16)
    assert whole.bytes > 24 * 512
    assert whole.seconds > 0
    assert whole.free > 0
    (tmp_path / found.table["path"][0]).unlink()
    less = examine(replace(found, missing=[found.table["path"][0]]), tmp_path)
    assert less.outlook.images == 23


def test_nothing_on_disk_is_nothing_to_estimate():
    """With tables alone there is no sample, and no division by it."""
    seen = examine(release(missing=[f"{row}.jpg" for row in range(7)]), decode=5, compare=True)
    assert (seen.outlook.images, seen.outlook.seen, seen.outlook.bytes) == (0, 0, 0)
    assert seen.trial.drawn == 0
    assert seen.duplicates.groups == []


def test_a_wrong_folder_is_the_sources_error(tmp_path):
    """The doctor adds nothing to it."""
    with pytest.raises(SourceError, match="does not look like CheXpert"):
        doctor.examine(sources.find("chexpert"), tmp_path, out=tmp_path)


def test_the_real_subset_is_called_one(real_data):
    """Third-party Kermany lacks the 16 of val, and all else is complete."""
    seen = doctor.examine(sources.find("kermany"), real_data / "kermany_224", out=Path("out"))
    off = {(count.split, count.what): count.found for count in seen.counts if count.released not in (None, count.found)}
    assert off == {("val", "frontal"): 0, ("val", "NORMAL"): 0, ("val", "PNEUMONIA"): 0}
    assert "a subset?" in seen.verdict
