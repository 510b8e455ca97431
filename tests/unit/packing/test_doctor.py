"""The doctor: counts beside the known ones, and a verdict in words."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

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
    layout_help: str = "    *.jpg"

    def scan(self, src):
        return self.found


def examine(found):
    return doctor.examine(FakeSource(found), Path("somewhere"))


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
    assert verdict in doctor.as_text(examine(found))


def test_counts_stand_beside_the_known_ones():
    """Images by split and projection, patients by split, known positives; what is absent counts 0."""
    counts = {
        (count.split, count.what): (count.found, count.released) for count in examine(release(drop=[5, 6])).counts
    }
    assert counts == {
        ("train", "frontal"): (4, 4),
        ("train", "lateral"): (1, 1),
        ("val", "frontal"): (0, 2),
        ("train", "patients"): (3, 3),
        ("val", "patients"): (0, 2),
        ("train", "Edema"): (2, 2),
    }


def test_labels_are_counted_by_value():
    """Positive, negative, uncertain and blank make up all rows."""
    assert examine(release()).labels == {"Edema": {"positive": 3, "negative": 2, "uncertain": 1, "blank": 1}}


def test_the_dictionary_is_json_and_whole():
    """Every missing path is in it, where the text shows the first ten."""
    found = release(missing=[f"{number}.jpg" for number in range(25)])
    assert json.loads(json.dumps(doctor.as_dict(examine(found))))["missing"] == found.missing
    text = doctor.as_text(examine(found))
    assert "25 images are in the table but not on disk" in text
    assert "9.jpg" in text
    assert "10.jpg" not in text
    assert "and 15 more" in text


def test_a_wrong_folder_is_the_sources_error(tmp_path):
    """The doctor adds nothing to it."""
    with pytest.raises(SourceError, match="does not look like CheXpert"):
        doctor.examine(sources.find("chexpert"), tmp_path)


def test_the_real_subset_is_called_one(real_data):
    """Third-party Kermany lacks the 16 of val, and all else is complete."""
    seen = doctor.examine(sources.find("kermany"), real_data / "kermany_224")
    off = {(count.split, count.what): count.found for count in seen.counts if count.released not in (None, count.found)}
    assert off == {("val", "frontal"): 0, ("val", "NORMAL"): 0, ("val", "PNEUMONIA"): 0}
    assert "a subset?" in seen.verdict
