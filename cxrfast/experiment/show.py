"""Pictures of a packed set: some of its images, what the views do to them, and how its labels are distributed.

Images come through the loader and its renderer, so the sheets show what training sees, and a fault in decoding,
polarity or geometry is seen here before an epoch is spent on it.
"""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxrfast import chance
from cxrfast.errors import ConfigError, ShardSetError
from cxrfast.evaluation.figures import label_bars
from cxrfast.evaluation.sheets import VALUES, Captioned, contact_sheet, label_distribution, view_sheet
from cxrfast.labels import CHEXPERT, PREFIX, class_of
from cxrfast.loading.counters import Counters
from cxrfast.loading.decode import Gray, decode_sample
from cxrfast.loading.loader import Loader
from cxrfast.loading.order import Sequential
from cxrfast.loading.read import Reader
from cxrfast.loading.samples import Samples
from cxrfast.loading.views import ViewSpec
from cxrfast.shardset.shardset import ShardSet

VIEWS = {"plain": ViewSpec.plain, "paper": ViewSpec.paper, "simclr": ViewSpec.simclr}
RARE_LINE = 25_000
"""The study's line between rare and common classes, in positives among CheXpert's frontal training images."""

_SIZE = 224
_VIEWED = 4
_DRAWS = 3
_LARGE = 100_000  # of a set to which the line applies


def show(
    shards: ShardSet, out: Path, *, images: int = 24, seed: int = 0, views: Sequence[str] = ("plain", "paper", "simclr")
) -> list[Path]:
    """Draw the sheets of one shard set and return their paths: `out`, and beside it -views, -labels and -labels-rare.

    `images`: how many of the set's images, drawn by `seed`. The last sheet is drawn where the set annotates CheXpert's
    classes. Raises ConfigError for a view that is none, ShardSetError for a set without images, and DamagedSample for
    an image that cannot be read.
    """
    strangers = [name for name in views if name not in VIEWS]
    if strangers or not views:
        raise ConfigError(f"there is no view {', '.join(strangers) or 'named'}; the views are {', '.join(VIEWS)}")
    if len(shards) == 0:
        raise ShardSetError(f"{shards.folders[0]} holds no images; there is nothing to show")
    drawn = np.sort(chance.permutation(len(shards), "show", seed)[: max(1, images)])
    some = shards.rows(drawn)
    stored = _stored(some)
    name = shards.names[0]
    title = f"{name}: {len(some):,} of {len(shards):,} stored images (seed {seed})"
    captioned = [
        Captioned(image, _short_key(row["key"], name), _about(row, shards.annotated[name]))
        for image, row in zip(stored, some.table.to_dict("records"), strict=True)
    ]
    paths = [contact_sheet(captioned, out, title=title), _views(some, stored, _beside(out, "views"), seed, views)]
    return [*paths, *_labels(shards, out)]


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.stem}-{what}.png")


def _stored(some: ShardSet) -> list[Gray]:
    """Return the images as they are stored, uint8 (height, width) each."""
    samples = Samples(some)
    reader = Reader(samples, counters=Counters())
    try:
        return [decode_sample(samples, row, reader.read_now(row)) for row in range(len(some))]
    finally:
        reader.close()


def _views(some: ShardSet, stored: Sequence[Gray], path: Path, seed: int, views: Sequence[str]) -> Path:
    """Draw a few images in several draws of each view; a view without chance has one."""
    few = some.rows(np.arange(min(_VIEWED, len(some))))
    counts = [1 if VIEWS[name]() == ViewSpec.plain() else _DRAWS for name in views]
    specs = [VIEWS[name]() for name, count in zip(views, counts, strict=True) for _ in range(count)]
    loader = Loader(few, views=specs, size=_SIZE, batch_size=len(few), seed=seed, order=Sequential(lanes=1))
    try:
        (batch,) = loader.epoch(0)
    finally:
        loader.close()
    rendered = {int(row): images for row, images in zip(batch.index, batch.images.numpy()[:, :, 0], strict=True)}
    ends = np.cumsum(counts)[:-1]
    name = some.names[0]
    rows = [
        (_short_key(key, name), stored[row], [list(part) for part in np.split(rendered[row], ends)])
        for row, key in enumerate(few.table["key"])
    ]
    return view_sheet(rows, path, names=views, title=f"{name}: views of {_SIZE} x {_SIZE} pixels (seed {seed})")


def _labels(shards: ShardSet, out: Path) -> list[Path]:
    name = shards.names[0]
    rows, which = _training_rows(shards)
    annotated = shards.annotated[name]
    paths = []
    if annotated:
        line = RARE_LINE if name == "chexpert" and len(rows) >= _LARGE else None
        title = f"{name}: labels of {len(rows):,} {which}"
        counts = label_counts(rows.table, annotated)
        paths.append(label_distribution(counts, _beside(out, "labels"), title=title, rare=line))
    if set(CHEXPERT) <= {class_of(spelling) for spelling in annotated}:
        rare = rows.task("chexpert-rare")
        positives = pd.DataFrame({"Rare": (rare.labels == 1).sum(axis=0)}, index=list(rare.targets))
        positives = positives.sort_values("Rare", ascending=False, kind="stable")
        paths.append(label_bars(positives, _beside(out, "labels-rare"), images={"Rare": len(rare)}))
    return paths


def label_counts(table: pd.DataFrame, spellings: Sequence[str]) -> pd.DataFrame:
    """Return how many rows have each value of each class: a row a class, columns positive to blank."""
    values = table[[PREFIX + spelling for spelling in spellings]].to_numpy(dtype=np.float32)
    counts = [(values == 1).sum(axis=0), (values == -1).sum(axis=0), (values == 0).sum(axis=0)]
    counts.append(np.isnan(values).sum(axis=0))
    return pd.DataFrame(dict(zip(VALUES, counts, strict=True)), index=list(spellings))


def _training_rows(shards: ShardSet) -> tuple[ShardSet, str]:
    """Return the frontal training images, as far as the set has such, and what to call them."""
    words = "images"
    for column, value, word in (("release_split", "train", "training"), ("projection", "frontal", "frontal")):
        if (shards.table[column] == value).any():
            shards = shards.select(f"{column} == '{value}'")
            words = f"{word} {words}"
    return shards, words


def _short_key(key: str, dataset: str) -> str:
    return key.removeprefix(f"{dataset}-")


def _about(row: Mapping[Hashable, object], spellings: Sequence[str]) -> tuple[str, ...]:
    """Return what a caption says of an image: what it is of, and its labels; `?` marks an uncertain one."""
    parts = [row[name] for name in ("projection", "view_position", "sex") if isinstance(row[name], str)]
    age = row["age"]
    if isinstance(age, float) and not np.isnan(age):
        parts.append(f"{age:.0f} y")
    labels = [name for name in spellings if row[PREFIX + name] == 1]
    labels += [f"{name}?" for name in spellings if row[PREFIX + name] == -1]
    split = [row["release_split"]] if isinstance(row["release_split"], str) else []
    return ", ".join(map(str, [*split, *parts])), ", ".join(labels) or "no positive label"
