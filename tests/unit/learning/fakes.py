"""Small stand-ins for the tests of learning: a feed of synthetic images, and an encoder of two convolutions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxrfast import chance
from cxrfast.errors import StateMismatch
from cxrfast.learning.backbone import Encoder, Head, Start, new_head
from cxrfast.learning.weights import load_body


@dataclass
class FakeBatch:
    images: Tensor
    labels: Tensor
    index: Tensor


@dataclass
class FakeFeed:
    """Images whose left or right half is bright by label; order and views are pure functions of the epoch."""

    size: int = 48
    batch: int = 8
    views: int = 1
    side: int = 16
    classes: int = 2
    seed: int = 0
    keep: bool = False
    asked: list[tuple[int, int]] = field(default_factory=list)
    labels: Tensor = field(init=False)

    def __post_init__(self) -> None:
        rows = np.arange(self.size, dtype=np.uint64)
        draws = [chance.uniform("label", self.seed, c, rows) < 0.5 for c in range(self.classes)]
        self.labels = torch.tensor(np.stack(draws, axis=1), dtype=torch.float32)
        pixels = np.arange(self.side**2, dtype=np.uint64)
        noise = chance.integers(120, "noise", self.seed, rows[:, None], pixels[None]).astype(np.uint8)
        images = noise.reshape(self.size, self.side, self.side)
        for c in range(self.classes):
            band = slice(c * self.side // self.classes, (c + 1) * self.side // self.classes)
            images[:, :, band] += (100 * self.labels[:, c].numpy().astype(np.uint8))[:, None, None]
        self._images = torch.tensor(images)

    @property
    def batches_per_epoch(self) -> int:
        return -(-self.size // self.batch) if self.keep else self.size // self.batch

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[FakeBatch]:
        self.asked.append((epoch, start))
        order = torch.tensor(chance.permutation(self.size, "order", self.seed, epoch))
        for b in range(start, self.batches_per_epoch):
            index = order[b * self.batch : (b + 1) * self.batch]
            views = [self._images[index].roll(epoch % 3 + v, dims=1) for v in range(self.views)]
            yield FakeBatch(torch.stack(views, dim=1).unsqueeze(2), self.labels[index], index)

    def state_dict(self) -> dict[str, Any]:
        return {"version": 1, "size": self.size, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state != self.state_dict():
            raise StateMismatch(f"saved for {state}, this is {self.state_dict()}")


class TinyNet(nn.Module):
    def __init__(self, outputs: int, head: Head) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, stride=2, bias=False), nn.BatchNorm2d(16)
        self.fc = new_head(16, outputs, head)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(x.mean(dim=(2, 3)))


def tiny(outputs: int, weights: Start, *, seed: int, head: Head = "linear") -> Encoder:
    """Build an encoder, as `MakeEncoder` does, of some two thousand parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net = TinyNet(outputs, head)
    if isinstance(weights, Mapping):
        load_body(net, weights, origin="the given state")
    return Encoder(net)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Copy every parameter and every buffer, also of those that a state dict leaves out."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: value.detach().clone() for name, value in named}


def same_bits(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
