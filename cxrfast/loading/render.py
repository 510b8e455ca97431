"""What a backend that renders is to the pipeline, and what it is handed."""

from concurrent.futures import Future
from typing import Protocol

import torch

from cxrfast.errors import DamagedSample
from cxrfast.loading.decode import Gray
from cxrfast.loading.steps import Step

Payload = memoryview | Gray | DamagedSample
"""Stored bytes, pixels that were kept, or why there are none."""


class Payloads(Protocol):
    """The payloads of some images, which may still be on their way."""

    def result(self) -> list[Payload]:
        """Wait for them, and return them in the images' order."""


class Renderer(Protocol):
    """Makes views of images, on threads or on a device, until closed."""

    whole: bool
    """Takes whole batches and gives tensors of its own; else parts of batches, into memory that it is handed."""

    def submit(self, step: Step, payloads: Payloads, images: torch.Tensor | None) -> Future[torch.Tensor]:
        """Render n images once their payloads are there: uint8 (n, V, 1, S, S), in `images` unless `whole`.

        The future raises DamagedSample for a sample that has no pixels and that nothing may replace.
        """

    def close(self) -> None:
        """Drop what was not begun and wait for what was; doing it again does nothing."""
