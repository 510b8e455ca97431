"""Sampling as an experiment file asks for it: it reaches the training part, and a wrong name ends before training."""

import numpy as np
import pytest
from small_runs import SETTINGS, experiment

from cxrfast import Loader, Sampling
from cxrfast.errors import ConfigError
from cxrfast.experiment import files
from cxrfast.experiment.run import find_sampling, run


def test_an_experiment_with_sampling_trains_on_what_is_due(phantom_shards, tmp_path, monkeypatch):
    """A YAML's sampling holds for training batches alone; validation and test have each image once."""
    made = []

    class Watched(Loader):
        def __init__(self, part, **given):
            super().__init__(part, **given)
            self.sampling, self.rows = given["sampling"], []
            made.append(self)

        def epoch(self, epoch, *, start=0):
            for batch in super().epoch(epoch, start=start):
                self.rows.append(batch.index.numpy())
                yield batch

    monkeypatch.setattr("cxrfast.experiment.run.Loader", Watched)
    file = tmp_path / "balanced.yaml"
    file.write_text("extends: demo.yaml\nclassifier: {sampling: {balance: true, datasets: {chexpert: 2}}}\n")
    chosen = files.load(file, (*SETTINGS, "pretext=null", "classifier.fit.epochs=1"))
    assert run(chosen, shards=phantom_shards, folder=tmp_path / "run").is_file()
    training, *others = made
    assert training.sampling == Sampling(balance=True, datasets={"chexpert": 2})
    times = [np.unique(np.concatenate(loader.rows), return_counts=True)[1] for loader in made]
    assert sum(times[0]) <= len(training.set)
    assert max(times[0]) > 1
    assert [loader.sampling for loader in others] == [None, None]
    assert [max(each) for each in times[1:]] == [1, 1]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("classifier.sampling.datasets={kermani: 4}", "classifier.sampling: .*'kermani', but .* are of chexpert"),
        ("pretext.sampling.datasets={kermani: 4}", "pretext.sampling: .*'kermani', but .* are of chexpert"),
        ("pretext.sampling.balance=true", "pretext.sampling: .*balance=True needs targets"),
        ("classifier.sampling.datasets={chexpert: 0}", "classifier.sampling: .*every image weight 0"),
    ],
)
def test_sampling_that_does_not_fit_ends_before_training(phantom_shards, tmp_path, override, words):
    """One message names the stage's key and what there is, and no run folder is begun."""
    with pytest.raises(ConfigError, match=words) as found:
        run(experiment(override), shards=phantom_shards, folder=tmp_path / "run")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("weight", ["-1", ".nan", ".inf", "four"])
def test_what_is_no_weight_is_refused_when_the_file_is_read(weight):
    """The error names the key of the data set."""
    with pytest.raises(ConfigError, match=r"classifier\.sampling\.datasets\.kermany"):
        experiment(f"classifier.sampling.datasets={{kermany: {weight}}}")


def test_without_sampling_nothing_is_sampled():
    """The default is no sampling, not one of equal weights."""
    assert find_sampling(experiment().classifier) is None
    assert find_sampling(experiment("classifier.sampling.datasets={chexpert: 1}").classifier) == Sampling(
        datasets={"chexpert": 1}
    )
