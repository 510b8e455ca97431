"""Small real runs: releases packed as the commands pack them, and an experiment that trains in seconds."""

from pathlib import Path

from cxrfast import sources
from cxrfast.experiment import files
from cxrfast.experiment.config import Experiment
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack

# ME1's two pipelines at 32 pixels: everything runs, nothing takes long.
SETTINGS = (
    "name=small",
    "size=32",
    "runtime.device=cpu",
    "runtime.threads=1",
    "pretext.moco.queue=40",
    "pretext.fit.epochs=2",
    "classifier.fit.epochs=3",
)


def pack_into(shards: Path, dataset: str, src: Path) -> Path:
    """Pack a release as `shards/dataset` at 96 pixels, 64 images a shard."""
    recipe = Recipe(dataset=dataset, long_side=96, samples_per_shard=64)
    pack(sources.find(dataset).scan(src), src, shards / dataset, recipe=recipe, workers=1)
    return shards / dataset


def experiment(*overrides: str) -> Experiment:
    """Return the small experiment with more overrides laid over it."""
    return files.load("demo.yaml", (*SETTINGS, *overrides))
