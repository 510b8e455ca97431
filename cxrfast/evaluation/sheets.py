"""Sheets of images and of label counts: what is in a packed set, and what a model gets to see of it.

Cells and captions have sizes in inches and a figure grows with its content, so that text never shrinks below what can
be read and nothing overlaps; the price is that a sheet of many images is a tall file.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxrfast.evaluation.figures import COLOURS, INK, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Gray = npt.NDArray[np.uint8]

VALUES = ("positive", "uncertain", "negative", "blank")
_TONES = (COLOURS[0], COLOURS[4], "#C4C4C4", "#F1F1F1")

_ROOM = "#DDE3E8"  # a light gray that no radiograph has, so that an image's own black border is told from it

_CELL, _GAP = 1.5, 0.12  # inches
_MARGIN, _TITLE = 0.15, 0.42
_POINTS = 6.5
_LINE = _POINTS * 1.25 / 72
_LETTERS = int(_CELL * 72 / (_POINTS * 0.52))  # that fit a cell's width


@dataclass(frozen=True)
class Captioned:
    """An image, uint8 (height, width), and what stands below it: a bold first line, then lines that are wrapped."""

    image: Gray
    title: str
    lines: tuple[str, ...] = ()


def contact_sheet(images: Sequence[Captioned], path: Path, *, title: str, columns: int = 6) -> Path:
    """Draw images in a grid, each to the same width and height at most, captions below them. Returns `path`."""
    columns = max(1, min(columns, len(images)))
    captions = [_wrapped(image) for image in images]
    bold = [len(_folded(image.title, _LETTERS - 4)) for image in images]
    grid = [range(start, min(start + columns, len(images))) for start in range(0, len(images), columns)]
    heights = [_CELL + _LINE * (max(len(captions[at]) for at in row) + 0.6) + _GAP for row in grid]
    width = max(2 * _MARGIN + columns * (_CELL + _GAP) - _GAP, _title_width(title))
    sheet = _Sheet(width, _MARGIN + _TITLE + sum(heights), title)
    top = _TITLE
    for row, height in zip(grid, heights, strict=True):
        for column, at in enumerate(row):
            left = _MARGIN + column * (_CELL + _GAP)
            sheet.image(images[at].image, left, top, _CELL)
            for number, line in enumerate(captions[at]):
                weight = "bold" if number < bold[at] else "normal"
                sheet.text(line, left, top + _CELL + _LINE * (number + 1.1), size=_POINTS, weight=weight)
        top += height
    return sheet.save(path)


def view_sheet(
    rows: Sequence[tuple[str, Gray, Sequence[Sequence[Gray]]]], path: Path, *, names: Sequence[str], title: str
) -> Path:
    """Draw what views make of images: a row an image, stored at the left, then each view's draws under its name.

    `rows`: caption, stored image uint8 (height, width), and for each of `names` its draws, uint8 (S, S) each. Returns
    `path`.
    """
    groups = [len(draws) for draws in rows[0][2]]
    space = 3 * _GAP  # between groups
    starts = [_MARGIN]
    for count in (1, *groups):
        starts.append(starts[-1] + count * (_CELL + _GAP) - _GAP + space)
    head, pitch = _TITLE + 0.3, _CELL + 3.4 * _LINE
    sheet = _Sheet(max(starts[-1] - space + _MARGIN, _title_width(title)), head + pitch * len(rows) + _MARGIN, title)
    for name, left in zip(("stored", *names), starts, strict=False):
        sheet.text(name, left, head - 0.08, size=9, weight="bold")
    for number, (caption, stored, drawn) in enumerate(rows):
        top = head + number * pitch
        sheet.image(stored, starts[0], top, _CELL)
        for line, text in enumerate(_folded(caption, _LETTERS)):
            sheet.text(text, starts[0], top + _CELL + (line + 1.1) * _LINE, size=_POINTS)
        for left, draws in zip(starts[1:], drawn, strict=False):
            for place, draw in enumerate(draws):
                sheet.image(draw, left + place * (_CELL + _GAP), top, _CELL)
    return sheet.save(path)


def label_distribution(counts: pd.DataFrame, path: Path, *, title: str, rare: int | None = None) -> Path:
    """Draw how many images are positive, uncertain, negative and blank in each class, most positives first.

    `counts`: a row a class, the columns of VALUES. Uncertain stands beside positive, as the study counts it. `rare`:
    where to draw the line below which a class is rare, in images. Returns `path`.
    """
    from matplotlib.ticker import MaxNLocator

    order = (counts["positive"] + counts["uncertain"]).sort_values(ascending=False, kind="stable").index
    counts = counts.loc[order, list(VALUES)]
    figure = new_figure(9.6, 1.15 + 0.235 * len(counts))
    bars, numbers = figure.subplots(1, 2, sharey=True, width_ratios=(1.15, 1))
    heights, left = np.arange(len(counts)), np.zeros(len(counts))
    for value, tone in zip(VALUES, _TONES, strict=True):
        width = counts[value].to_numpy()
        bars.barh(heights, width, left=left, height=0.7, color=tone, edgecolor="#9A9A9A", linewidth=0.4, label=value)
        left = left + width
    bars.set_xlim(0, max(1, float(left.max(initial=0))))
    bars.set_ylim(len(counts) - 0.4, -0.6)
    bars.set_yticks(heights, counts.index.astype(str))
    bars.tick_params(axis="y", length=0)
    bars.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    bars.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    bars.set_xlabel("Images", color=INK, fontsize=9.5)
    if rare is not None:
        bars.axvline(rare, color=INK, linewidth=1.1, linestyle=(0, (4, 3)))
        bars.annotate(
            f"rare: fewer than {rare:,} positive or uncertain", (rare, 1), xytext=(-3, 4),
            xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=8, color=INK,
        )  # fmt: skip
    _table_of(numbers, counts)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10.5, fontweight="bold", color=INK)
    return save_figure(figure, path)


def _table_of(axes: "Axes", counts: pd.DataFrame) -> None:
    """Write the counts beside the bars, a column a value, its colour above it."""
    axes.set_xlim(0, len(VALUES))
    axes.xaxis.set_visible(False)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["bottom"].set_visible(False)
    for column, (value, tone) in enumerate(zip(VALUES, _TONES, strict=True)):
        axes.annotate(
            value, (column + 0.98, 1), xytext=(0, 5), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="right", fontsize=8.5, color=INK, annotation_clip=False,
            bbox={"facecolor": tone, "edgecolor": "none", "pad": 1.5, "alpha": 0.45},
        )  # fmt: skip
        for height, count in enumerate(counts[value]):
            axes.text(column + 0.98, height, f"{count:,}", ha="right", va="center", fontsize=8, color=INK)


class _Sheet:
    """A figure on which everything is placed in inches from the upper left corner."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._width, self._height = width, height
        self._figure: Figure = new_figure(width, height)
        self._figure.set_layout_engine("none")
        self.text(title, _MARGIN, 0.24, size=10, weight="bold")

    def image(self, image: Gray, left: float, top: float, side: float) -> None:
        """Draw an image as large as a square box allows, in its own aspect, on light gray where it leaves room."""
        box = (left / self._width, 1 - (top + side) / self._height, side / self._width, side / self._height)
        axes = self._figure.add_axes(box, facecolor=_ROOM)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="equal", interpolation="antialiased")
        height, width = image.shape
        longer = max(height, width)
        axes.set_xlim(width / 2 - longer / 2 - 0.5, width / 2 + longer / 2 - 0.5)
        axes.set_ylim(height / 2 + longer / 2 - 0.5, height / 2 - longer / 2 - 0.5)
        axes.xaxis.set_visible(False)
        axes.yaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)

    def text(self, text: str, left: float, base: float, **style: Any) -> None:  # noqa: ANN401
        """Write a line whose base line is so far below the upper edge."""
        x, y = left / self._width, 1 - base / self._height
        self._figure.text(x, y, text, color=style.pop("color", INK), parse_math=False, **style)

    def save(self, path: Path) -> Path:
        """Write the sheet as a PNG."""
        return save_figure(self._figure, path)


def _wrapped(image: Captioned) -> list[str]:
    lines = _folded(image.title, _LETTERS - 4)  # bold letters are wider
    for line in image.lines:
        lines += textwrap.wrap(line, _LETTERS, max_lines=4, placeholder=" ...") or [""]
    return lines


def _folded(text: str, letters: int) -> list[str]:
    """Return a key on at most two lines, of which the second may lose letters in the middle."""
    first, *rest = textwrap.wrap(text, letters) or [""]
    second = text[len(first) :].lstrip()
    if not rest or len(second) <= letters:
        return [first, *rest]
    return [first, f"{second[: letters // 2 - 2]}...{second[-(letters - letters // 2 - 1) :]}"]


def _title_width(title: str) -> float:
    return 2 * _MARGIN + len(title) * 10 * 0.58 / 72
