"""What bounds a loader, in words, from measured figures alone.

Two witnesses are heard: the ceilings (how fast each resource goes when it has nothing else to do) and where the
threads' time went. The lowest ceiling names the suspect; where two are close, or none is near, the threads' time
decides. A guess from either alone goes wrong: a page cache makes a slow disk look fast, and threads that wait for the
disk look as busy as threads that decode.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Bound = Literal["storage-bound", "compute-bound", "copy-bound", "consumer-bound", "loader-bound"]

WAITED_LITTLE = 0.10
"""A consumer that waits for a smaller share of the time than this is what holds everything up."""
NEAR = 0.75
"""From this share of its lowest ceiling on, a loader is bound by it."""
CLOSE = 0.90
"""Two ceilings whose ratio is above this cannot be told apart by themselves."""
BUSY = 0.75
"""Threads that spend this share of their time on one thing are bound by it."""

_BOUNDS: dict[str, Bound] = {"storage": "storage-bound", "compute": "compute-bound", "copy": "copy-bound"}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Medians of one measurement; rates are images a second, shares are of wall time times threads."""

    threads: int
    loader: float
    """Images a second that the loader handed out."""
    ceilings: Mapping[str, float]
    """Images a second that `storage`, `compute` and `copy` reach alone, on the same threads; at least one of them."""
    reading: float
    """Share of the threads' time that went to reading."""
    computing: float
    """Share that went to decoding and warping."""
    copying: float
    """Share of the wall time in which batches were copied to the device."""
    waiting: float
    """Share of the wall time in which the consumer waited for a batch."""
    compute_name: str
    """What the compute ceiling was, for the sentence: "a bare decode-and-warp loop on 2 threads"."""


@dataclass(frozen=True)
class Verdict:
    """What bounds the loader, its share of the ceiling that it is held against, and a sentence that says why."""

    bound: Bound
    share: float
    sentence: str


def judge(evidence: Evidence) -> Verdict:
    """Return the verdict on some evidence; a pure function."""
    suspect = _suspect(evidence)
    share = evidence.loader / evidence.ceilings[suspect]
    against = f"{_percent(share)} of {_name(evidence, suspect)}"
    if evidence.waiting < WAITED_LITTLE:
        return Verdict(
            "consumer-bound", share,
            f"consumer-bound: whoever takes the batches waits for them only {_percent(evidence.waiting)} of the time "
            f"(the loader gives {against})",
        )  # fmt: skip
    spent = _spent(evidence)
    if share >= NEAR:
        return Verdict(_BOUNDS[suspect], share, f"{_BOUNDS[suspect]}: {against}; {_where(evidence)}")
    busiest = max(spent, key=lambda name: spent[name])
    if spent[busiest] >= BUSY and busiest in evidence.ceilings:
        share = evidence.loader / evidence.ceilings[busiest]
        return Verdict(
            _BOUNDS[busiest], share,
            f"{_BOUNDS[busiest]} by where the time goes, though only {_percent(share)} of "
            f"{_name(evidence, busiest)}; {_where(evidence)}",
        )  # fmt: skip
    return Verdict("loader-bound", share, f"loader-bound: only {against}, its lowest ceiling; {_where(evidence)}")


def _suspect(evidence: Evidence) -> str:
    """Return the lowest ceiling; of those that are close to it, the one on which most time is spent."""
    lowest = min(evidence.ceilings.values())
    close = [name for name, rate in evidence.ceilings.items() if lowest >= CLOSE * rate]
    spent = _spent(evidence)
    return max(close, key=lambda name: (spent[name], -evidence.ceilings[name]))


def _spent(evidence: Evidence) -> dict[str, float]:
    return {"storage": evidence.reading, "compute": evidence.computing, "copy": evidence.copying}


def _name(evidence: Evidence, ceiling: str) -> str:
    threads = "1 thread" if evidence.threads == 1 else f"{evidence.threads} threads"
    return {
        "storage": f"reading the same bytes alone on {threads}",
        "compute": evidence.compute_name,
        "copy": "copying the same batches alone",
    }[ceiling]


def _where(evidence: Evidence) -> str:
    return (
        f"the threads' time: {_percent(evidence.computing)} decoding and warping, {_percent(evidence.reading)} reading"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
