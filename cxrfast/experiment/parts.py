"""Which image serves for what: training, validation, test and pretext, decided once and written down.

A pretext set may be large and of many origins, so what keeps it honest is decided here and nowhere else: no patient of
the test set, and no image whose stored pixels equal a test image's, ever enters it; where a pretext image belongs to a
labelled patient, it falls on that patient's side of the split, so that validation stays unseen in both stages.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast.errors import ConfigError
from cxrfast.experiment.caveats import caveats
from cxrfast.experiment.config import DataSettings, Experiment, PretextSettings
from cxrfast.experiment.copies import has_pixels_of
from cxrfast.shardset.shardset import ShardSet
from cxrfast.shardset.transfer import is_url, joined


@dataclass(frozen=True)
class Parts:
    """The parts of an experiment's data; `checks` says in words how the test set was kept apart."""

    train: ShardSet
    valid: ShardSet
    test: ShardSet
    pretext_train: ShardSet | None
    pretext_valid: ShardSet | None
    checks: tuple[str, ...]


def open_parts(experiment: Experiment, shards: str | Path) -> Parts:
    """Open the shard sets under `shards`, a folder or a URL, and part their images as the experiment says.

    Raises ConfigError where a part would be empty, and ShardSetError where a set is not there.
    """
    data = experiment.data
    labelled = _kept(_open(shards, "data.datasets", data.datasets), "data.rows", data.rows)
    held_out = _kept(labelled, "data.test", data.test)
    pool = _kept(labelled, "data.train", data.train)
    copies = has_pixels_of(pool, held_out)
    apart = _check_apart(pool, held_out, int(copies.sum()))
    pool = _task(pool.rows(~copies), data)
    train, valid = pool.split(fraction=data.split.fraction, seed=data.split.seed, by=data.split.by)
    test = _task(held_out, data)
    if experiment.pretext is None:
        return Parts(train, valid, test, None, None, (apart, *caveats((labelled,), (train, valid))))
    unlabelled = _open(shards, "pretext.datasets", experiment.pretext.datasets or data.datasets)
    first, second, check = _part_pretext(unlabelled, experiment.pretext, data, train, valid, held_out)
    said = caveats((labelled, unlabelled), (train, valid, first, second))
    return Parts(train, valid, test, first, second, (apart, check, *said))


def split_table(parts: Parts) -> pd.DataFrame:
    """Return a row an image that serves for anything: dataset, key, patient, part, pretext."""
    labelled = {"train": parts.train, "valid": parts.valid, "test": parts.test}
    pretext = {"train": parts.pretext_train, "valid": parts.pretext_valid}
    serves = [
        part.table[["dataset", "key", "patient"]].assign(**{column: name})
        for column, group in (("part", labelled), ("pretext", pretext))
        for name, part in group.items()
        if part is not None
    ]
    table = pd.concat(serves, ignore_index=True)
    first = table.groupby(["dataset", "key"], sort=True).first()
    return first.reindex(columns=["patient", "part", "pretext"]).reset_index()


def split_digest(parts: Parts, split_csv: bytes) -> str:
    """Return the lines of `split.sha256`: the split's hash, and each part's fingerprint over pixels and targets."""
    named = {
        "train": parts.train,
        "valid": parts.valid,
        "test": parts.test,
        "pretext-train": parts.pretext_train,
        "pretext-valid": parts.pretext_valid,
    }
    lines = [f"{hashlib.sha256(split_csv).hexdigest()}  split.csv"]
    lines += [f"{part.fingerprint()}  {name}" for name, part in named.items() if part is not None]
    return "\n".join(lines) + "\n"


def _open(shards: str | Path, key: str, datasets: tuple[str, ...]) -> ShardSet:
    if is_url(shards):
        return ShardSet.open(*(joined(str(shards), name) for name in datasets))
    shards = Path(shards)
    folders = [shards / name for name in datasets]
    for name, folder in zip(datasets, folders, strict=True):
        if not folder.is_dir():
            if (shards / "shardset.json").is_file():
                raise ConfigError(f"{shards} is a shard set itself; name the folder above it: --shards {shards.parent}")
            found = sorted(entry.name for entry in shards.iterdir()) if shards.is_dir() else "no such folder"
            raise ConfigError(
                f"the experiment needs the shard set {name!r}, but {folder} does not exist (in {shards}: {found}); "
                f"pack it with `cxrfast-shard pack {name} SRC --out {folder}`, name another folder by --shards, "
                f"or name only the sets that you have: -o '{key}=[...]'"
            )
    return ShardSet.open(*folders)


