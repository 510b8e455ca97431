"""The phantom CheXpert has the released layout, values and oddities, and its labels can be learnt from its pixels."""

import re
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cxrfast.errors import SourceError
from cxrfast.labels import CHEXPERT
from cxrfast.phantom import chexpert
from cxrfast.phantom.dice import Dice

IMAGES, VALID = 260, 80


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return chexpert.write_release(tmp_path_factory.mktemp("phantom"), images=IMAGES, valid=VALID, seed=3)


@pytest.fixture(scope="module")
def tables(release):
    return {
        split: pd.read_csv(release / f"{split}.csv", dtype=str, keep_default_na=False) for split in ("train", "valid")
    }


def test_the_layout_is_the_released_one(release, tables):
    """Csv rows and files on disk are the same set; columns, path grammar and patient numbers are CheXpert's."""
    grammar = r"CheXpert-v1.0-small/(train|valid)/patient(\d{5})/study\d+/view\d+_(frontal|lateral)\.jpg"
    rows = pd.concat(tables.values())
    assert [len(tables["train"]), len(tables["valid"])] == [IMAGES - VALID, VALID]
    assert {f"{release.name}/{path.relative_to(release)}" for path in release.rglob("*.jpg")} == set(rows["Path"])
    assert {path.name for path in release.iterdir()} == {"SYNTHETIC.txt", "train.csv", "valid.csv", "train", "valid"}
    for split, table in tables.items():
        assert tuple(table.columns) == chexpert.COLUMNS
        matches = [re.fullmatch(grammar, path) for path in table["Path"]]
        numbers = [int(match[2]) for match in matches]
        assert {match[1] for match in matches} == {split}
        assert [match[3] for match in matches] == list(table["Frontal/Lateral"].str.lower())
        assert numbers == sorted(numbers)
        assert numbers[0] == chexpert.FIRST_PATIENT[split]


def test_values_are_those_of_the_release(tables):
    """Train says 1.0, 0.0, -1.0 or nothing, No Finding never 0.0; valid says 1.0 or 0.0; laterals have no AP/PA."""
    labels = {split: table[list(CHEXPERT)] for split, table in tables.items()}
    assert set(np.unique(labels["train"])) == {"", "0.0", "1.0", "-1.0"}
    assert set(labels["train"]["No Finding"]) == {"", "1.0"}
    assert set(np.unique(labels["valid"])) == {"0.0", "1.0"}
    rows = pd.concat(tables.values())
    assert set(rows["Sex"]) == {"Female", "Male", "Unknown"}
    assert "0" in set(rows["Age"])
    assert set(rows.loc[rows["Frontal/Lateral"] == "Lateral", "AP/PA"]) == {""}
    assert {"AP", "PA"} <= set(rows.loc[rows["Frontal/Lateral"] == "Frontal", "AP/PA"]) <= {"AP", "PA", "LL"}


def test_no_finding_excludes_all_but_devices(tables):
    """A row with No Finding has no other class at 1.0 or -1.0, Support Devices apart."""
    for table in tables.values():
        others = table.loc[table["No Finding"] == "1.0", list(CHEXPERT[1:-1])]
        assert len(others)
        assert not others.isin(["1.0", "-1.0"]).any(axis=None)


def test_a_study_shares_its_labels_and_studies_are_in_no_order(tables):
    """Images of one study agree in every label; some patient's studies do not ascend, and some have several."""
    train = tables["train"].assign(study=tables["train"]["Path"].str.extract(r"(.*study\d+)/")[0])
    assert (train.groupby("study")[list(CHEXPERT)].nunique() == 1).all(axis=None)
    number = train["study"].str.extract(r"study(\d+)")[0].astype(int)
    patient = train["study"].str.extract(r"patient(\d+)")[0]
    assert any(pair[0] > pair[1] for _, group in number.groupby(patient) for pair in pairwise(group))


def test_oddities_of_a_large_release():
    """A thousand images have LL on some frontal rows, three views in some study, and few of either."""
    studies = chexpert.plan_studies("train", 1000, seed=0)
    views = [view for study in studies for view in study.views]
    assert len(views) == 1000
    assert 0 < sum(view == ("frontal", "LL") for view in views) < 30
    assert {len(study.views) for study in studies} == {1, 2, 3}
    assert 0.08 < sum(projection == "lateral" for projection, _ in views) / 1000 < 0.22


@pytest.mark.parametrize("count", [1, 7, 60, 300])
def test_shares_of_classes_do_not_hang_on_luck(count):
    """Whatever the seed, a class has its share of studies, at most missing what the healthy ones cannot have."""
    for seed in range(3):
        truth = chexpert.draw_truth([Dice.of(seed, number) for number in range(count)])
        assert len(truth) == count
        for name, (share, _, _) in chexpert._SHARES.items():
            assert sum(name in findings for findings in truth) == round(share * count)


def _small(release, table):
    frontal = table[table["Frontal/Lateral"] == "Frontal"]
    images = []
    for path in frontal["Path"]:
        image = cv2.imread(str(release.parent / path), cv2.IMREAD_GRAYSCALE).astype(np.float32)
        height, width = image.shape
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        image = cv2.copyMakeBorder(image, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT)
        images.append(cv2.resize((image - image.mean()) / image.std(), (24, 24), interpolation=cv2.INTER_AREA).ravel())
    return np.stack(images), frontal


@pytest.mark.parametrize("name", ["Cardiomegaly", "Pleural Effusion"])
def test_large_findings_are_learnable(release, tables, name):
    """A linear model on 24 x 24 pixels and train's noisy labels ranks other patients' true labels well above chance."""
    pixels, rows = _small(release, tables["train"])
    unseen, truth = _small(release, tables["valid"])
    model = LogisticRegression(C=0.003, max_iter=500).fit(pixels, rows[name].isin(["1.0", "-1.0"]))
    assert roc_auc_score(truth[name] == "1.0", model.decision_function(unseen)) > 0.75


@pytest.mark.parametrize(("images", "valid"), [(1, None), (3, None), (10, 10), (10, 0), (0, 0)])
def test_sizes_that_cannot_be_are_refused(tmp_path, images, valid):
    """A part without images is refused before anything is written."""
    with pytest.raises(SourceError, match="each part needs one"):
        chexpert.write_release(tmp_path / "out", images=images, valid=valid)
    assert not (tmp_path / "out").exists()


def test_more_patients_than_numbers_are_refused(monkeypatch):
    """Train patients never run into the numbers of the validation set."""
    monkeypatch.setitem(chexpert.LAST_PATIENT, "train", 3)
    with pytest.raises(SourceError, match="ask for fewer"):
        chexpert.plan_studies("train", 100, seed=0)
