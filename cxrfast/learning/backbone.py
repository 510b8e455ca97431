"""Encoders that take gray bytes: normalisation is the model's first step, so that pixels travel as one byte each.

That costs some milliseconds a batch on the device and saves eleven twelfths of what three float channels would weigh
on every way before it. The normalised image is written straight into the layout of the network's own weights: a copy
from one layout to the other would take several times as long as the arithmetic.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import torch
import torchvision
from torch import Tensor, nn

from cxrfast import chance
from cxrfast.learning.weights import imagenet_state, load_body, read_state

Head = Literal["linear", "mlp"]
Start = str | Path | Mapping[str, Tensor]

# The statistics that every torchvision weight file was trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class GrayToRGB(nn.Module):
    """Make three ImageNet-normalised channels of one gray channel.

    uint8 (B, 1, S, S) in; (B, 3, S, S) out, in the dtype of autocast where it is on, else in the module's own.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        # Not persistent: a state dict keeps torchvision's names and nothing else.
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, images: Tensor, *, channels_last: bool = True) -> Tensor:
        """Return the normalised image in the layout asked for."""
        kind = images.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.scale.dtype
        if channels_last:
            pixels = images.permute(0, 2, 3, 1).to(self.scale.dtype)
            return torch.addcmul(self.shift, pixels, self.scale).to(dtype).permute(0, 3, 1, 2)
        scale, shift = self.scale.view(3, 1, 1), self.shift.view(3, 1, 1)
        return torch.addcmul(shift, images.to(self.scale.dtype), scale).to(dtype)


class Encoder(nn.Module):
    """A network behind the gray step: uint8 (B, 1, S, S) -> (B, outputs).

    `net` keeps its own parameter names, so that `net.state_dict()` loads in torchvision. Its last layer is `net.fc`.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.to_rgb = GrayToRGB()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """Encode a batch of gray images."""
        outputs: Tensor = self.net(self.to_rgb(images, channels_last=_is_channels_last(self.net)))
        return outputs


class MakeEncoder(Protocol):
    """What builds a method's encoder; `resnet18` is one, and a test may bring a smaller one."""

    def __call__(self, outputs: int, weights: Start, *, seed: int, head: Head = "linear") -> Encoder:
        """Return an encoder with a new last layer of that many outputs."""


def resnet18(outputs: int, weights: Start, *, seed: int, head: Head = "linear") -> Encoder:
    """Return a ResNet18 (He et al., Deep Residual Learning, 2015) with a new last layer of `outputs` units.

    `weights` is `imagenet`, `random`, a path (torchvision's state dict, or a checkpoint of ours) or a state dict.
    The last layer is always new; `head="mlp"` makes it Linear 512-512, ReLU, Linear 512-outputs, as MoCo v2 does.
    The same seed gives the same weights whatever the global generator's state, which is left as it was.
    Raises WeightsError where the weights cannot be had or do not fit.
    """
    with _seeded("backbone", seed):
        net = torchvision.models.resnet18(weights=None)
    if weights != "random":
        body, origin = _body(weights)
        load_body(net, body, origin=origin)
    with _seeded("last layer", seed):
        net.fc = new_head(net.fc.in_features, outputs, head)
    return Encoder(net)


def check_weights(weights: Start) -> None:
    """Raise WeightsError where weights cannot be had or do not fit, before anything else is begun with them."""
    resnet18(1, weights, seed=0)


def new_head(features: int, outputs: int, head: Head) -> nn.Module:
    """Return a last layer: linear, or the two-layer one of MoCo v2 (Chen et al. 2020, section 2)."""
    if head == "linear":
        return nn.Linear(features, outputs)
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(inplace=True), nn.Linear(features, outputs))


def _body(weights: Start) -> tuple[Mapping[str, Tensor], str]:
    if isinstance(weights, Mapping):
        return weights, "the given state"
    if weights == "imagenet":
        return imagenet_state(_download_resnet18, file_name="resnet18-f37072fd.pth"), "the ImageNet weights"
    return read_state(Path(weights)), str(weights)


def _download_resnet18() -> Mapping[str, Tensor]:
    kind = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    state: Mapping[str, Tensor] = kind.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return state


@contextmanager
def _seeded(purpose: str, seed: int) -> Iterator[None]:
    """Draw from a generator of one's own within the block; the global one is put back after it."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(int(chance.counter_hash("weights", purpose, seed)))
        yield


def _is_channels_last(net: nn.Module) -> bool:
    kernels = (p for p in net.parameters() if p.dim() == 4)
    first = next(kernels, None)
    return first is not None and not first.is_contiguous() and first.is_contiguous(memory_format=torch.channels_last)
