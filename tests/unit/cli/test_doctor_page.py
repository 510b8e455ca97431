"""The doctor's page: clean sentences, aligned columns, ten of a list; and the same whole for programs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_releases import write_release

from cxrfast import sources
from cxrfast.cli import doctor_page
from cxrfast.packing.doctor import Examination, examine
from cxrfast.packing.duplicates import Duplicates, Group
from cxrfast.packing.trial import Readable, Trial, Unreadable
from cxrfast.sources.base import Expected


class Tiny:
    """A source of small invented releases."""

    name, title, vocabulary, layout_help, signs = "tiny", "Tiny Set", ("Edema",), "", ()
    home, terms = "https://example.org/tiny", "CC0: do as you like."

    def __init__(self, found):
        self.found = found

    def scan(self, src):
        return self.found


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> Examination:
    """Return what the doctor saw of 24 small images, all decoded and compared."""
    src = tmp_path_factory.mktemp("tiny")
    found = replace(write_release(src, 24), expected=Expected(images={("train", "frontal"): 1234}))
    return examine(Tiny(found), src, out=Path("shards/tiny"), decode=24, compare=True)


def test_the_page_ends_with_where_and_on_what_terms(seen):
    """The last two lines are the terms of use in a sentence and the set's home."""
    assert doctor_page.as_text(seen).splitlines()[-2:] == [
        "Terms of use: CC0: do as you like.",
        "Where it is from: https://example.org/tiny",
    ]


@pytest.mark.parametrize("name", sources.names())
def test_every_sets_page_has_its_terms(name, seen):
    """Each set says its own terms as a sentence."""
    source = sources.find(name)
    page = doctor_page.as_text(replace(seen, source=source))
    assert f"Terms of use: {source.terms}" in page
    assert source.terms.endswith(".")


def test_numbers_of_a_block_end_in_one_column(seen):
    """Counts and labels are tables: in each, columns end at the same place, heads too."""
    blocks = doctor_page.as_text(seen).split("\n\n")
    counts = next(block for block in blocks if block.startswith("Counts")).splitlines()
    ends = {line.index(word) + len(word) for line, word in zip(counts[:2], ("in the release", "1,234"), strict=True)}
    assert len(ends) == 1
    labels = next(block for block in blocks if block.startswith("Labels")).splitlines()
    assert len({len(line) for line in labels}) == 1


def test_the_same_is_whole_json(seen):
    """Everything of the page is in it under a name, and it survives JSON."""
    seen = replace(seen, release=replace(seen.release, missing=[f"{number}.jpg" for number in range(25)]))
    values = json.loads(json.dumps(doctor_page.as_dict(seen)))
    assert values["missing"] == seen.release.missing
    assert values["terms"] == "CC0: do as you like."
    assert values["home"] == "https://example.org/tiny"
    assert values["trial"]["drawn"] == 24
    assert values["duplicates"]["groups"] == []
    assert values["packed"]["bytes"] == seen.outlook.bytes
    assert values["packed"]["recipe"]["long_side"] == 320
    page = doctor_page.as_text(seen)
    assert "25 images are in the table but not on disk" in page
    assert "\n  9.jpg\n" in page
    assert "10.jpg" not in page
    assert "and 15 more (--json lists all)" in page


def test_what_was_not_asked_for_is_not_said(seen):
    """Without --decode and --hash there is no line of either, and null in JSON."""
    less = replace(seen, trial=None, duplicates=None)
    assert "decoded" not in doctor_page.as_text(less)
    assert "bytes with another" not in doctor_page.as_text(less)
    assert doctor_page.as_dict(less)["trial"] is doctor_page.as_dict(less)["duplicates"] is None


@pytest.mark.parametrize(
    ("bad", "good", "total", "said"),
    [
        (0, 24, 24, "All 24 images on disk were decoded, and can be read."),
        (1, 23, 24, "All 24 images on disk were decoded; 1 cannot be read:\n  truncated: 0.jpg: it ends early"),
        (0, 100, 5000, "100 of 5,000 images on disk were decoded, and can be read (unreadable of all: at most 3.7 %"),
        (5, 95, 5000, "were decoded; 5 cannot be read (unreadable of all: 2.2 % to 11 %, with 95 % confidence):"),
        (0, 0, 0, "There is no image on disk to decode."),
    ],
)
def test_a_trial_is_said_in_a_sentence(bad, good, total, said, seen):
    """How many of how many, which ones, and what it tells of all."""
    broken = [Unreadable(f"{number}.jpg", "truncated", "it ends early") for number in range(bad)]
    trial = Trial(total, [Readable("JPEG", 30, 1200)] * good, broken)
    assert said in doctor_page.as_text(replace(seen, trial=trial))


def test_copies_are_said_with_their_first_names(seen):
    """Three of a group stand for it, and how many groups cross splits and patients is told."""
    names = tuple(f"{number}.jpg" for number in range(5))
    group = Group("0" * 64, names, ("train",) * 4 + ("test",), ("p",) * 5)
    page = doctor_page.as_text(replace(seen, duplicates=Duplicates([group], {"7.jpg": "Input/output error"})))
    assert "5 files share their bytes with another: 1 group, 1 across splits, 0 across patients:" in page
    assert "\n  0.jpg = 1.jpg = 2.jpg = 2 more\n" in page
    assert "1 file could not be read to compare it:\n  7.jpg: Input/output error" in page
    assert "No two files hold the same bytes." in doctor_page.as_text(seen)


def test_a_disk_that_is_too_small_is_told(seen):
    """Free space is set beside what packing takes."""
    assert "NOT ENOUGH" not in doctor_page.as_text(seen)
    full = replace(seen, outlook=replace(seen.outlook, free=10))
    assert "0 KB are free for shards/tiny: NOT ENOUGH" in doctor_page.as_text(full)
    unknown = replace(seen, outlook=replace(seen.outlook, seen=0))
    assert "No image could be packed to estimate size and time" in doctor_page.as_text(unknown)


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 KB"), (820_000, "820 KB"), (3.94e9, "3.9 GB"), (1.234e11, "123 GB"), (4.39e11, "439 GB"), (2e12, "2.0 TB")],
)
def test_sizes_are_said_as_people_do(number, said):
    """Powers of ten, two or three digits."""
    assert doctor_page.size(number) == said
