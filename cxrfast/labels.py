"""What the six sets call their classes, what a task asks for, and how uncertain and blank labels count.

Shards keep labels as released: 1, 0, -1 (uncertain) or NaN, in columns `label.<Name>` of the set's own spelling. Only
here, at train time, do they become targets. Two kinds of NaN must not be mixed up: *blank* (the set annotates the
class, this row has no entry) is decided by a policy; *unknown* (the set does not annotate the class at all) stays NaN
and is masked in every loss and metric, since it is never known to be 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast.errors import LabelError

PREFIX = "label."
VOTES_PREFIX = "votes."
NUM_READERS = 3  # of an image, in the one set that counts votes (VinBigData)

CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip

VOCABULARIES: dict[str, tuple[str, ...]] = {
    "chexpert": CHEXPERT,
    "chestxray14": (
        "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
        "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia", "No Finding",
    ),
    "kermany": ("NORMAL", "PNEUMONIA", "bacteria", "virus"),
    "gb7flg": ("norma", "pnevmoniya"),
    "tbx11k": (
        "health", "sick", "tb", "ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis",
    ),
    "vinbigdata": (
        "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Consolidation", "ILD", "Infiltration",
        "Lung Opacity", "Nodule/Mass", "Other lesion", "Pleural effusion", "Pleural thickening", "Pneumothorax",
        "Pulmonary fibrosis", "No finding",
    ),
}  # fmt: skip

# One class, every spelling that means the same. A Nodule or Mass is not made a Lung Lesion, nor a Lung Opacity an
# Infiltration: the sets' own definitions differ there. A name that is not in the table is its own class.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "No Finding": ("No finding", "NORMAL", "norma", "health"),
    "Pneumonia": ("PNEUMONIA", "pnevmoniya"),
    "Pleural Effusion": ("Effusion", "Pleural effusion"),
    "Pleural Thickening": ("Pleural_Thickening", "Pleural thickening"),
    "Fibrosis": ("Pulmonary fibrosis",),
    "Tuberculosis": ("tb",),
}
# Sets labelled from reports, where blank tells that a class is not mentioned. In the others it is a label that nobody
# gave, such as one of a competition's test images, which no policy may turn into a negative.
_FROM_REPORTS = ("chexpert",)
_CLASS_OF = {spelling: name for name, spellings in SYNONYMS.items() for spelling in spellings}

POLICIES = ("ones", "zeros", "ignore")
Policy = str | Mapping[str, str]


@dataclass(frozen=True)
class Task:
    """What a classifier is asked: its targets, and which rows count.

    `among`: keep only rows with a positive among these classes (empty: keep all). `other`: the classes behind the
    target "Other", which is 1 where any of them is positive.
    """

    name: str
    targets: tuple[str, ...]
    among: tuple[str, ...] = ()
    other: tuple[str, ...] = ()


def class_of(spelling: str) -> str:
    """Return the common name of a class that a set spells `spelling`."""
    return _CLASS_OF.get(spelling, spelling)


def _classes(dataset: str) -> tuple[str, ...]:
    return tuple(class_of(spelling) for spelling in VOCABULARIES[dataset])


_RARE = ("Enlarged Cardiomediastinum", "Lung Lesion", "Pneumonia", "Pneumothorax", "Fracture", "No Finding")

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("chexpert14", CHEXPERT),
        Task(
            "chexpert-rare", (*_RARE, "Other"), among=_RARE, other=tuple(name for name in CHEXPERT if name not in _RARE)
        ),
        Task("chestxray14", _classes("chestxray14")),
        Task("vinbigdata", _classes("vinbigdata")),
        Task("pneumonia", ("Pneumonia",)),
        Task("tuberculosis", ("Tuberculosis",)),
    )
}


def find_task(task: str | Task) -> Task:
    """Return the task of that name; LabelError naming the known ones where there is none."""
    if isinstance(task, Task):
        return task
    if task not in TASKS:
        raise LabelError(f"there is no task {task!r}; known tasks: {', '.join(sorted(TASKS))}")
    return TASKS[task]


def make_targets(
    table: pd.DataFrame,
    task: Task,
    *,
    annotated: Mapping[str, tuple[str, ...]],
    uncertain: Policy = "ones",
    blank: Policy = "zeros",
    votes: int = 1,
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Turn raw labels into targets.

    `table`: a row an image, with `dataset` and `label.*` columns (n rows). `annotated`: for each data set the spellings
    that it annotates. `uncertain`, `blank`: what -1 and blank become (`ones`, `zeros`, or `ignore` for masked), one
    word for all classes or a mapping from class to word, others then taking the study's `ones` and `zeros`. `votes`:
    how many of an image's readers make a positive (2 is the majority), where the set counts them in `votes.*` columns;
    of fewer it is 0. In a set that is not labelled from reports a blank is a label that nobody gave (hidden test
    labels), never a finding that a report leaves out: it is masked whatever the policy.

    Returns which rows the task keeps, bool (n,), and the targets of every row, float32 (n, C), NaN where masked.
    Raises LabelError where no row's set annotates a target, a policy is unknown, or votes are not 1 to 3.
    """
    if votes not in range(1, NUM_READERS + 1):
        raise LabelError(f"votes is {votes!r}; it is 1 to {NUM_READERS}, since {NUM_READERS} readers saw each image")
    needed = dict.fromkeys((*task.targets, *task.among, *task.other))
    needed.pop("Other", None)
    for name, policy in (("uncertain", uncertain), ("blank", blank)):
        _check_classes(name, policy, tuple(needed))
    values = {
        name: _class_values(table, name, annotated, _word(uncertain, name, "ones"), _word(blank, name, "zeros"), votes)
        for name in needed
    }
    if task.other:
        values["Other"] = _any_positive([values[name] for name in task.other])
    keep = np.ones(len(table), dtype=np.bool_)
    if task.among:
        keep = np.any([values[name] == 1 for name in task.among], axis=0)
    targets = (
        np.stack([values[name] for name in task.targets], axis=1) if len(table) else np.zeros((0, len(task.targets)))
    )
    return keep, targets.astype(np.float32)


