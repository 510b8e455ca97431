"""The multi-label classifier: one sigmoid a finding, since a radiograph can show several and a label can be unknown."""

import torch
from torch import Tensor

from cxrfast.errors import TrainingError
from cxrfast.learning.backbone import MakeEncoder, Start, resnet18
from cxrfast.learning.losses import masked_bce, masked_bce_sum
from cxrfast.learning.method import Method, Step


class Classifier(Method):
    """An encoder with one output a target, all layers trainable.

    `start` is `imagenet`, `random`, a file, or a pretext's `encoder_state()`; the last layer is always new.
    """

    kind = "classifier"
    views = 1
    encoder_prefix = "encoder.net."

    def __init__(
        self,
        *,
        outputs: int,
        seed: int,
        start: Start,
        make_encoder: MakeEncoder = resnet18,
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self.encoder = make_encoder(outputs, start, seed=seed)

    def logits(self, images: Tensor) -> Tensor:
        """Return logits (B, C) of images uint8 (B, 1, 1, S, S)."""
        if images.shape[1] != self.views:
            raise TrainingError(f"the classifier takes 1 view of each image, got {images.shape[1]}; give one view spec")
        outputs: Tensor = self.encoder(images[:, 0])
        return outputs

    def scores(self, images: Tensor) -> Tensor:
        """Return the probability of each target, float64 (B, C): in float32 confident scores become ties at 1."""
        return torch.sigmoid(self.logits(images).double())

    def forward(self, images: Tensor, labels: Tensor, step: Step) -> Tensor:
        """Return the mean binary cross-entropy over the batch's known targets."""
        return masked_bce(self.logits(images), self._checked(labels))

    def validation_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of binary cross-entropies over known targets, and their count."""
        total, count = masked_bce_sum(self.logits(images), self._checked(labels))
        return total.double(), count

    def _checked(self, labels: Tensor) -> Tensor:
        if labels.shape[1] != self.outputs:
            raise TrainingError(
                f"the classifier has {self.outputs} outputs, but batches carry {labels.shape[1]} labels"
            )
        return labels
