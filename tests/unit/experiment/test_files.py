"""Experiment files: what extends what, overrides, and mistakes in words."""

from pathlib import Path

import pytest

from cxrfast.errors import ConfigError
from cxrfast.experiment import files
from cxrfast.experiment.config import Experiment
from cxrfast.learning.settings import differences


@pytest.mark.parametrize("name", files.packaged())
def test_packaged_experiments_are_valid(name: str) -> None:
    """Every packaged file loads by its name, with and without its ending, and survives being written and read."""
    experiment = files.load(name)
    assert files.load(name.removesuffix(".yaml")) == experiment
    assert experiment.name == name.removesuffix(".yaml")


@pytest.mark.parametrize("name", files.packaged())
def test_a_dumped_experiment_loads_as_itself(name: str, tmp_path: Path) -> None:
    """`config.yaml` in a run folder is the whole experiment: loading it gives the same object."""
    experiment = files.load(name)
    path = tmp_path / "config.yaml"
    path.write_text(files.dump(experiment))
    assert files.load(path) == experiment


def test_me1_holds_the_values_of_the_study() -> None:
    """The packaged me1.yaml is the study's table, row by row."""
    me1 = files.load("me1")
    assert me1.size == 224
    assert me1.weights == "imagenet"
    assert me1.data.task == "chexpert14"
    assert (me1.data.uncertain, me1.data.blank) == ("ones", "zeros")
    assert (me1.data.split.fraction, me1.data.split.by) == (0.8, "patient")
    assert me1.pretext is not None
    moco, fit = me1.pretext.moco, me1.pretext.fit
    assert (moco.head, moco.dim, moco.queue, moco.momentum, moco.temperature) == ("linear", 128, 65_536, 0.999, 0.07)
    assert (fit.optimizer.name, fit.optimizer.lr, fit.optimizer.momentum) == ("sgd", 1e-4, 0.9)
    assert (fit.optimizer.weight_decay, fit.schedule.name, fit.epochs) == (1e-4, "constant", 12)
    down = me1.classifier.fit
    assert (me1.classifier.batch_size, me1.pretext.batch_size, down.epochs) == (32, 32, 20)
    assert (down.optimizer.name, down.optimizer.lr, tuple(down.optimizer.betas)) == ("adam", 3e-5, (0.9, 0.999))
    assert (down.schedule.name, down.schedule.factor, down.schedule.patience) == ("plateau", 0.1, 3)
    assert down.schedule.stop_below == 1e-7
    assert (me1.evaluation.replicates, me1.evaluation.confidence) == (500, 0.95)
    assert (me1.pretext.seed, me1.classifier.seed) == (1234, 12345)


def test_an_extending_file_holds_only_what_differs(tmp_path: Path) -> None:
    """Mappings merge key by key, values are replaced, notes added, through any number of files, packaged or not."""
    (tmp_path / "a.yaml").write_text("extends: me1.yaml\nname: a\nsize: 128\nclassifier: {fit: {epochs: 7}}\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nname: b\nnotes: [one]\n")
    me1, b = files.load("me1"), files.load(tmp_path / "b.yaml")
    assert (b.size, b.classifier.fit.epochs) == (128, 7)
    assert b.notes == (*me1.notes, "one")
    assert b.classifier.fit.optimizer == me1.classifier.fit.optimizer
    assert differences(me1.identity(), b.identity())[-1] == "size: 224, was 128"


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("classifier.fit.epoch=3", "'classifier.fit.epochs'"),
        ("clasifier.fit.epochs=3", "'classifier'"),
        ("pretext.moco.temprature=0.1", "'pretext.moco.temperature'"),
        ("epochs=3", "epochs'"),
        ("data.split.zzzzzz=1", "fraction"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(override: str, hint: str) -> None:
    """An unknown key is refused, naming the key and the one that was probably meant."""
    with pytest.raises(ConfigError, match="unknown key") as error:
        files.load("me1", (override,))
    assert hint in str(error.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("size=large", "'size' is 'large'"),
        ("size=4", "'size' is 4"),
        ("classifier.batch_size=33", "classifier.batch_size 33 is not divisible by order.lanes 8"),
        ("data.split.by=study", "'data.split.by' is 'study'"),
        ("size", "not key=value"),
        ("size.x=1", "holds a value"),
        ("size=[", "not valid YAML"),
        ("data=null", "'data' is None"),
    ],
)
def test_a_wrong_value_names_its_key(override: str, words: str) -> None:
    """A value of the wrong type or out of range ends with the key and what was found there."""
    with pytest.raises(ConfigError) as error:
        files.load("me1", (override,))
    assert words in str(error.value)


def test_a_missing_file_names_the_nearest_packaged_one(tmp_path: Path) -> None:
    """Unknown names suggest a packaged experiment; a circle of files, a list or broken YAML are refused in words."""
    with pytest.raises(ConfigError, match=r"did you mean me1\.yaml"):
        files.load("me11.yaml")
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "twice.yaml").write_text("extends: me1.yaml\nsize: 64\nsize: 32\n")
    (tmp_path / "latin.yaml").write_bytes("name: r\xe9".encode("latin-1"))
    (tmp_path / "two.yaml").write_text("extends: [a.yaml, b.yaml]")
    for name, words in (
        ("a", "extend itself"),
        ("list", "keys and values"),
        ("broken", "valid YAML"),
        ("two", "one file"),
        ("twice", "given twice"),
        ("latin", "UTF-8"),
    ):
        with pytest.raises(ConfigError, match=words):
            files.load(tmp_path / f"{name}.yaml")


def test_neutral_settings_do_not_make_another_run() -> None:
    """Device, threads, texts and how often to save change no result; nor do more epochs, where no schedule counts."""
    me1 = files.load("me1")
    same = files.load(
        "me1",
        (
            "runtime.device=cpu",
            "runtime.threads=3",
            "about=other words",
            "classifier.fit.checkpoint_minutes=1",
            "classifier.fit.epochs=40",
            "pretext.fit.epochs=40",
        ),
    )
    assert differences(me1.identity(), same.identity()) == []
    for override in (
        "size=64",
        "classifier.seed=1",
        "order.memory=1MB",
        "classifier.fit.optimizer.lr=1",
        "pretext=null",
    ):
        assert differences(me1.identity(), files.load("me1", (override,)).identity()), override


def test_epochs_count_where_the_schedule_depends_on_them() -> None:
    """With a one-cycle or cosine schedule the number of epochs changes every step, so it is part of the identity."""
    for name in ("onecycle", "cosine"):
        short, long = (
            files.load("me1", (f"classifier.fit.schedule={{name: {name}}}", f"classifier.fit.epochs={epochs}"))
            for epochs in (5, 6)
        )
        assert isinstance(short, Experiment)
        assert differences(short.identity(), long.identity()) == ["classifier.fit.epochs: 5, was 6"]
