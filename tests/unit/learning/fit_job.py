"""Train in `folder`; with a number, kill the process (SIGKILL) at that event: a batch handed out or a file synced."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from unit.learning.fakes import FakeFeed, tiny

from cxrfast.learning.engine import FitSettings, fit
from cxrfast.learning.moco import Moco, MocoSettings
from cxrfast.learning.optimisers import OptimizerSettings
from cxrfast.learning.progress import Silent

EPOCHS, BATCHES = 3, 6
SETTINGS = FitSettings(epochs=EPOCHS, optimizer=OptimizerSettings(name="adamw", lr=0.01, weight_decay=0.01))


class Countdown:
    """Counts batches and syncs alike, so that a kill falls between steps or within the writing of a file."""

    def __init__(self, left: int | None) -> None:
        self.left = left

    def tick(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


class CountedFeed(FakeFeed):
    countdown: Countdown

    def epoch(self, epoch, *, start=0):
        for batch in super().epoch(epoch, start=start):
            self.countdown.tick()
            yield batch


def job(folder: Path, *, kill_at: int | None = None, checkpoint_minutes: float = 0) -> None:
    countdown, sync = Countdown(kill_at), os.fsync
    feed = CountedFeed(size=8 * BATCHES, views=2)
    feed.countdown = countdown

    def sync_or_die(handle: int) -> None:
        countdown.tick()
        sync(handle)

    moco = Moco(MocoSettings(dim=8, queue=20, momentum=0.9), start="random", seed=3, make_encoder=tiny)
    settings = SETTINGS.model_copy(update={"checkpoint_minutes": checkpoint_minutes})
    os.fsync = sync_or_die
    try:
        fit(moco, feed, FakeFeed(size=16, views=2, seed=9), settings, folder, device="cpu", label="job",
            progress=Silent())  # fmt: skip
    finally:
        os.fsync = sync


if __name__ == "__main__":
    torch.set_num_threads(1)
    job(Path(sys.argv[1]), kill_at=int(sys.argv[2]), checkpoint_minutes=float(sys.argv[3]))
