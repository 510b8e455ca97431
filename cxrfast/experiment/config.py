"""An experiment is one typed, frozen object; a file may only say what differs from another file.

Nothing is guessed: an unknown key, a wrong type or an impossible value ends with one sentence that names the key and
the nearest known one. Settings that cannot change results (device, threads, how often to save, more epochs where the
schedule does not depend on them) are told apart from those that can, so that a run folder is refused only for a reason.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from cxrfast.labels import NUM_READERS, VOCABULARIES
from cxrfast.learning.engine import FitSettings
from cxrfast.learning.moco import MocoSettings
from cxrfast.learning.settings import Settings


def _spell_out(datasets: object) -> object:
    """Read `six` as all six sets, and one name as a list of one."""
    if datasets == "six":
        return tuple(VOCABULARIES)
    return (datasets,) if isinstance(datasets, str) else datasets


Datasets = Annotated[tuple[str, ...], BeforeValidator(_spell_out)]


class SplitSettings(Settings):
    """How labelled training images are parted into training and validation."""

    fraction: float = Field(
        default=0.8, gt=0, lt=1, description="The share of images (of patients' images) used for training."
    )
    seed: int = Field(default=1234, ge=0, description="Another seed, another split.")
    by: Literal["patient", "image"] = Field(
        default="patient", description="Keep a patient's images together, or part image by image for comparison."
    )


class DataSettings(Settings):
    """Which images are trained, validated and tested on, and what their labels mean."""

    datasets: Datasets = Field(min_length=1, description="Shard sets: folders under --shards; six for all six.")
    rows: str = Field(default="projection == 'frontal'", description="Which images count at all.")
    train: str = Field(
        default="not release_split == 'test'", description="Which of them are parted into training and validation."
    )
    test: str = Field(
        default="release_split == 'test'", description="Which of them are the test set; they choose nothing."
    )
    task: str = Field(description="What is asked of the classifier: its targets, and which rows count.")
    uncertain: str | dict[str, str] = Field(
        default="ones", description="What -1 becomes: ones, zeros or ignore; by class too."
    )
    blank: str | dict[str, str] = Field(
        default="zeros", description="What a blank becomes: ones, zeros or ignore; by class too."
    )
    votes: int = Field(
        default=1,
        ge=1,
        le=NUM_READERS,
        description="Readers who make a positive, where a set counts votes; 2: majority.",
    )
    split: SplitSettings = SplitSettings()


class SamplingSettings(Settings):
    """How often training images come in an epoch, whose length stays: see `cxrfast.Sampling`."""

    datasets: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict, description="The weight of each image of a data set; 1 where none is named."
    )
    balance: bool = Field(
        default=False, description="Draw each target, and images without any, equally often; needs labels."
    )


class StageSettings(Settings):
    """What the pretext and the classifier have in common."""

    view: Literal["paper", "simclr", "plain"] = Field(
        default="paper", description="The augmentation of training images."
    )
    batch_size: int = Field(default=32, ge=1, description="Images a step, over all ranks.")
    seed: int = Field(ge=0, description="Of the order, the views and new weights.")
    sampling: SamplingSettings = SamplingSettings()
    fit: FitSettings


class PretextSettings(StageSettings):
    """Pretraining without labels."""

    datasets: Datasets = Field(
        default=(), description="Shard sets to learn from; six for all six; none named: the labelled ones."
    )
    rows: str = Field(
        default="projection == 'frontal' and not release_split == 'test'", description="Which of their images count."
    )
    moco: MocoSettings = MocoSettings()
    transfer: Literal["best", "last"] = Field(
        default="best", description="Which encoder is handed on: of the lowest validation loss, or of the last epoch."
    )
    seed: int = Field(default=1234, ge=0, description="Of the order, the views and new weights.")


class ClassifierStageSettings(StageSettings):
    """The classifier; baseline and fine-tuned differ in nothing but the weights that they start from."""

    seed: int = Field(default=12345, ge=0, description="Of the order, the views and new weights.")


class OrderSettings(Settings):
    """The order of training samples: see `cxrfast.Block`."""

    memory: str = Field(default="256MB", description="How much of the shards is mixed at a time.")
    lanes: int = Field(default=8, ge=1, description="Runs read side by side; ranks divide it, it divides the batch.")


class EvaluationSettings(Settings):
    """AUROC and its intervals on the test set."""

    replicates: int = Field(default=500, ge=2, description="Bootstrap replicates.")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="Of the intervals.")
    seed: int = Field(default=0, ge=0, description="Of the replicates.")


class RuntimeSettings(Settings):
    """Where and how fast; none of it changes results."""

    device: str = Field(default="auto", description="cpu, cuda, or auto: a GPU where there is one.")
    threads: int | None = Field(
        default=None, ge=1, description="Loader threads; none given: the CPUs that this process may use."
    )


class Experiment(Settings):
    """A whole experiment: `cxrfast-train --config FILE` runs it."""

    NEUTRAL = frozenset({"name", "about", "notes", "runtime"})

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Names the run folder.")
    about: str = Field(default="", description="What is asked, in a sentence or two; opens the report.")
    notes: tuple[str, ...] = Field(default=(), description="Readings and departures that the report must print.")
    size: int = Field(default=224, ge=8, description="Side of the square that the network sees, in pixels.")
    weights: str = Field(
        default="imagenet",
        description="What baseline and pretext start from: imagenet, random, or a weights file's path.",
    )
    data: DataSettings
    pretext: PretextSettings | None = Field(description="Pretraining; null runs the baseline alone.")
    classifier: ClassifierStageSettings
    order: OrderSettings = OrderSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    runtime: RuntimeSettings = RuntimeSettings()

    @model_validator(mode="after")
    def _lanes_divide_batches(self) -> "Experiment":
        for stage, settings in (("pretext", self.pretext), ("classifier", self.classifier)):
            if settings is not None and settings.batch_size % self.order.lanes:
                raise ValueError(
                    f"{stage}.batch_size {settings.batch_size} is not divisible by order.lanes {self.order.lanes}; "
                    "choose a batch that is, or fewer lanes"
                )
        return self
