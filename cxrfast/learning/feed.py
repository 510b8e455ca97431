"""What training asks of its data, and no more: a loader, a list of tensors in a test, all that can repeat itself.

Resume rests on one promise: `epoch(e, start=b)` gives exactly what `epoch(e)` would have given after b batches.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor


class BatchLike(Protocol):
    """One batch, on any device."""

    @property
    def images(self) -> Tensor:
        """Views, uint8 (B, V, 1, S, S)."""

    @property
    def labels(self) -> Tensor:
        """Targets, float32 (B, C): 1, 0, or NaN where unknown."""

    @property
    def index(self) -> Tensor:
        """Rows of the set, int64 (B,)."""


class Feed(Protocol):
    """A set of images that can be gone through again and again, each epoch in an order and with views of its own."""

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has."""

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[BatchLike]:
        """Yield the batches of an epoch (from 0) from batch `start` on."""

    def state_dict(self) -> dict[str, Any]:
        """Return plain values that tell this data from other data."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a saved state; raises StateMismatch where it is of other data."""
