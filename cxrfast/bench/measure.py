"""A loader and its ceilings in one interleaved run: loader, read, decode, warp, copy, bare, and again.

Machines drift within seconds, so what is compared runs in turn, and one whole turn is not counted. A round of the
loader is a whole epoch of as many rows as a round has, never a part of one: what was rendered ahead of a batch that
nobody takes would count against it.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import torch

from cxrfast import Loader, Ranks, Reading, ViewSpec
from cxrfast.bench.bare import Bare
from cxrfast.bench.figures import Amounts, Findings, findings
from cxrfast.bench.work import Work, prepare
from cxrfast.errors import LoaderError
from cxrfast.loading.order import Order

if TYPE_CHECKING:
    from cxrfast.shardset.shardset import ShardSet

_TRIAL = 1024
"""Images of the epoch by which the size of a round is chosen."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured: the loader's own settings, and how long."""

    views: tuple[ViewSpec, ...]
    order: Order
    size: int = 224
    batch_size: int = 256
    threads: int | None = None
    """None: as many as the loader takes by itself."""
    device: str = "cpu"
    backend: Literal["auto", "opencv", "dali"] = "auto"
    rounds: int = 5
    seconds: float = 2.0
    """About how long a round of the loader takes, where `images` is not given and the set is large enough."""
    images: int | None = None
    repeat: int = 0
    """The set's rows are repeated to at least so many."""
    cold: bool = False
    """Drop the tars from the page cache before each round of the loader and of reading alone."""
    step_ms: float = 0.0
    """Milliseconds that the consumer takes with each batch, as a training step would."""

    def __post_init__(self) -> None:
        for name, least in (("rounds", 1), ("seconds", 0.01), ("repeat", 0), ("step_ms", 0.0)):
            if getattr(self, name) < least:
                raise LoaderError(f"{name}={getattr(self, name)}: at least {least} is needed")
        if self.images is not None and self.images < self.batch_size:
            raise LoaderError(f"images={self.images} is less than one batch of {self.batch_size}: give more, or a "
                              "smaller batch")  # fmt: skip


def measure(shards: "ShardSet", settings: Settings, *, progress: Progress = lambda done, total: None) -> Findings:
    """Measure a loader over a set; `progress(done, total)` is told of each round.

    Raises LoaderError where the settings do not fit, ShardSetError or DamagedSample where the set cannot be read.
    """
    with _one_opencv_thread():
        chosen = rows_of_a_round(shards, settings)
        threads = settings.threads or Ranks().cpus()
        amounts = Amounts(
            images=len(chosen),
            threads=threads,
            bytes_stored=int(chosen.table["nbytes"].sum()),
            bytes_out=len(chosen) * len(settings.views) * settings.size**2,
        )
        with loader_of(chosen, settings) as loader:  # first, since it checks the settings
            work = prepare(chosen, views=settings.views, size=settings.size)
            device = torch.device(settings.device)
            with Bare(work, threads=threads, batch_size=settings.batch_size, device=device) as bare:
                wall, reports, ceilings = _rounds(loader, bare, work, settings, progress)
    return findings(amounts, loader=wall, reports=reports, ceilings=ceilings, raw=work.raw)


def loader_of(shards: "ShardSet", settings: Settings) -> Loader:
    """Return the loader that is measured."""
    return Loader(
        shards,
        views=settings.views,
        size=settings.size,
        batch_size=settings.batch_size,
        seed=0,
        last="drop",
        order=settings.order,
        reading=Reading(threads=settings.threads),
        device=settings.device,
        backend=settings.backend,
    )


def rows_of_a_round(shards: "ShardSet", settings: Settings) -> "ShardSet":
    """Return the rows of a round: whole batches from the front of the set, which is repeated where it is too small."""
    if not len(shards):
        raise LoaderError("the set has no samples: there is nothing to measure")
    batch = settings.batch_size
    if settings.images is not None:
        wanted = settings.images // batch * batch
    else:
        repeated = -(-settings.repeat // batch) * batch
        wanted = max(len(shards) // batch * batch, repeated, batch)
        if wanted > 2 * _TRIAL:
            wanted = min(wanted, _for_seconds(shards, settings))
    return shards.rows(np.arange(wanted) % len(shards))


def _for_seconds(shards: "ShardSet", settings: Settings) -> int:
    """Return how many images, in whole batches, take about the seconds of a round."""
    batch = settings.batch_size
    trial = shards.rows(np.arange(-(-_TRIAL // batch) * batch) % len(shards))
    files = {trial.tar_path(*place) for place in zip(trial.table["shardset"], trial.table["shard"], strict=True)}
    seconds = float("inf")
    with loader_of(trial, settings) as loader:
        for epoch in range(2):
            _drop(files, settings)
            seconds = min(seconds, _epoch(loader, epoch, settings))
    return max(1, round(settings.seconds * len(trial) / seconds / batch)) * batch


def _epoch(loader: Loader, epoch: int, settings: Settings) -> float:
    started = time.perf_counter()
    for _ in loader.epoch(epoch):
        if settings.step_ms:
            time.sleep(settings.step_ms / 1000)
    if settings.device.startswith("cuda"):
        torch.cuda.synchronize(settings.device)
    return time.perf_counter() - started


def _rounds(
    loader: Loader, bare: Bare, work: Work, settings: Settings, progress: Progress
) -> tuple[list[float], list[dict[str, float]], dict[str, list[float]]]:
    alone: dict[str, Callable[[], float]] = {
        "read": bare.read, "decode": bare.decode, "warp": bare.warp, "copy": bare.copy, "bare": bare.decode_and_warp,
    }  # fmt: skip
    if work.raw:
        del alone["decode"]
    wall: list[float] = []
    reports: list[dict[str, float]] = []
    ceilings: dict[str, list[float]] = {name: [] for name in alone}
    for number in range(settings.rounds + 1):
        before = loader.report()
        _drop(work.files, settings)
        took = _epoch(loader, number, settings)
        sums = {name: value - before.get(name, 0) for name, value in loader.report().items()}
        if number:
            wall.append(took)
            reports.append(sums)
        for name, run in alone.items():
            if name == "read":
                _drop(work.files, settings)
            took = run()
            if number:
                ceilings[name].append(took)
        progress(number + 1, settings.rounds + 1)
    return wall, reports, ceilings


def _drop(files: Iterable[Path], settings: Settings) -> None:
    """Let the kernel forget the cached pages of files where that is asked for; what is not on disk is written first."""
    for path in files if settings.cold else ():
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV from starting threads of its own beside the ones that are counted."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
