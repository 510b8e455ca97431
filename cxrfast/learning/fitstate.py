"""Where a fit stands, as plain values: all that a checkpoint needs besides the tensors.

Sums of the running epoch are part of it, so that an epoch that was broken off and resumed reports the very loss of an
undisturbed one.
"""

from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, Self

from cxrfast.learning.metrics import Row
from cxrfast.learning.schedules import ScheduleSettings


@dataclass
class FitState:
    """Progress of a fit. `epoch` epochs are done and `batch` batches of the next; `best_epoch` counts from 1.

    `lr` is the learning rate of the last step.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    lr: float = 0.0
    best_epoch: int = 0
    best_loss: float = inf
    loss_sum: float = 0.0
    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    rows: list[Row] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """Return plain values that load with weights_only=True."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """Return the state that `to_plain` wrote."""
        return cls(**plain)

    def close_epoch(self, *, train_loss: float, valid_loss: float | None) -> bool:
        """Turn the running sums into a row and count the epoch; return whether its loss is a new minimum.

        The validation loss is what is judged; without a validation set, the training loss is.
        """
        self.epoch += 1
        seconds = max(self.seconds, 1e-9)
        row: Row = {
            "epoch": self.epoch, "step": self.step, "lr": self.lr, "train_loss": train_loss, "valid_loss": valid_loss,
            "images": self.images, "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images / seconds, 2), "wait_share": round(self.waited / seconds, 4),
        }  # fmt: skip
        self.rows.append(row)
        self.batch, self.loss_sum, self.images, self.seconds, self.waited = 0, 0.0, 0, 0.0, 0.0
        judged = train_loss if valid_loss is None else valid_loss
        is_best = judged < self.best_loss
        if is_best:
            self.best_epoch, self.best_loss = self.epoch, judged
        return is_best

    def why_stop(self, schedule: ScheduleSettings, *, epochs: int, lr: float) -> str:
        """Return why training is over, in words, or nothing where it is not.

        Asked anew of every resumed fit, so that a finished one goes on when it is given more epochs.
        """
        if self.epoch >= epochs:
            return f"all {epochs} epochs are done" if epochs > 1 else "its one epoch is done"
        if schedule.patience_stop and self.best_epoch and self.epoch - self.best_epoch >= schedule.patience_stop:
            return f"the loss reached no new minimum in {schedule.patience_stop} epochs"
        if schedule.name == "plateau" and lr < schedule.stop_below:
            return f"the learning rate fell below {schedule.stop_below:g}"
        return ""
