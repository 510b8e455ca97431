"""From labels as released to targets: policies, synonyms, unknown against blank, and the two CheXpert tasks."""

import itertools

import numpy as np
import pandas as pd
import pytest

from cxrfast import labels
from cxrfast.errors import LabelError

BECOMES = {"ones": 1.0, "zeros": 0.0, "ignore": np.nan}


def chexpert(**columns: list[float]) -> pd.DataFrame:
    """Return CheXpert rows in which every class is blank but those given (underscores stand for spaces)."""
    rows = len(next(iter(columns.values())))
    table = pd.DataFrame({"dataset": ["chexpert"] * rows})
    for name in labels.CHEXPERT:
        table[labels.PREFIX + name] = np.full(rows, np.nan, dtype=np.float32)
    for name, values in columns.items():
        table[labels.PREFIX + name.replace("_", " ")] = np.array(values, dtype=np.float32)
    return table


def targets(table: pd.DataFrame, task: str | labels.Task, **policy: object) -> tuple[np.ndarray, np.ndarray]:
    annotated = {name: labels.VOCABULARIES[name] for name in pd.unique(table["dataset"])}
    return labels.make_targets(table, labels.find_task(task), annotated=annotated, **policy)  # type: ignore[arg-type]


@pytest.mark.parametrize(("uncertain", "blank"), list(itertools.product(labels.POLICIES, repeat=2)))
def test_policies_decide_uncertain_and_blank_alone(uncertain: str, blank: str) -> None:
    """1 and 0 stay; -1 follows `uncertain`, blank follows `blank`, each of three words."""
    table = chexpert(Edema=[1, 0, -1, np.nan])
    _, values = targets(table, "chexpert14", uncertain=uncertain, blank=blank)
    expected = [1, 0, BECOMES[uncertain], BECOMES[blank]]
    np.testing.assert_array_equal(values[:, labels.CHEXPERT.index("Edema")], np.array(expected, dtype=np.float32))


def test_a_policy_may_differ_by_class() -> None:
    """A mapping decides the classes that it names; the others follow the study (uncertain is 1, blank is 0)."""
    table = chexpert(Edema=[-1], Fracture=[-1])
    _, values = targets(table, "chexpert14", uncertain={"Edema": "zeros"})
    assert values[0, labels.CHEXPERT.index("Edema")] == 0
    assert values[0, labels.CHEXPERT.index("Fracture")] == 1


def test_unknown_is_never_zero() -> None:
    """A class that a row's set does not annotate stays NaN under every policy, beside a set that annotates it."""
    table = pd.concat([chexpert(Pneumonia=[1]), kermany([1])], ignore_index=True)
    for blank in labels.POLICIES:
        _, values = targets(table, "chexpert14", blank=blank)
        assert np.isnan(values[1, labels.CHEXPERT.index("Edema")])
        assert values[1, labels.CHEXPERT.index("Pneumonia")] == 1


def kermany(pneumonia: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"dataset": ["kermany"] * len(pneumonia)})
    table["label.PNEUMONIA"] = np.array(pneumonia, dtype=np.float32)
    table["label.NORMAL"] = 1 - table["label.PNEUMONIA"]
    table["label.bacteria"] = table["label.virus"] = np.float32(np.nan)
    return table


def test_synonyms_name_one_class() -> None:
    """Kermany's PNEUMONIA is CheXpert's Pneumonia, its NORMAL is No Finding."""
    _, values = targets(kermany([1, 0]), "pneumonia")
    assert values[:, 0].tolist() == [1, 0]
    assert labels.class_of("NORMAL") == "No Finding"
    assert labels.class_of("Hernia") == "Hernia"


def test_rare_keeps_rows_with_a_rare_positive() -> None:
    """CheXpert-Rare keeps rows with a positive among its six; Other is any positive among the remaining eight."""
    table = chexpert(
        Lung_Lesion=[1, np.nan, -1, np.nan],
        Pleural_Other=[1, 1, 0, np.nan],
        No_Finding=[np.nan, np.nan, np.nan, 1],
    )
    keep, values = targets(table, "chexpert-rare")
    assert keep.tolist() == [True, False, True, True]
    assert values[:, -1].tolist() == [1, 1, 0, 0]
    keep, _ = targets(table, "chexpert-rare", uncertain="zeros")
    assert keep.tolist() == [True, False, False, True]


def test_rare_has_the_six_and_other() -> None:
    """The rare task has seven targets; its six and the eight behind Other are CheXpert's fourteen."""
    task = labels.find_task("chexpert-rare")
    assert len(task.targets) == 7
    assert sorted((*task.among, *task.other)) == sorted(labels.CHEXPERT)


def test_mistakes_are_named() -> None:
    """An unknown task, policy or class of a policy, and a target that no set annotates are each refused in words."""
    with pytest.raises(LabelError, match="chexpert14"):
        labels.find_task("chexpert15")
    with pytest.raises(LabelError, match="ignore"):
        targets(chexpert(Edema=[1]), "chexpert14", blank="maybe")
    with pytest.raises(LabelError, match="did you mean 'Edema'"):
        targets(chexpert(Edema=[1]), "chexpert14", uncertain={"Edem": "zeros"})
    with pytest.raises(LabelError, match="annotates 'Edema'"):
        targets(kermany([1]), labels.Task("edema", ("Edema",)))


