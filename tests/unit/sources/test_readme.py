"""The README's page of each data set says what the source says: counts of the complete release, commands, terms."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from cxrfast import sources
from cxrfast.sources.base import Expected

README = (Path(__file__).resolve().parents[3] / "README.md").read_text()
LINE = re.compile(r"^  (\w+) +(\S+(?: \S+)*?) +([\d,]+) +([\d,]+)$", re.MULTILINE)


def page(name):
    """Return the section of the README whose commands are the data set's."""
    (found,) = [section for section in README.split("\n### ") if f"cxrfast-shard doctor {name} " in section[:200]]
    return found.split("\n## ")[0]


@pytest.mark.parametrize("name", sources.names())
def test_the_pages_counts_are_the_releases(name):
    """Each line that the page shows is a count that the doctor compares with, and is shown as complete."""
    known = [value for value in vars(import_module(f"cxrfast.sources.{name}")).values() if isinstance(value, Expected)]
    lines = LINE.findall(page(name))
    assert len(lines) >= 3
    for split, what, found, released in lines:
        group = [e.patients.get(split) if what == "patients" else None for e in known]
        group += [counts.get((split, what)) for e in known for counts in (e.images, e.positives)]
        assert found == released
        assert int(found.replace(",", "")) in group, (split, what)


@pytest.mark.parametrize("name", sources.names())
def test_the_page_says_what_to_run_and_ends_with_the_terms(name):
    """Doctor and pack stand there as commands; the last sentence is the terms of use."""
    assert f"cxrfast-shard pack {name} " in page(name)
    assert page(name).rstrip().splitlines()[-1].startswith("*Terms: ")
