"""Momentum Contrast: many negatives at a small batch, bought with a second encoder that must not be trained.

He et al., Momentum Contrast for Unsupervised Visual Representation Learning, 2020 (algorithm 1), and Chen et al.,
Improved Baselines with Momentum Contrastive Learning, 2020 (the two-layer head). Defaults are those of the study:
MoCo v2 as Bolts 0.3 ran it, without the two-layer head. Unlike Bolts, validation moves neither key encoder nor queue.
"""

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cxrfast.errors import TrainingError
from cxrfast.learning.backbone import MakeEncoder, Start, resnet18
from cxrfast.learning.losses import at_least_float32, info_nce
from cxrfast.learning.method import Method, Step
from cxrfast.learning.queue import NegativeQueue
from cxrfast.learning.settings import Settings


class MocoSettings(Settings):
    """What MoCo is made of."""

    head: Literal["linear", "mlp"] = Field(
        default="linear", description="last layer: linear, or MoCo v2's own two layers"
    )
    dim: int = Field(default=128, ge=1, description="length of a query or key")
    temperature: float = Field(default=0.07, gt=0, description="what similarities are divided by")
    queue: int = Field(default=65_536, ge=1, description="how many negatives are kept")
    momentum: float = Field(default=0.999, ge=0, le=1, description="share of the key encoder that a step keeps")


class Moco(Method):
    """A query encoder that learns, a key encoder that follows it, and a queue of past keys; both begin at `start`."""

    kind = "moco"
    views = 2
    encoder_prefix = "query.net."

    def __init__(
        self, settings: MocoSettings, *, seed: int, start: Start, make_encoder: MakeEncoder = resnet18
    ) -> None:
        super().__init__()
        self.temperature = settings.temperature
        self.query = make_encoder(settings.dim, start, seed=seed, head=settings.head)
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.queue = NegativeQueue(settings.queue, settings.dim, seed=seed)
        self._follow = get_ema_multi_avg_fn(settings.momentum)  # type: ignore[no-untyped-call]
        self._pending: list[Tensor] = []

    def forward(self, images: Tensor, labels: Tensor, step: Step) -> Tensor:
        """Return InfoNCE of a batch of two views: query, momentum update, key, loss. `after_step` enqueues the key."""
        query_view, key_view = _two_views(images)
        q = _unit(self.query(query_view))
        with torch.no_grad():
            # Keys wait until the step is done, so a second batch of the same step finds some and moves nothing.
            if not self._pending:
                self._follow_query()
            # In train mode, as the authors do: BatchNorm uses the batch, and the key's own running statistics move.
            k = _unit(self.key(key_view))
        self._pending.append(k)
        return info_nce(q, k, self.queue.keys, self.temperature)

    def after_step(self, step: Step) -> None:
        """Enqueue the keys of the step: after its backward pass, which still needs the queue as it was."""
        for keys in self._pending:
            self.queue.enqueue(keys)
        self._pending.clear()

    def validation_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of InfoNCE against the queue as it stands, and the batch size."""
        query_view, key_view = _two_views(images)
        q, k = _unit(self.query(query_view)), _unit(self.key(key_view))
        loss = info_nce(q, k, self.queue.keys, self.temperature)
        return loss.double() * len(images), torch.tensor(len(images), device=loss.device)

    def _follow_query(self) -> None:
        # Parameters only: buffers of the key encoder are its own.
        self._follow(list(self.key.parameters()), list(self.query.parameters()), 0)


def _two_views(images: Tensor) -> tuple[Tensor, Tensor]:
    if images.shape[1] != Moco.views:
        raise TrainingError(f"MoCo takes 2 views of each image, got {images.shape[1]}; give the loader two view specs")
    return images[:, 0], images[:, 1]


def _unit(outputs: Tensor) -> Tensor:
    return F.normalize(at_least_float32(outputs), dim=1)