def _class_values(
    table: pd.DataFrame, name: str, annotated: Mapping[str, tuple[str, ...]], uncertain: str, blank: str, votes: int
) -> npt.NDArray[np.float32]:
    """Return one class over all rows: 1, 0, or NaN for unknown and ignored; float32 (n,)."""
    result = np.full(len(table), np.nan, dtype=np.float32)
    datasets = table["dataset"].to_numpy()
    known = False
    for dataset, spellings in annotated.items():
        mine = [spelling for spelling in spellings if class_of(spelling) == name]
        if not mine:
            continue
        known = True
        rows = np.flatnonzero(datasets == dataset)
        raw = np.stack([_raw_labels(table, spelling, votes)[rows] for spelling in mine])
        told = blank if dataset in _FROM_REPORTS else "ignore"
        result[rows] = _apply_policy(np.fmax.reduce(raw, axis=0), uncertain, told)
    if not known:
        raise LabelError(f"no data set here annotates {name!r}; annotated: {_listing(annotated)}")
    return result


def _raw_labels(table: pd.DataFrame, spelling: str, votes: int) -> npt.NDArray[np.float32]:
    """Return a label column, float32 (n,), 0 where fewer than `votes` readers voted for it."""
    raw = table[PREFIX + spelling].to_numpy(dtype=np.float32)
    if VOTES_PREFIX + spelling not in table:
        return raw
    too_few = table[VOTES_PREFIX + spelling].to_numpy(dtype=np.float32) < votes  # false where votes are missing
    return np.where(too_few, np.float32(0), raw)


def _apply_policy(raw: npt.NDArray[np.float32], uncertain: str, blank: str) -> npt.NDArray[np.float32]:
    becomes = {"ones": 1.0, "zeros": 0.0, "ignore": np.nan}
    decided = np.where(raw == -1, np.float32(becomes[uncertain]), raw)
    return np.where(np.isnan(raw), np.float32(becomes[blank]), decided)


def _any_positive(columns: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """1 where any is 1; else NaN where any is masked, since that one might be 1; else 0."""
    stacked = np.stack(columns)
    masked = np.where(np.isnan(stacked).any(axis=0), np.float32(np.nan), np.float32(0))
    return np.where((stacked == 1).any(axis=0), np.float32(1), masked)


def _check_classes(name: str, policy: Policy, classes: tuple[str, ...]) -> None:
    strangers = [] if isinstance(policy, str) else [key for key in policy if key not in classes]
    if strangers:
        near = get_close_matches(strangers[0], classes, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"its classes: {', '.join(classes)}"
        raise LabelError(f"{name} names the class {strangers[0]!r}, which the task does not use; {hint}")


def _word(policy: Policy, name: str, default: str) -> str:
    word = policy if isinstance(policy, str) else policy.get(name, default)
    if word not in POLICIES:
        raise LabelError(f"label policy {word!r} for {name!r} is unknown; choose among {', '.join(POLICIES)}")
    return word


def _listing(annotated: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{dataset}: {', '.join(spellings)}" for dataset, spellings in annotated.items()) or "nothing"
