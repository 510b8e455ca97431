"""What a training method is to the engine: views in, a loss out, and what to update after a step.

The engine knows no more than this, so a further method (BYOL, SimSiam, VICReg) is one file that derives from `Method`.
The training loss is `forward` itself, because wrappers such as DistributedDataParallel and torch.compile act there.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor, nn


class Step(NamedTuple):
    """Where training stands: optimiser steps done so far, and how many there will be at most."""

    number: int
    total: int


class Method(nn.Module, ABC):
    """A model with its loss. Parameters that an optimiser must leave alone have `requires_grad` False.

    A method draws nothing from torch's global generator while it trains: chance comes from `cxrfast.chance` and `Step`.
    """

    kind: ClassVar[str]
    """Its name in checkpoints."""
    views: ClassVar[int]
    """How many views of an image it takes."""
    encoder_prefix: ClassVar[str]
    """What stands before the encoder's own (torchvision's) names in `state_dict()`."""

    @abstractmethod
    def forward(self, images: Tensor, labels: Tensor, step: Step) -> Tensor:
        """Return the training loss of a batch, a scalar. images: uint8 (B, V, 1, S, S); labels: (B, C)."""

    @abstractmethod
    def validation_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return a sum of losses and the count to divide the whole set's sum by; changes no state at all."""

    def after_step(self, step: Step) -> None:
        """Update what follows the optimiser, such as a queue or a target network."""

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the encoder's state under torchvision's names, to start another method from."""
        prefix = self.encoder_prefix
        return {name.removeprefix(prefix): v for name, v in self.state_dict().items() if name.startswith(prefix)}
