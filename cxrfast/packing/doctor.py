"""A look at a release before hours are spent on packing it: is this the set, is it all there, what is odd.

Only names and tables are read, no image, so that it answers in seconds on 223,414 rows; a file that is there but
broken is found by packing, which rejects it by name. Counts are set beside the known ones and judged in words, never
by the exit status: a subset is a fair thing to pack.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxrfast.labels import PREFIX
from cxrfast.sources.base import Release, Source

_SHOWN = 10
_VALUES = {"positive": 1, "negative": 0, "uncertain": -1}
_NO_SPLIT = "none"


@dataclass(frozen=True)
class Count:
    """How many of something there are, and in the complete release (None where that is not known)."""

    split: str
    what: str
    found: int
    released: int | None


@dataclass(frozen=True)
class Examination:
    """What the doctor saw. `labels`: by the set's own spelling, how many rows are positive, ..., blank."""

    title: str
    src: Path
    release: Release
    counts: list[Count]
    labels: dict[str, dict[str, int]]

    @property
    def verdict(self) -> str:
        """Say in a sentence how the counts stand to the complete release's."""
        known = [count for count in self.counts if count.released is not None]
        fewer = any(count.found < (count.released or 0) for count in known)
        more = any(count.found > (count.released or 0) for count in known)
        if fewer and more:
            return "The counts differ from the release's, some fewer and some more: another edition?"
        if fewer:
            return "There are fewer than in the release: a subset?"
        if more:
            return "There are more than in the release: another edition, or other files among them?"
        if self.release.missing:
            return "The table is that of the release, but files are missing: an unfinished download?"
        return "All counts are those of the release." if known else "The release's counts are not known."


def examine(source: Source, src: Path) -> Examination:
    """Scan the release under `src` and count it; SourceError where it is not this set."""
    release = source.scan(src)
    return Examination(source.title, src, release, _counts(release), _label_counts(release))


def _counts(release: Release) -> list[Count]:
    """Return images by split and projection, patients by split, and the positives whose number is known."""
    table, expected = release.table, release.expected
    splits = table["release_split"].fillna(_NO_SPLIT)
    images = table.groupby([splits, table["projection"].fillna("unknown")]).size().to_dict()
    named = table["patient"].fillna(table["key"])
    patients = named.groupby(splits).nunique().to_dict()
    positives = {
        (split, name): int((table.loc[splits == split, PREFIX + name] == 1).sum()) for split, name in expected.positives
    }
    return [
        *_beside(images, expected.images),
        *_beside(
            {(split, "patients"): found for split, found in patients.items()},
            {(split, "patients"): number for split, number in expected.patients.items()},
        ),
        *_beside(positives, expected.positives),
    ]


def _beside(found: Mapping[Any, int], released: Mapping[tuple[str, str], int]) -> list[Count]:
    keys = dict.fromkeys([*released, *found])
    return [
        Count(split, what, int(found.get((split, what), 0)), released.get((split, what), 0 if released else None))
        for split, what in keys
    ]


def _label_counts(release: Release) -> dict[str, dict[str, int]]:
    counts = {}
    for column in release.table.columns:
        if column.startswith(PREFIX):
            values = release.table[column].to_numpy(dtype=np.float32)
            by_value = {word: int((values == value).sum()) for word, value in _VALUES.items()}
            counts[column.removeprefix(PREFIX)] = {**by_value, "blank": int(np.isnan(values).sum())}
    return counts


def as_dict(seen: Examination) -> dict[str, Any]:
    """Return the examination as plain values for JSON, lists of paths whole."""
    return {
        "dataset": seen.release.dataset,
        "title": seen.title,
        "src": str(seen.src),
        "layout": seen.release.layout,
        "images": len(seen.release.table),
        "counts": [vars(count) for count in seen.counts],
        "labels": seen.labels,
        "missing": seen.release.missing,
        "unlisted": seen.release.unlisted,
        "findings": seen.release.findings,
        "verdict": seen.verdict,
    }


def as_text(seen: Examination) -> str:
    """Return the examination as lines for a terminal."""
    release = seen.release
    lines = [f"{seen.title} in {seen.src}", f"Layout: {release.layout}", f"Images: {len(release.table):,}", ""]
    lines += ["                                found   in the release"]
    lines += [_count_line(count) for count in seen.counts]
    lines += ["", "Labels                       positive   negative  uncertain      blank"]
    lines += [
        f"  {name:<26}" + "".join(f" {number:>10,}" for number in by.values()) for name, by in seen.labels.items()
    ]
    lines += _paths("images are in the table but not on disk", release.missing)
    lines += _paths("images are on disk but not in the table", release.unlisted)
    lines += ["", *(f"Note: {finding}." for finding in release.findings), seen.verdict]
    return "\n".join(lines)


def _count_line(count: Count) -> str:
    released = "not known" if count.released is None else f"{count.released:,}"
    difference = "" if count.released in (None, count.found) else f"   {count.found - (count.released or 0):+,}"
    return f"  {count.split:<6} {count.what:<18} {count.found:>10,}   {released:>14}{difference}"


def _paths(what: str, paths: list[str]) -> list[str]:
    if not paths:
        return []
    more = [f"  ... and {len(paths) - _SHOWN:,} more"] if len(paths) > _SHOWN else []
    return ["", f"{len(paths):,} {what}:", *(f"  {path}" for path in paths[:_SHOWN]), *more]
