"""CheXpert's train.csv and valid.csv at full size, invented, with every documented count of the release at once.

Labels are dealt out, not drawn: a study's frontal images are its weight, and each count (positives of a class, images
of the rare set, those of them that are Other too) is met to the image by taking studies in the order of a seeded score
until the weights add up. A patient's studies score alike, so that findings recur in a patient as they do in life.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from cxrfast.labels import CHEXPERT, TASKS

RARE = TASKS["chexpert-rare"].among
COMMON = TASKS["chexpert-rare"].other


@dataclass(frozen=True)
class Documented:
    """The counts of one table. `positives`: 1 or -1, on frontal images, as are `rare` and `rare_and_other`."""

    folder: str
    first_patient: int
    patients: int
    studies: int
    positions: Mapping[str, int]
    lateral: int
    positives: Mapping[str, int]
    rare: int
    rare_and_other: int
    blank_rows: int = 0
    unknown_sex: int = 0
    age_zero: int = 0
    is_sure: bool = False  # every label is 0 or 1
    frontal: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "frontal", sum(self.positions.values()))


TRAIN = Documented(
    folder="train",
    first_patient=1,
    patients=64_540,
    studies=187_641,
    positions={"AP": 161_590, "PA": 29_420, "LL": 16, "RL": 1},
    lateral=32_387,
    positives={
        "No Finding": 16_974, "Enlarged Cardiomediastinum": 19_473, "Cardiomegaly": 30_092, "Lung Opacity": 98_642,
        "Lung Lesion": 8_148, "Edema": 61_493, "Consolidation": 37_364, "Pneumonia": 20_656, "Atelectasis": 59_583,
        "Pneumothorax": 20_401, "Pleural Effusion": 86_477, "Pleural Other": 4_317, "Fracture": 7_935,
        "Support Devices": 108_085,
    },
    rare=83_374,
    rare_and_other=67_022,
    blank_rows=12,
    unknown_sex=1,
    age_zero=3,
)  # fmt: skip
VALID = Documented(
    folder="valid",
    first_patient=64_541,
    patients=200,
    studies=200,
    positions={"AP": 169, "PA": 33},
    lateral=32,
    positives={
        "No Finding": 26, "Enlarged Cardiomediastinum": 105, "Cardiomegaly": 66, "Lung Opacity": 117, "Lung Lesion": 1,
        "Edema": 42, "Consolidation": 32, "Pneumonia": 8, "Atelectasis": 75, "Pneumothorax": 7, "Pleural Effusion": 64,
        "Pleural Other": 1, "Fracture": 0, "Support Devices": 99,
    },
    rare=139,
    rare_and_other=110,
    is_sure=True,
)  # fmt: skip


@cache
def tables(top: str = "CheXpert-v1.0-small") -> dict[str, pd.DataFrame]:
    """Return both tables by file name, columns and cells as released (labels float, NaN for blank)."""
    return {"train.csv": _table(TRAIN, top, seed=1), "valid.csv": _table(VALID, top, seed=2)}


def write_csvs(folder: Path) -> None:
    """Write train.csv and valid.csv into a folder, numbers as the release prints them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables().items():
        columns = [table[column] for column in table.columns[:5]]
        columns += [table[label].map({1.0: "1.0", 0.0: "0.0", -1.0: "-1.0"}).fillna("") for label in CHEXPERT]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        lines = [",".join(table.columns), *(",".join(map(str, row)) for row in rows)]
        (folder / name).write_text("\n".join(lines) + "\n")


