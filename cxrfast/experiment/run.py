"""A whole experiment: baseline, pretext, fine-tuned, evaluation, report.

Each stage finishes at once where its folder says that it is finished, so this function has no memory of its own:
starting it again is resuming it, and starting it on a finished run only writes the report again.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from cxrfast.durable import write_whole
from cxrfast.errors import ConfigError, LoaderError, TrainingError
from cxrfast.experiment.config import ClassifierStageSettings, Experiment, StageSettings
from cxrfast.experiment.folder import claim, held, record_split
from cxrfast.experiment.parts import Parts, open_parts
from cxrfast.experiment.results import Model, write_results
from cxrfast.learning.amp import check_device
from cxrfast.learning.backbone import Start, check_weights
from cxrfast.learning.checkpoint import load_best
from cxrfast.learning.classifier import Classifier
from cxrfast.learning.engine import FitResult, fit
from cxrfast.learning.method import Method
from cxrfast.learning.moco import Moco
from cxrfast.learning.predict import predict
from cxrfast.learning.progress import ConsoleProgress, Progress
from cxrfast.loading.loader import Loader
from cxrfast.loading.order import Block, Sequential
from cxrfast.loading.reading import Reading
from cxrfast.loading.sampling import Sampling
from cxrfast.loading.views import ViewSpec
from cxrfast.shardset.shardset import ShardSet

VIEWS = {"paper": ViewSpec.paper(), "simclr": ViewSpec.simclr(), "plain": ViewSpec.plain()}


def run(experiment: Experiment, *, shards: str | Path, folder: Path, progress: Progress | None = None) -> Path:
    """Run the experiment on the shard sets under `shards`, or go on where `folder` says it stood.

    Returns the path of the report. Raises ConfigError, RunMismatch, WeightsError, TrainingError and what else of
    `cxrfast.errors` fits, before anything is trained where it can be known by then.
    """
    device = find_device(experiment.runtime.device)
    parts = open_parts(experiment, shards)
    check_weights(experiment.weights)
    _check_stages(experiment, parts, device)
    with held(folder):
        claim(folder, experiment)
        split = record_split(folder, parts)
        bench = _Bench(experiment, parts, folder, device, progress or ConsoleProgress())
        if warning := queue_warning(experiment, parts):
            bench.progress.say(warning)
        models = [bench.classifier("Baseline", "baseline", start=experiment.weights)]
        pretext = None
        if experiment.pretext is not None:
            encoder, pretext = bench.pretrained()
            models.append(bench.classifier("Fine-tuned", "finetuned", start=encoder))
        return write_results(experiment, parts, models, pretext, folder=folder, split=split)


def find_device(name: str) -> torch.device:
    """Return the device of that name, `auto` being a GPU where there is one; ConfigError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"runtime.device: {name!r} is not a device; use cpu, cuda or auto") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"runtime.device: {name} was asked for, but torch finds no GPU here; use cpu or auto")
    return device


def _check_stages(experiment: Experiment, parts: Parts, device: torch.device) -> None:
    """Refuse what would only fail hours later: a precision, a batch, or a test set without both kinds of a class."""
    stages = (("pretext", experiment.pretext, parts.pretext_train), ("classifier", experiment.classifier, parts.train))
    for name, stage, images in stages:
        if stage is None or images is None:
            continue
        check_device(device, stage.fit.precision)
        _check_sampling(name, stage, images)
        if stage.batch_size > len(images):
            raise ConfigError(
                f"{name}.batch_size is {stage.batch_size}, but there are only {len(images)} training images; lower it"
            )
    labels = parts.test.labels
    if not ((labels == 1).any(axis=0) & (labels == 0).any(axis=0)).any():
        raise ConfigError(
            f"no target of {experiment.data.task} has both a positive and a negative among the {len(labels)} test "
            f"images ({experiment.data.test}); AUROC needs both"
        )


def _check_sampling(name: str, stage: StageSettings, images: ShardSet) -> None:
    sampling = find_sampling(stage)
    try:
        if sampling is not None:
            sampling.weights(images)
    except LoaderError as error:
        raise ConfigError(f"{name}.sampling: {error}") from None


def find_sampling(stage: StageSettings) -> Sampling | None:
    """Return how a stage's training images are sampled; None where each comes once."""
    settings = stage.sampling
    if not settings.datasets and not settings.balance:
        return None
    return Sampling(datasets=settings.datasets, balance=settings.balance)


