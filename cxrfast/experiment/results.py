"""From scores to what a reader gets: one table, figures, and a report that says how everything was done.

The report is written from the run folder's own facts (settings, split, metrics) and never by hand, so it cannot claim
what was not run; what its figures rest on stands beside them.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast.evaluation import (
    Comparison,
    Picture,
    Report,
    auroc_table,
    compare,
    evaluate,
    findings,
    interval_plot,
    label_bars,
    loss_curves,
    provisos,
    write_html,
    write_markdown,
)
from cxrfast.experiment.config import Experiment
from cxrfast.experiment.files import dump
from cxrfast.experiment.folder import starts
from cxrfast.experiment.parts import Parts
from cxrfast.learning.engine import FitResult


@dataclass(frozen=True, eq=False)
class Model:
    """A trained classifier: what it is called, where it lies, how it ended, and its scores of the test set (n, C)."""

    name: str
    folder: str
    result: FitResult
    scores: npt.NDArray[np.float64]


def write_results(
    experiment: Experiment, parts: Parts, models: list[Model], pretext: FitResult | None, *, folder: Path, split: str
) -> Path:
    """Write `table.csv`, `figures/`, `report.md` and `report.html` into the run folder; returns the last one's path."""
    comparison = _compared(experiment, parts, models)
    comparison.write_csv(folder / "table.csv")
    figures = _Figures(folder / "figures")
    report = Report(title=f"{experiment.name}: {_subtitle(experiment)}", result=findings(comparison))
    if experiment.about:
        report.paragraph(experiment.about)
    report.beside(
        auroc_table(comparison, _table_caption(experiment, comparison)),
        Picture(interval_plot(comparison.evaluations, figures.path("intervals")), "AUROC by class with its interval."),
    )
    report.warning(*provisos(comparison))
    report.note(*experiment.notes)
    _add_data(report, parts, figures, split)
    _add_training(report, experiment, models, pretext, folder, figures)
    _add_method(report, experiment, folder)
    write_markdown(report, folder / "report.md")
    return write_html(report, folder / "report.html")


@dataclass(frozen=True)
class _Figures:
    folder: Path

    def path(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{name}.png"


def _compared(experiment: Experiment, parts: Parts, models: list[Model]) -> Comparison:
    settings = experiment.evaluation
    evaluations = [
        evaluate(
            model.scores,
            parts.test.labels,
            parts.test.targets,
            model=model.name,
            replicates=settings.replicates,
            confidence=settings.confidence,
            seed=settings.seed,
        )
        for model in models
    ]
    return compare(*evaluations)


def _subtitle(experiment: Experiment) -> str:
    start = {"imagenet": "ImageNet weights", "random": "random weights"}.get(experiment.weights, "given weights")
    if experiment.pretext is None:
        return f"a classifier from {start}"
    return f"{start} beside MoCo v2 pretraining"


def _table_caption(experiment: Experiment, comparison: Comparison) -> str:
    settings = experiment.evaluation
    bold = "; bold: significant by the study's rule" if comparison.others else ""
    total = "; Total: mean over classes, weighted by positives" if len(comparison.baseline.targets) > 1 else ""
    return (
        f"AUROC as centre ± half-width of the {100 * settings.confidence:g} % bootstrap interval "
        f"({settings.replicates} replicates){bold}{total}. The AUROC of the test set itself and the "
        "ends of intervals are in table.csv."
    )


def _add_data(report: Report, parts: Parts, figures: _Figures, split: str) -> None:
    section = report.section("Data")
    section.items(*parts.checks, f"The split is in split.csv; its SHA-256 is {split}.")
    named = {"Training": parts.train, "Validation": parts.valid, "Test": parts.test}
    positives = pd.DataFrame(
        {name: (part.labels == 1).sum(axis=0) for name, part in named.items()}, index=list(parts.train.targets)
    )
    counts = {name: len(part) for name, part in named.items()}
    section.picture(label_bars(positives, figures.path("labels"), images=counts), "Positives by class and part.")
    pretext = {"Pretext training": parts.pretext_train, "Pretext validation": parts.pretext_valid}
    everything = named | {name: part for name, part in pretext.items() if part is not None}
    section.table(
        pd.DataFrame(
            {
                "Part": list(everything),
                "Images": [len(part) for part in everything.values()],
                "Patients": [part.table["patient"].nunique() for part in everything.values()],
            }
        )
    )


def _add_training(
    report: Report,
    experiment: Experiment,
    models: list[Model],
    pretext: FitResult | None,
    folder: Path,
    figures: _Figures,
) -> None:
    section = report.section("Training")
    stages = [(model.name, model.folder, model.result) for model in models]
    if pretext is not None:
        stages.insert(1, ("Pretext", "pretext", pretext))
    metrics = {name: pd.read_csv(folder / place / "metrics.csv") for name, place, _ in stages}
    panels = {"Classifier": {model.name: metrics[model.name] for model in models}}
    if pretext is not None:
        panels["Pretext"] = {"Pretext": metrics["Pretext"]}
    section.picture(
        loss_curves(panels, figures.path("losses")), "Loss by epoch; each run's lowest validation loss is marked."
    )
    rows = [
        {
            "Stage": name,
            "Epochs": result.epochs,
            "Best epoch": result.best_epoch,
            "Lowest validation loss": result.best_loss,
            "Images/s": round(metrics[name]["images_per_second"].median()),
            "Minutes": f"{metrics[name]['seconds'].sum() / 60:.1f}",
            "Waiting for data": f"{100 * float(metrics[name]['wait_share'].median()):.1f} %",
            "Ended because": result.stopped,
        }
        for name, _, result in stages
    ]
    if experiment.pretext is not None and pretext is not None:
        epoch = pretext.best_epoch if experiment.pretext.transfer == "best" else pretext.epochs
        section.paragraph(f"The fine-tuned classifier starts from the pretext's query encoder after epoch {epoch}.")
    section.table(
        pd.DataFrame(rows), "Images/s and waiting: medians over epochs of training steps, without validation."
    )


def _add_method(report: Report, experiment: Experiment, folder: Path) -> None:
    section = report.section("How this was made")
    facts, *later = starts(folder)
    section.facts(
        {
            "Machine": f"{facts['cpu']}, {facts['cpus']} CPUs, GPU: {facts['gpu'] or 'none'}",
            "Commit": facts["commit"] or "installed package",
            "Python": facts["python"],
            "Packages": ", ".join(f"{name} {number}" for name, number in facts["packages"].items()),
        }
    )
    for before, start in pairwise([facts, *later]):
        changed = ", ".join(name for name in start if name != "started" and start[name] != before.get(name))
        section.note(f"Started again on {start['started']} with another {changed}: see environment.json.")
    section.paragraph("The resolved settings:")
    section.code(dump(experiment))
