"""What `cxrfast-bench loader` found: a small table and a verdict for people, all of it as plain values for programs."""

import io
import shutil
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cxrfast.bench.figures import Amounts, Findings, Rate, Stage
from cxrfast.bench.measure import Settings

_WIDEST = 100


def as_dict(found: Findings, settings: Settings) -> dict[str, Any]:
    """Return findings and settings as plain values for JSON."""
    return {
        "benchmark": "loader",
        "settings": {**asdict(settings), "order": {"kind": type(settings.order).__name__, **vars(settings.order)}},
        "figures": asdict(found),
    }


def as_text(found: Findings, settings: Settings, *, name: str) -> str:
    """Return the findings as lines for a terminal, the verdict last."""
    amounts = found.amounts
    rounds = "1 round" if found.rounds == 1 else f"{found.rounds} rounds"
    views = "1 view" if len(settings.views) == 1 else f"{len(settings.views)} views"
    head = (
        f"{name}: {amounts.images:,} images a round, {views} of {settings.size} pixels, batches of "
        f"{settings.batch_size:,}, {_threads(amounts)}, {type(settings.order).__name__}, {settings.device}"
        f"{', cold' if settings.cold else ''}; medians of {rounds}"
    )
    return "\n".join([head, "", _table(found), "", _whole(found), "", _sentence(found.verdict.sentence), ""])


def _table(found: Findings) -> str:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("stage")
    for column in ("time", "images/s", "MB/s", "alone: images/s", "MB/s", "of it"):
        table.add_column(column, justify="right")
    for stage in found.stages:
        table.add_row(stage.name, f"{100 * stage.share:.0f} %", *_cells(stage))
    wide = min(shutil.get_terminal_size().columns, _WIDEST)
    console = Console(file=io.StringIO(), width=max(wide, 72), color_system=None)
    with console.capture() as text:
        console.print(table)
    return "\n".join(line.rstrip() for line in text.get().splitlines())


def _cells(stage: Stage) -> tuple[str, ...]:
    own, alone = stage.rate, stage.ceiling
    share = "" if own is None or alone is None else f"{100 * own.images / alone.images:.0f} %"
    return (*_pair(own), *_pair(alone), share)


def _pair(rate: Rate | None) -> tuple[str, str]:
    if rate is None:
        return "-", "-"
    small = rate.megabytes < 10
    return f"{rate.images:,.0f}", f"{rate.megabytes:,.1f}" if small else f"{rate.megabytes:,.0f}"


def _whole(found: Findings) -> str:
    bare = found.bare_name.removeprefix("a ")
    return "\n".join(
        f"{label:<28} {rate.images:>8,.0f} images/s ({rate.least:,.0f} to {rate.largest:,.0f}), "
        f"{rate.megabytes:,.1f} MB/s{rest}"
        for label, rate, rest in (
            ("loader", found.loader, f": {100 * found.of_bare:.0f} % of the bare loop"),
            (bare, found.bare, ""),
        )
    ) + (
        "\ntime: of the threads' for read, decode and warp, of the clock's for the others (wait: for a batch)\n"
        "images/s and MB/s: what a stage gives with all threads to itself; alone: the same work and nothing else"
    )  # fmt: skip


def _threads(amounts: Amounts) -> str:
    return "1 thread" if amounts.threads == 1 else f"{amounts.threads} threads"


def _sentence(text: str) -> str:
    return f"Verdict: {text}."
