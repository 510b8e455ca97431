"""From seconds of rounds to figures: rates and shares of each stage beside its ceiling, medians over rounds.

A stage's rate inside a loader is what it would give if it had all threads to itself: images by its thread seconds times
threads. So a stage's row can be held against its ceiling, and whatever the threads did besides shows as their rest. A
backend that decodes and warps in one graph (DALI) has the stage `render` instead; its ceiling is itself, never waiting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from cxrfast.bench.verdict import Evidence, Verdict, judge

STAGES = ("read", "decode", "warp", "render", "copy", "wait")
_SECONDS = {
    "read": "seconds_reading",
    "decode": "seconds_decoding",
    "warp": "seconds_warping",
    "render": "seconds_rendering",
    "copy": "seconds_copying",
    "wait": "seconds_waiting",
}
_ON_THREADS = ("read", "decode", "warp")


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """What a round moves: the same in every round."""

    images: int
    threads: int
    bytes_stored: int
    """Payload bytes of the images."""
    bytes_out: int
    """Bytes of the rendered views."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Images a second and MB (10^6 bytes) a second: medians, with the least and largest images a second."""

    images: float
    megabytes: float
    least: float
    largest: float


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Where time goes in one stage of a loader."""

    name: str
    seconds: float
    """Median seconds a round, those of several threads added."""
    share: float
    """Of the threads' time; for render, copy and wait, of the wall time."""
    rate: Rate | None
    """What it would give with all threads to itself; None where nothing was done, and for wait."""
    ceiling: Rate | None
    """The same work alone."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What one measurement found."""

    amounts: Amounts
    rounds: int
    loader: Rate
    bare: Rate
    """The bare loop that decodes and warps, or only warps where pixels are stored raw."""
    bare_name: str
    of_bare: float
    """Median over the rounds of loader / bare."""
    stages: tuple[Stage, ...]
    verdict: Verdict


def findings(
    amounts: Amounts,
    *,
    loader: Sequence[float],
    reports: Sequence[Mapping[str, float]],
    ceilings: Mapping[str, Sequence[float]],
    raw: bool,
) -> Findings:
    """Return figures and verdict.

    `loader` holds the wall seconds of each round, `reports` the loader's sums of each; `ceilings` the seconds of each
    round of `read`, `decode` (not where `raw`), `warp`, `copy` and `bare`.
    """
    stages = tuple(
        _stage(name, amounts, loader, reports, ceilings.get(name))
        for name in STAGES
        if name != "render" or _spent(name, reports)
    )
    whole, bare = rate(amounts, loader, amounts.bytes_stored), rate(amounts, ceilings["bare"], amounts.bytes_stored)
    name = "a bare warp loop" if raw else "a bare decode-and-warp loop"
    of_bare = median(b / a for a, b in zip(loader, ceilings["bare"], strict=True))
    evidence = _evidence(amounts, stages, whole.images, whole.images / of_bare, name, ceilings)
    return Findings(
        amounts=amounts,
        rounds=len(loader),
        loader=whole,
        bare=bare,
        bare_name=name,
        of_bare=of_bare,
        stages=stages,
        verdict=judge(evidence),
    )


def _evidence(
    amounts: Amounts,
    stages: Sequence[Stage],
    loader: float,
    bare: float,
    bare_name: str,
    ceilings: Mapping[str, Sequence[float]],
) -> Evidence:
    share = {stage.name: stage.share for stage in stages}
    threads = "1 thread" if amounts.threads == 1 else f"{amounts.threads} threads"
    rates = {"storage": _images(amounts, ceilings["read"]), "compute": bare}
    computing, name = share["decode"] + share["warp"], f"{bare_name} on {threads}"
    if "render" in share:
        rates["compute"], computing = loader / share["render"], share["render"]
        name = "the backend's own graph, were it never to wait"
    if share["copy"]:
        rates["copy"] = _images(amounts, ceilings["copy"])
    return Evidence(
        threads=amounts.threads,
        loader=loader,
        ceilings=rates,
        reading=share["read"],
        computing=computing,
        copying=share["copy"],
        waiting=share["wait"],
        compute_name=name,
    )


def rate(amounts: Amounts, seconds: Sequence[float], nbytes: float) -> Rate:
    """Return the rate of rounds that took so many seconds and moved `nbytes` each."""
    taken = median(seconds)
    return Rate(
        images=amounts.images / taken,
        megabytes=nbytes / 1e6 / taken,
        least=amounts.images / max(seconds),
        largest=amounts.images / min(seconds),
    )


def _stage(
    name: str,
    amounts: Amounts,
    loader: Sequence[float],
    reports: Sequence[Mapping[str, float]],
    alone: Sequence[float] | None,
) -> Stage:
    spent = [float(report.get(_SECONDS[name], 0.0)) for report in reports]
    threads = amounts.threads if name in _ON_THREADS else 1
    nbytes = float(amounts.bytes_out if name in ("warp", "copy") else amounts.bytes_stored)
    if name == "read":
        nbytes = median(report.get("bytes_read", 0.0) for report in reports)
    worked = name != "wait" and min(spent) > 0
    return Stage(
        name=name,
        seconds=median(spent),
        share=median(took / (threads * wall) for took, wall in zip(spent, loader, strict=True)),
        rate=rate(amounts, [took / threads for took in spent], nbytes) if worked else None,
        ceiling=None if alone is None else rate(amounts, alone, nbytes),
    )


def _spent(name: str, reports: Sequence[Mapping[str, float]]) -> bool:
    return any(report.get(_SECONDS[name], 0.0) > 0 for report in reports)


def _images(amounts: Amounts, seconds: Sequence[float]) -> float:
    return amounts.images / median(seconds)
