"""Figures for a report: printable as they are, told apart by colour-blind readers and on gray paper.

Each draws on its own `matplotlib.figure.Figure`: nothing passes through pyplot's global state, so figures can be drawn
beside a training run, from threads, and without a display. Text sits beside what it names where it can. The same
numbers give the same PNG bytes with the same Matplotlib.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxrfast.durable import write_whole
from cxrfast.errors import EvaluationError
from cxrfast.evaluation.auroc import Floats
from cxrfast.evaluation.table import TOTAL, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito, Color Universal Design (2008), without yellow, which does not print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
INK, FAINT, GRID = "#222222", "#767676", "#E4E4E4"
_DPI = 200
_LANE = 0.11  # inches between the intervals of one class


def interval_plot(evaluations: Sequence[Evaluation], path: Path) -> Path:
    """Draw each class's interval and its centre, the models beside each other, classes as in targets, Total last.

    A class without an interval shows its AUROC as a hollow mark; one that was left out keeps its line, empty. One class
    alone gets no Total, which would repeat it. Returns `path`.
    """
    if not evaluations:
        raise EvaluationError("an interval plot needs at least one evaluation")
    names = list(evaluations[0].table["class"])
    rows = names[:1] if len(names) == 2 else names
    lines = len(evaluations)
    pitch = 0.17 + _LANE * lines
    figure = new_figure(5.8, 0.95 + pitch * (len(rows) + 0.35))
    axes = figure.subplots()
    heights = np.arange(len(rows)) + np.array([0.35 if name == TOTAL else 0.0 for name in rows])
    for number, evaluation in enumerate(evaluations):
        offset = (number - (lines - 1) / 2) * _LANE / pitch
        _draw_intervals(axes, evaluation.table.iloc[: len(rows)], heights + offset, number)
    _label_classes(axes, evaluations[0].table.iloc[: len(rows)], heights)
    _limit_auroc(axes, evaluations)
    axes.set_xlabel(f"AUROC, {100 * evaluations[0].confidence:g} % interval and its centre", color=INK, fontsize=9.5)
    _model_legend(figure, [evaluation.model for evaluation in evaluations])
    return save_figure(figure, path)


def loss_curves(panels: Mapping[str, Mapping[str, pd.DataFrame]], path: Path) -> Path:
    """Draw loss by epoch: a panel a kind of stage (losses of classifier and pretext do not compare), a colour a run.

    `panels`: title -> run -> metrics with columns `epoch, train_loss, valid_loss` (NaN where there was none).
    Validation is the thick line, its minimum marked and given in numbers; training is thin. Returns `path`.
    """
    panels = {title: runs for title, runs in panels.items() if any(len(metrics) for metrics in runs.values())}
    if not panels:
        raise EvaluationError("there are no epochs to draw losses of; metrics are empty")
    most = max(len(runs) for runs in panels.values())
    figure = new_figure(4.3 * len(panels) if len(panels) > 1 else 5.6, 2.9 + 0.19 * most)
    for axes, (title, runs) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        summaries = [_draw_losses(axes, metrics, number) for number, metrics in enumerate(runs.values())]
        _head(axes, title, [f"{run}: {summary}" for run, summary in zip(runs, summaries, strict=True)], most)
        axes.set_xlabel("Epoch (thick: validation, thin: training)", color=INK, fontsize=9.5)
        axes.set_ylabel("Loss", color=INK, fontsize=9.5)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        _whole_epochs(axes, pd.concat([metrics["epoch"] for metrics in runs.values()]))
    return save_figure(figure, path)


def label_bars(positives: pd.DataFrame, path: Path, *, images: Mapping[str, int] | None = None) -> Path:
    """Draw how many positives each class has in each split, each split to its own scale.

    `positives`: a row a class, a column a split, counts. `images`: images a split; with it shares are printed as well.
    Returns `path`.
    """
    splits = [str(column) for column in positives.columns]
    figure = new_figure(1.7 + 2.3 * len(splits), 0.75 + 0.235 * len(positives))
    heights = np.arange(len(positives))
    grid = figure.subplots(1, len(splits), squeeze=False, sharey=True)[0]
    for axes, split in zip(grid, splits, strict=True):
        counts = positives[split].to_numpy()
        axes.barh(heights, counts, height=0.68, color=COLOURS[0])
        most = max(1, int(counts.max(initial=0)))
        for height, count in zip(heights, counts, strict=True):
            text = f"{count:,}" + (f" ({100 * count / images[split]:.1f} %)" if images and images.get(split) else "")
            axes.text(count + 0.02 * most, height, text, va="center", fontsize=7.5, color=INK)
        axes.set_xlim(0, most * (1.62 if images else 1.3))
        whole = f", of {images[split]:,} images" if images and split in images else ""
        axes.set_title(f"{split}{whole}", loc="left", fontsize=9.5, color=INK)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(heights, positives.index.astype(str), fontsize=9, color=INK)
    grid[0].set_ylim(len(positives) - 0.4, -0.6)
    return save_figure(figure, path)


def _draw_intervals(axes: "Axes", table: pd.DataFrame, heights: Floats, number: int) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    axes.hlines(heights, table["low"], table["high"], color=colour, linewidth=1.7)
    axes.plot(table["centre"], heights, linestyle="", marker=marker, markersize=4.6, color=colour)
    bare = table["auroc"].where(table["centre"].isna())
    axes.plot(bare, heights, linestyle="", marker=marker, markersize=4.6, markerfacecolor="white", color=colour)


def _label_classes(axes: "Axes", table: pd.DataFrame, heights: Floats) -> None:
    labels = [
        name if name == TOTAL else f"{name} ({positives:,})"
        for name, positives in zip(table["class"], table["positives"], strict=True)
    ]
    axes.set_yticks(heights, labels, fontsize=9, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(heights[-1] + 0.6, -0.6)
    for height in heights[:-1]:
        axes.axhline(height + 0.5, color=GRID, linewidth=0.6, zorder=0)
    if table["class"].iloc[-1] == TOTAL:
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.axhspan(heights[-1] - 0.5, heights[-1] + 0.6, color="#F3F3F3", zorder=-1)


def _limit_auroc(axes: "Axes", evaluations: Sequence[Evaluation]) -> None:
    values = pd.concat([evaluation.table[["auroc", "low", "high"]] for evaluation in evaluations])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = max(0.04 * (high - low), 0.004)
    axes.set_xlim(max(low - margin, -0.02), min(high + margin, 1 + margin))
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    if low - margin <= 0.5:
        axes.axvline(0.5, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            "chance", (0.5, 1), xytext=(0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", fontsize=8, color=FAINT,
        )  # fmt: skip


def _model_legend(figure: "Figure", models: list[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[n % len(COLOURS)], marker=MARKERS[n % len(MARKERS)], markersize=4.6, label=model)
        for n, model in enumerate(models)
    ]
    fitting = max(1, 60 // (max(map(len, models)) + 7))
    figure.legend(
        handles=handles, loc="outside upper right", ncols=min(fitting, len(models)), frameon=False,
        fontsize=9.5, labelcolor="linecolor", handlelength=1.6, columnspacing=1.6, borderaxespad=0.2,
    )  # fmt: skip


def _draw_losses(axes: "Axes", metrics: pd.DataFrame, number: int) -> str:
    """Draw one run; return what its best epoch was."""
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    lone = "_" if len(metrics) == 1 else ""
    axes.plot(metrics["epoch"], metrics["train_loss"], color=colour, linewidth=0.9, marker=lone, markersize=9)
    valid = metrics["valid_loss"] if "valid_loss" in metrics else pd.Series(np.nan, index=metrics.index)
    if not valid.notna().any():
        return "no validation"
    axes.plot(metrics["epoch"], valid, color=colour, linewidth=2)
    best = int(np.nanargmin(valid))
    epoch, least = metrics["epoch"].iloc[best], valid.iloc[best]
    axes.plot([epoch], [least], marker=marker, markersize=7, color=colour, markeredgecolor="white", zorder=5)
    return f"minimum {least:.4f} at epoch {epoch:.0f}"


def _whole_epochs(axes: "Axes", epochs: "pd.Series[int]") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    margin = 0.03 * (epochs.max() - epochs.min()) or 0.6
    axes.set_xlim(epochs.min() - margin, epochs.max() + margin)


def _head(axes: "Axes", title: str, lines: list[str], most: int) -> None:
    """Write a panel's title and, in its colour, a line for each run, above the axes where no curve can cross it."""
    axes.annotate(
        title, (0, 1), xytext=(0, 8 + 13.5 * most), xycoords="axes fraction", textcoords="offset points",
        fontsize=10.5, fontweight="bold", color=INK,
    )  # fmt: skip
    for number, line in enumerate(lines):
        axes.annotate(
            line, (0, 1), xytext=(0, 8 + 13.5 * (most - 1 - number)), xycoords="axes fraction",
            textcoords="offset points", fontsize=9, color=COLOURS[number % len(COLOURS)],
        )  # fmt: skip


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of so many inches, which lays out its axes by itself."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, facecolor="white", layout="constrained")


def save_figure(figure: "Figure", path: Path) -> Path:
    """Give all axes the house's look and write the figure as a PNG, whole or not at all; returns `path`."""
    for axes in figure.axes:
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(FAINT)
        axes.tick_params(axis="both", colors=FAINT, labelcolor=INK, labelsize=9)
        axes.set_axisbelow(True)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_whole(path, buffer.getvalue())
    return path
