"""Optimisers are torch's own, in their fused form: one kernel over all parameters instead of a loop in Python."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from cxrfast.learning.settings import Settings

Share = Annotated[float, Field(ge=0, lt=1)]
_FUSED_ON = ("cpu", "cuda")


class OptimizerSettings(Settings):
    """Which optimiser, and its constants. The defaults are the study's classifier."""

    name: Literal["sgd", "adam", "adamw"] = Field(
        default="adam", description="update rule; adamw decouples weight decay"
    )
    lr: float = Field(
        default=3e-5,
        gt=0,
        allow_inf_nan=False,
        description="learning rate; the highest one where the schedule is onecycle",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd")
    betas: tuple[Share, Share] = Field(
        default=(0.9, 0.999), description="decay rates of adam's and adamw's two moments"
    )
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay, on every trainable parameter")

    def neutral(self) -> frozenset[str]:
        """Name the constants of the other update rules."""
        return frozenset({"betas" if self.name == "sgd" else "momentum"})


def build_optimizer(settings: OptimizerSettings, module: nn.Module, *, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimiser of the module's trainable parameters."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    lr, decay, fused = settings.lr, settings.weight_decay, device.type in _FUSED_ON
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=settings.momentum, weight_decay=decay, fused=fused)
    rule = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return rule(parameters, lr=lr, betas=settings.betas, weight_decay=decay, fused=fused)
