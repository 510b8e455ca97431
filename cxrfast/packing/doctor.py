"""A look at a release before hours are spent on packing it: is this the set, is it all there, what is odd.

Names and tables are read, and of the images only the few from which packed size and time are estimated, so that it
answers in seconds on 223,414 rows; decoding more of them, and comparing their bytes, are asked for. Counts are set
beside the known ones and judged in words, never by the exit status: a subset is a fair thing to pack.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxrfast.labels import PREFIX
from cxrfast.packing.duplicates import Duplicates, find_duplicates
from cxrfast.packing.estimate import Estimate, estimate_packed, free_bytes
from cxrfast.packing.executors import usable_cpus
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.trial import Counting, Trial, silent, try_images
from cxrfast.sources.base import Release, Source

_SYNTHETIC = "SYNTHETIC.txt"  # the phantom's mark
_VALUES = {"positive": 1, "negative": 0, "uncertain": -1}
_NO_SPLIT = "none"
_SPLITS = ("train", "val", "test", _NO_SPLIT)


@dataclass(frozen=True)
class Count:
    """How many of something there are, and in the complete release (None where that is not known)."""

    split: str
    what: str
    found: int
    released: int | None


@dataclass(frozen=True)
class Outlook:
    """What packing `images` by `recipe` will take: bytes and seconds, of `cpus`, from a sample of `seen` images.

    `free`: bytes free where `out` lies or will lie.
    """

    recipe: Recipe
    images: int
    seen: int
    bytes: int
    seconds: float
    cpus: int
    out: Path
    free: int


@dataclass(frozen=True)
class Examination:
    """What the doctor saw. `labels`: by the set's own spelling, how many rows are positive, ..., blank.

    `findings`: what is odd, a sentence each. `trial`, `duplicates`: None where they were not asked for.
    """

    source: Source
    src: Path
    release: Release
    counts: list[Count]
    labels: dict[str, dict[str, int]]
    findings: list[str]
    outlook: Outlook
    trial: Trial | None = None
    duplicates: Duplicates | None = None

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


def examine(
    source: Source, src: Path, *, out: Path, decode: int = 0, compare: bool = False, counting: Counting = silent
) -> Examination:
    """Scan the release under `src` and count it; SourceError where it is not this set.

    `out`: where it would be packed to. `decode`: how many images to decode as a trial. `compare`: look for files of
    the same bytes.
    """
    release = source.scan(src)
    table = release.table
    on_disk = table[~table["path"].isin(release.missing)] if release.missing else table
    return Examination(
        source,
        src,
        release,
        _counts(release),
        _label_counts(release),
        [*_origin(src, release), *release.findings],
        _outlook(src, on_disk, Recipe(release.dataset), out),
        try_images(src, on_disk, decode, counting=counting) if decode else None,
        find_duplicates(src, on_disk, counting=counting) if compare else None,
    )


def _origin(src: Path, release: Release) -> list[str]:
    """Say so where the release is a phantom's, by the file that it leaves in SRC or in the images' own folder."""
    tops = sorted({path.partition("/")[0] for path in release.table["path"]})
    found = [place for place in (_SYNTHETIC, *(f"{top}/{_SYNTHETIC}" for top in tops)) if (src / place).is_file()]
    return [f"it is synthetic, drawn by cxrfast-shard phantom, as {found[0]} says"] if found else []


def _outlook(src: Path, on_disk: pd.DataFrame, recipe: Recipe, out: Path) -> Outlook:
    cpus, images = usable_cpus(), len(on_disk)
    means = estimate_packed(src, on_disk["path"].tolist(), recipe) if images else Estimate(0.0, 0.0, 0)
    seconds = means.seconds_per_image * images / cpus
    return Outlook(
        recipe, images, means.images, round(means.bytes_per_image * images), seconds, cpus, out, free_bytes(out)
    )


def _counts(release: Release) -> list[Count]:
    """Return images by split and projection, patients by both, and the positives whose number is known."""
    table, expected = release.table, release.expected
    splits = table["release_split"].fillna(_NO_SPLIT)
    projections = table["projection"].fillna("unknown")
    named = table["patient"].fillna(table["key"])
    patients = {(split, "patients"): found for split, found in named.groupby(splits).nunique().to_dict().items()}
    known = {(split, "patients"): number for split, number in expected.patients.items()}
    positives = {
        (split, name): int((table.loc[splits == split, PREFIX + name] == 1).sum()) for split, name in expected.positives
    }
    counts = _beside(table.groupby([splits, projections]).size().to_dict(), expected.images)
    counts += _beside(patients, known)
    if projections.nunique() > 1:
        counts += _beside(named.groupby([splits, "patients, " + projections]).nunique().to_dict(), {})
    return counts + _beside(positives, expected.positives)


def _beside(found: Mapping[Any, int], released: Mapping[tuple[str, str], int]) -> list[Count]:
    keys = sorted(dict.fromkeys([*released, *found]), key=lambda key: _SPLITS.index(key[0]))
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