def _kept(part: ShardSet, key: str, expression: str) -> ShardSet:
    """Select rows; ConfigError where none is kept, saying what there would have been."""
    kept = part.select(expression)
    if len(kept):
        return kept
    there = "; ".join(
        f"{column}: " + ", ".join(f"{value} {count:,}" for value, count in part.table[column].value_counts().items())
        for column in ("dataset", "projection", "release_split")
    )
    raise ConfigError(f"{key} ({expression}) keeps none of {len(part):,} images ({there})")


def _task(part: ShardSet, data: DataSettings) -> ShardSet:
    chosen = part.task(data.task, uncertain=data.uncertain, blank=data.blank, votes=data.votes)
    if len(chosen) == 0:
        raise ConfigError(f"the task {data.task} (data.task) keeps none of {len(part):,} images; choose another task")
    return chosen


def _check_apart(pool: ShardSet, test: ShardSet, copies: int) -> str:
    """Refuse training data that shares a patient with the test set."""
    shared = np.intersect1d(_patients(pool), _patients(test))
    if len(shared):
        raise ConfigError(
            f"data.train and data.test share {len(shared)} patients, such as {shared[0]}; change one of them so that "
            "the test set stays apart"
        )
    return (
        f"No patient is in both the training data and the {len(test):,} test images "
        "(compared by data set and patient, as the release names patients); "
        f"{copies:,} training images with the stored pixels of a test image were left out."
    )


def _part_pretext(
    pool: ShardSet, pretext: PretextSettings, data: DataSettings, train: ShardSet, valid: ShardSet, test: ShardSet
) -> tuple[ShardSet, ShardSet, str]:
    pool = _kept(pool, "pretext.rows", pretext.rows)
    of_test_patient = np.isin(_patients(pool), _patients(test))
    same_pixels = has_pixels_of(pool, test) & ~of_test_patient
    pool = pool.rows(~(of_test_patient | same_pixels))
    if len(pool) == 0:
        raise ConfigError(
            f"pretext.rows ({pretext.rows}) keeps only images of test patients; nothing is left to learn from"
        )
    side = _sides(pool, train, valid)
    free = np.flatnonzero(side == "")
    if len(free):
        rest = pool.rows(free)
        first, _ = rest.split(fraction=data.split.fraction, seed=data.split.seed, by=data.split.by)
        side[free] = np.where(np.isin(rest.table["key"], first.table["key"]), "train", "valid")
    sides = [pool.rows(np.flatnonzero(side == name)) for name in ("train", "valid")]
    check = (
        f"The pretext set holds no patient of the test set ({int(of_test_patient.sum()):,} images of test patients and "
        f"{int(same_pixels.sum()):,} further images with the stored pixels of a test image were left out; "
        "compared by data set and patient, and by what is stored)."
    )
    return sides[0], sides[1], check


def _sides(pool: ShardSet, train: ShardSet, valid: ShardSet) -> npt.NDArray[np.object_]:
    """Return "train", "valid" or "" for each image: its own side, else its patient's; object (n,)."""
    side = np.full(len(pool), "", dtype=object)
    keys, patients = pool.table["key"].to_numpy(dtype=object), _patients(pool)
    for name, part in (("train", train), ("valid", valid)):
        side[np.isin(patients, _patients(part))] = name
    for name, part in (("train", train), ("valid", valid)):
        side[np.isin(keys, part.table["key"].to_numpy(dtype=object))] = name
    return side


def _patients(part: ShardSet) -> npt.NDArray[np.str_]:
    """Return `dataset/patient` of each image; an image without patient is a patient of its own; str (n,)."""
    table = part.table
    patient = table["patient"].astype(object).where(table["patient"].notna(), table["key"])
    return (table["dataset"].astype(str) + "/" + patient.astype(str)).to_numpy(dtype=np.str_)