def queue_warning(experiment: Experiment, parts: Parts) -> str | None:
    """Warn where much of the queue is what the batch itself was moments ago, so that negatives are false."""
    stage, images = experiment.pretext, parts.pretext_train
    if stage is None or images is None or stage.moco.queue <= len(images) / 4:
        return None
    return (
        f"warning: the queue of {stage.moco.queue:,} keys is longer than a quarter of the {len(images):,} pretext "
        f"images, so many negatives are recent views of the same images; consider pretext.moco.queue={len(images) // 4}"
    )


@dataclass(frozen=True)
class _Bench:
    """What every stage of one run works with."""

    experiment: Experiment
    parts: Parts
    folder: Path
    device: torch.device
    progress: Progress

    def classifier(self, name: str, folder: str, *, start: Start) -> Model:
        """Train a classifier from `start`, and score the test set with its best epoch."""
        stage, parts = self.experiment.classifier, self.parts
        method = Classifier(outputs=len(parts.train.targets), seed=stage.seed, start=start)
        train, valid = self._shuffled(parts.train, stage, 1), self._in_turn(parts.valid, stage, plain=True)
        result = self._fit(method, train, valid, stage, folder, label=name)
        load_best(method, result.best)
        scores = self._score(method, stage)
        self._write_predictions(self.folder / folder / "predictions.csv", scores)
        return Model(name, folder, result, scores)

    def pretrained(self) -> tuple[Start, FitResult]:
        """Pretrain on images alone; returns the encoder's weights and how the stage ended."""
        stage, parts = self.experiment.pretext, self.parts
        if stage is None or parts.pretext_train is None or parts.pretext_valid is None:
            raise ConfigError("this experiment has no pretext")
        method = Moco(stage.moco, seed=stage.seed, start=self.experiment.weights)
        train = self._shuffled(parts.pretext_train, stage, method.views)
        valid = self._in_turn(parts.pretext_valid, stage, plain=False, views=method.views)
        result = self._fit(method, train, valid, stage, "pretext", label="Pretext")
        if stage.transfer == "best":
            load_best(method, result.best)
        return method.encoder_state(), result

    def _fit(
        self, method: Method, train: Loader, valid: Loader, stage: StageSettings, folder: str, *, label: str
    ) -> FitResult:
        """Train, or go on; where a batch is to blame for an end, name its images."""
        with train, valid:
            try:
                return fit(
                    method, train, valid, stage.fit, self.folder / folder,
                    device=self.device, label=label, progress=self.progress,
                )  # fmt: skip
            except TrainingError as error:
                if not error.rows:
                    raise
                keys = ", ".join(train.set.table["key"].iloc[list(error.rows)])
                raise TrainingError(f"{error}\nThe batch held: {keys}", rows=error.rows) from error

    def _shuffled(self, part: ShardSet, stage: StageSettings, views: int) -> Loader:
        order = Block(memory=self.experiment.order.memory, lanes=self.experiment.order.lanes)
        return self._loader(part, stage, [VIEWS[stage.view]] * views, order, find_sampling(stage))

    def _in_turn(self, part: ShardSet, stage: StageSettings, *, plain: bool, views: int = 1) -> Loader:
        spec = VIEWS["plain"] if plain else VIEWS[stage.view]
        return self._loader(part, stage, [spec] * views, Sequential(lanes=self.experiment.order.lanes))

    def _loader(
        self,
        part: ShardSet,
        stage: StageSettings,
        views: list[ViewSpec],
        order: Block | Sequential,
        sampling: Sampling | None = None,
    ) -> Loader:
        return Loader(
            part,
            views=views,
            size=self.experiment.size,
            batch_size=stage.batch_size,
            seed=stage.seed,
            order=order,
            sampling=sampling,
            reading=Reading(threads=self.experiment.runtime.threads),
            device=self.device,
        )

    def _score(self, method: Classifier, stage: ClassifierStageSettings) -> npt.NDArray[np.float64]:
        """Return the test set's probabilities in the order of its rows: float64 (n, C)."""
        with self._in_turn(self.parts.test, stage, plain=True) as feed:
            found, index = predict(method, feed, device=self.device, precision=stage.fit.precision)
        scores = np.empty_like(found)
        scores[index] = found
        return scores

    def _write_predictions(self, path: Path, scores: npt.NDArray[np.float64]) -> None:
        test = self.parts.test
        table = test.table[["dataset", "key"]].join(pd.DataFrame(scores, columns=list(test.targets)))
        write_whole(path, table.to_csv(index=False, float_format="%.17g").encode())