def test_no_rows_give_no_targets() -> None:
    """An empty table has targets of shape (0, C)."""
    table = chexpert(Edema=[1]).iloc[:0]
    keep, values = labels.make_targets(table, labels.find_task("chexpert14"), annotated={"chexpert": labels.CHEXPERT})
    assert keep.shape == (0,)
    assert values.shape == (0, 14)


def vinbigdata(votes: list[float]) -> pd.DataFrame:
    """Return VinBigData rows with these votes for a Nodule or Mass, and none for the other classes."""
    table = pd.DataFrame({"dataset": ["vinbigdata"] * len(votes)})
    for name in labels.VOCABULARIES["vinbigdata"]:
        given = votes if name == "Nodule/Mass" else [vote * 0 for vote in votes]
        table[labels.VOTES_PREFIX + name] = np.array(given, dtype=np.float32)
        table[labels.PREFIX + name] = np.minimum(table[labels.VOTES_PREFIX + name], 1)
    return table


@pytest.mark.parametrize("blank", labels.POLICIES)
@pytest.mark.parametrize("votes", [1, 2, 3])
def test_as_many_votes_as_asked_for_make_a_positive(votes: int, blank: str) -> None:
    """One vote by default, two for the majority; fewer make a negative, and no vote stays one."""
    table = vinbigdata([0, 1, 2, 3])
    task = labels.Task("mass", ("Nodule/Mass", "ILD"))
    _, values = targets(table, task, votes=votes, blank=blank)
    assert values[:, 0].tolist() == [float(count >= votes) for count in range(4)]
    assert values[:, 1].tolist() == [0, 0, 0, 0]
    assert targets(table, task)[1][:, 0].tolist() == [0, 1, 1, 1]


def test_sets_without_votes_keep_their_labels_beside_one_with_votes() -> None:
    """Votes are asked for where they were counted; a row filter follows them."""
    table = pd.concat([chexpert(Cardiomegaly=[1, -1, np.nan]), vinbigdata([1, 2])], ignore_index=True)
    table["votes.Cardiomegaly"] = table["votes.Nodule/Mass"]
    table["label.Cardiomegaly"] = table["label.Cardiomegaly"].where(table["dataset"] == "chexpert", 1)
    task = labels.Task("heart", ("Cardiomegaly",), among=("Cardiomegaly",))
    keep, values = targets(table, task, votes=2)
    assert values[:, 0].tolist() == [1, 1, 0, 0, 1]
    assert keep.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("votes", [0, -1, 4, 1.5])
def test_other_numbers_of_votes_are_refused(votes: float) -> None:
    """Three readers saw each image; 0 votes would make everything positive, 4 nothing."""
    with pytest.raises(LabelError, match=f"votes is {votes}; it is 1 to 3"):
        targets(vinbigdata([1]), "chexpert14", votes=votes)


@pytest.mark.parametrize("blank", labels.POLICIES)
def test_an_image_without_any_label_is_masked(blank: str) -> None:
    """Test images of a competition are no healthy ones, whatever blank means; CheXpert's blanks follow the study."""
    task = labels.Task("two", ("No Finding", "Cardiomegaly", "Other"), other=("Cardiomegaly",))
    _, values = targets(vinbigdata([np.nan, 0]), task, blank=blank)
    assert np.isnan(values[0]).all()
    assert values[1].tolist() == [0, 0, 0]
    _, values = targets(chexpert(Edema=[np.nan]), task, blank=blank)
    np.testing.assert_array_equal(values[0], np.full(3, BECOMES[blank], dtype=np.float32))


@pytest.mark.parametrize("name", ["chestxray14", "vinbigdata"])
def test_a_sets_own_task_asks_for_all_its_classes(name):
    """Each class once, under its common name; a complete row of the set knows all of them."""
    first, *others = spellings = labels.VOCABULARIES[name]
    row = {labels.PREFIX + first: [1.0], **{labels.PREFIX + other: [0.0] for other in others}}
    table = pd.DataFrame({"dataset": [name], **row})
    keep, targets = labels.make_targets(table, labels.TASKS[name], annotated={name: spellings})
    assert keep.all()
    assert targets.tolist() == [[1.0] + [0.0] * len(others)]
    assert len(set(labels.TASKS[name].targets)) == len(spellings)


def test_one_label_that_is_given_makes_no_other_known():
    """Outside CheXpert a blank stays masked beside a label of the same row; in CheXpert the policy decides."""
    for name, known in (("vinbigdata", 1), ("chexpert", len(labels.CHEXPERT))):
        spellings = labels.VOCABULARIES[name]
        row = {labels.PREFIX + spelling: [1.0 if spelling == "Cardiomegaly" else np.nan] for spelling in spellings}
        task = labels.TASKS["vinbigdata" if name == "vinbigdata" else "chexpert14"]
        _, targets = labels.make_targets(
            pd.DataFrame({"dataset": [name], **row}), task, annotated={name: spellings}, blank="zeros"
        )
        assert (~np.isnan(targets)).sum() == known
        assert np.nansum(targets) == 1
