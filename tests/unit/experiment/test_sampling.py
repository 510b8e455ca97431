"""Sampling as an experiment file asks for it: it reaches the training part, and a wrong name ends before training."""

import numpy as np

from cxrfast import Loader, Sampling
from cxrfast.experiment import files
from cxrfast.experiment.run import run

ONE_STAGE = ("pretext=null", "classifier.fit.epochs=1")


def test_an_experiment_with_sampling_trains_on_what_is_due(phantom_shards, tmp_path, monkeypatch):
    """A YAML's sampling holds for training batches alone; validation and test have each image once."""
    file = tmp_path / "balanced.yaml"
    file.write_text("extends: demo.yaml\nclassifier: {sampling: {balance: true, datasets: {chexpert: 2}}}\n")
    chosen = files.load(file, (*ONE_STAGE, "size=32", "runtime.device=cpu", "runtime.threads=1"))
    made = []

    class Watched(Loader):
        def __init__(self, *args, **given):
            super().__init__(*args, **given)
            made.append((given["sampling"], []))

        def epoch(self, epoch, *, start=0):
            for batch in super().epoch(epoch, start=start):
                made[[loader for loader, _ in loaders].index(self)][1].append(batch.index.numpy())
                yield batch

    loaders = []
    original = Watched.__init__
    monkeypatch.setattr(
        Watched, "__init__", lambda self, *a, **k: (loaders.append((self, 0)), original(self, *a, **k))[1]
    )
    monkeypatch.setattr("cxrfast.experiment.run.Loader", Watched)
    report = run(chosen, shards=phantom_shards, folder=tmp_path / "run")
    assert report.is_file()
    (training, rows), *others = made
    assert training == Sampling(balance=True, datasets={"chexpert": 2})
    assert np.unique(np.concatenate(rows), return_counts=True)[1].max() > 1
    for sampling, rows in others:
        assert sampling is None
        assert np.unique(np.concatenate(rows), return_counts=True)[1].max() == 1
