"""Learning-rate schedules of torch behind two calls, after a step and after an epoch, so that the engine need not ask.

Plateau and constant do not depend on the number of epochs, so such a run can be lengthened later; cosine and onecycle
are laid out over all steps beforehand and cannot.
"""

from typing import Any, Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from cxrfast.learning.settings import Settings


class ScheduleSettings(Settings):
    """How the learning rate moves, and when training stops before its last epoch. The defaults are the study's."""

    name: Literal["constant", "plateau", "cosine", "onecycle"] = Field(
        default="plateau",
        description="constant; plateau: by epoch, on the validation loss; cosine and onecycle: by step",
    )
    factor: float = Field(default=0.1, gt=0, lt=1, description="plateau: what the rate is multiplied with")
    patience: int = Field(default=3, ge=1, description="plateau: epochs without a new minimum until the rate falls")
    stop_below: float = Field(default=1e-7, ge=0, description="plateau: training stops once the rate is below this")
    patience_stop: int | None = Field(
        default=None, ge=1, description="training stops after so many epochs without a minimum"
    )

    @property
    def open_ended(self) -> bool:
        """Whether more epochs only lengthen a run."""
        return self.name in ("constant", "plateau")

    def neutral(self) -> frozenset[str]:
        """Name the stop rules (they lengthen or shorten a run and change no step of it), and what only plateau uses."""
        stops = frozenset({"stop_below", "patience_stop"})
        return stops if self.name == "plateau" else stops | {"factor", "patience"}


class Schedule:
    """A torch scheduler, or none where the rate is constant."""

    def __init__(self, settings: ScheduleSettings, optimizer: Optimizer, *, total_steps: int) -> None:
        self._by_step: CosineAnnealingLR | OneCycleLR | None = None
        self._by_epoch: ReduceLROnPlateau | None = None
        if settings.name == "plateau":
            # torch waits for one bad epoch more than its `patience`, and by default asks for a relative gain of 1e-4;
            # the study's rule is any new minimum within 3 epochs. eps=0, else steps below 1e-8 are left out.
            self._by_epoch = ReduceLROnPlateau(
                optimizer, factor=settings.factor, patience=settings.patience - 1, threshold=0, eps=0
            )
        elif settings.name == "cosine":
            self._by_step = CosineAnnealingLR(optimizer, T_max=total_steps)
        elif settings.name == "onecycle":
            # Momentum and betas stay as set; torch would cycle them too.
            rate = optimizer.param_groups[0]["lr"]
            self._by_step = OneCycleLR(optimizer, max_lr=rate, total_steps=total_steps, cycle_momentum=False)

    def after_step(self) -> None:
        """Move the rate of a schedule by step."""
        if self._by_step is not None:
            self._by_step.step()

    def after_epoch(self, loss: float) -> None:
        """Move the rate of a schedule by epoch, given the epoch's validation loss."""
        if self._by_epoch is not None:
            self._by_epoch.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values only, so that they load with weights_only=True."""
        scheduler = self._by_step or self._by_epoch
        return {} if scheduler is None else scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state of the same settings."""
        scheduler = self._by_step or self._by_epoch
        if scheduler is not None:
            scheduler.load_state_dict(state)