def _table(counts: Documented, top: str, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    patient = _cohort(counts, rng)  # of each study, ascending
    frontals = 1 + _some(rng, counts.studies, counts.frontal - counts.studies)
    laterals = _some(rng, counts.studies, counts.lateral)
    alone = np.flatnonzero((frontals == 1) & (laterals == 0))
    labels = _labels(counts, patient, frontals, alone, rng)
    study = np.lexsort([rng.random(counts.studies), patient])  # the studies of a patient are in no order
    study = np.repeat(study, (frontals + laterals)[study])
    view = pd.Series(study).groupby(study).cumcount().to_numpy() + 1
    is_frontal = view <= frontals[study]
    return pd.DataFrame(
        {
            "Path": _paths(counts, top, patient, study, view, is_frontal),
            "Sex": _sexes(counts, patient[study], rng),
            "Age": _ages(counts, patient, alone, rng)[study],
            "Frontal/Lateral": np.where(is_frontal, "Frontal", "Lateral"),
            "AP/PA": _positions(counts, is_frontal, rng),
            **{name: labels[study, column] for column, name in enumerate(CHEXPERT)},
        }
    )


def _cohort(counts: Documented, rng: np.random.Generator) -> np.ndarray:
    """Return each study's patient: everyone has one study, and some have very many."""
    weights = rng.pareto(2.5, counts.patients) + 0.3
    more = rng.choice(counts.patients, size=counts.studies - counts.patients, p=weights / weights.sum())
    return np.sort(np.concatenate([np.arange(counts.patients), more]))


def _some(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    chosen = np.zeros(size, dtype=np.int64)
    chosen[rng.permutation(size)[:count]] = 1
    return chosen


def _paths(counts, top, patient, study, view, is_frontal) -> list[str]:
    number = pd.Series(patient).groupby(patient).cumcount().to_numpy() + 1
    kind = np.where(is_frontal, "frontal", "lateral").tolist()
    rows = zip(
        (patient + counts.first_patient)[study].tolist(), number[study].tolist(), view.tolist(), kind, strict=True
    )
    return [f"{top}/{counts.folder}/patient{p:05d}/study{s}/view{v}_{k}.jpg" for p, s, v, k in rows]


def _sexes(counts: Documented, patient: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sexes = np.where(rng.random(counts.patients) < 0.59, "Male", "Female").astype(object)[patient]
    single = np.flatnonzero(np.bincount(patient, minlength=counts.patients)[patient] == 1)
    sexes[single[: counts.unknown_sex]] = "Unknown"
    return sexes


def _ages(counts: Documented, patient: np.ndarray, alone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    ages = rng.integers(18, 91, counts.patients)[patient]
    ages[alone[: counts.age_zero]] = 0
    return ages


def _positions(counts: Documented, is_frontal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    positions = np.full(len(is_frontal), "", dtype=object)
    names, numbers = list(counts.positions), list(counts.positions.values())
    positions[is_frontal] = rng.permutation(np.repeat(np.array(names, dtype=object), numbers))
    return positions


def _labels(counts, patient, weights, alone, rng) -> np.ndarray:
    """Return each study's labels: float (studies, 14); `weights` are its frontal images."""
    scores = rng.normal(size=(counts.patients, 15))[patient] + 0.7 * rng.normal(size=(len(patient), 15))
    deal = _Deal(weights, scores)
    everyone = np.ones(len(patient), dtype=bool)
    rare = deal.take(everyone, counts.rare, column=14)
    both = deal.take(rare, counts.rare_and_other, column=0)
    blank = np.zeros_like(rare)
    blank[alone[~rare[alone]][: counts.blank_rows]] = True
    healthy = deal.take(rare, counts.positives["No Finding"], column=0)
    deal.positive[healthy, CHEXPERT.index("No Finding")] = True
    deal.cover(rare & ~healthy, {name: counts.positives[name] for name in RARE if name != "No Finding"})
    deal.cover(both, {name: counts.positives[name] for name in COMMON}, rest=both | ~(rare | blank))
    return _as_released(counts, deal.positive, blank, rng)


@dataclass
class _Deal:
    weights: np.ndarray
    scores: np.ndarray
    positive: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.positive = np.zeros((len(self.weights), len(CHEXPERT)), dtype=bool)

    def take(self, among: np.ndarray, total: int, *, column: int) -> np.ndarray:
        """Return studies of `among` whose weights add up to `total`, those first that score highest in a column."""
        candidates = np.flatnonzero(among)
        order = candidates[np.argsort(-self.scores[candidates, column], kind="stable")]
        fits = np.cumsum(self.weights[order]) <= total
        single = order[~fits & (self.weights[order] == 1)]
        lacking = total - self.weights[order[fits]].sum()
        taken = np.zeros_like(among)
        taken[order[fits]] = taken[single[:lacking]] = True
        return taken

    def cover(self, all_of: np.ndarray, positives: Mapping[str, int], *, rest: np.ndarray | None = None) -> None:
        """Give classes their positives so that each study of `all_of` has one at least; others come from `rest`."""
        total = int(self.weights[all_of].sum())
        first = {name: count * total // sum(positives.values()) for name, count in positives.items()}
        first[max(first, key=first.__getitem__)] += total - sum(first.values())
        bare = all_of
        for name, count in first.items():
            column = CHEXPERT.index(name)
            given = self.take(bare, count, column=column)
            self.positive[given, column] = True
            bare = bare & ~given
        for name, count in positives.items():
            column = CHEXPERT.index(name)
            among = (all_of if rest is None else rest) & ~self.positive[:, column]
            self.positive[:, column] |= self.take(among, count - first[name], column=column)


def _as_released(counts, positive, blank, rng) -> np.ndarray:
    """Make some positives uncertain and some negatives blank; No Finding is 1 or blank."""
    if counts.is_sure:
        return positive.astype(float)
    labels = np.where(rng.random(positive.shape) < 0.2, 0.0, np.nan)
    labels[np.isnan(labels).all(axis=1), CHEXPERT.index("Pleural Effusion")] = 0
    labels[:, CHEXPERT.index("No Finding")] = np.nan
    unsure = rng.random(positive.shape) < 0.15
    unsure[:, CHEXPERT.index("No Finding")] = False
    labels[positive] = np.where(unsure, -1.0, 1.0)[positive]
    labels[np.isnan(labels).all(axis=1), CHEXPERT.index("Pneumothorax")] = 0
    labels[blank] = np.nan
    return labels
