"""Where starting weights come from, and whether they fit.

A run that silently starts from noise instead of ImageNet looks like any other until its figures are compared. So
whatever is missing, unexpected or of another shape is an error here; the last layer alone may differ, since it is new.
"""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cxrfast.errors import WeightsError

LAST_LAYER = "fc."


def imagenet_state(download: Callable[[], Mapping[str, Tensor]], *, file_name: str) -> Mapping[str, Tensor]:
    """Return the state that torchvision downloads or has cached, or say how to bring the file along."""
    try:
        return download()
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"the ImageNet weights could not be had through torchvision ({type(error).__name__}: {error}). "
            f"On a machine with a network, "
            f"`torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url` says where {file_name} lies; copy it here and "
            f"set `weights: /path/to/{file_name}`; or set `weights: random` to start from noise on purpose"
        ) from error


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the encoder's state in a file: a torchvision-style state dict, or a checkpoint of ours.

    Raises WeightsError where the file is absent, is no such thing, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise WeightsError(f"weights {path}: no such file; give `imagenet`, `random` or the path of a state dict")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"weights {path}: not a state dict that loads safely ({type(error).__name__}); "
            "save it as torch.save(model.state_dict(), path)"
        ) from error
    state = _encoder_part(found)
    if not state:
        raise WeightsError(f"weights {path}: holds no state dict of tensors, nor a checkpoint of cxrfast")
    return state


def load_body(net: nn.Module, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Copy all but the last layer into `net`; raises WeightsError naming what is missing, unexpected or misshaped."""
    own = {name: value for name, value in net.state_dict().items() if not name.startswith(LAST_LAYER)}
    body = {name: value for name, value in state.items() if not name.startswith(LAST_LAYER)}
    # Files written before torch 0.4.1 lack these counters, which only count when BatchNorm has no momentum.
    missing = [name for name in own if name not in body and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in body if name not in own]
    shapes = [
        f"{name} is {tuple(body[name].shape)} and should be {tuple(own[name].shape)}"
        for name in own
        if name in body and body[name].shape != own[name].shape
    ]
    faults = _listed("missing", missing) + _listed("unexpected", unexpected) + _listed("of another shape", shapes)
    if faults:
        raise WeightsError(f"weights {origin} do not fit {type(net).__name__}: {'; '.join(faults)}")
    net.load_state_dict(body, strict=False)


def _encoder_part(found: object) -> dict[str, Tensor]:
    if not isinstance(found, Mapping):
        return {}
    prefix = found.get("encoder_prefix", "")
    state = found.get("model", found)
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        return {}
    if not all(isinstance(value, Tensor) for value in state.values()):
        return {}
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return [f"{what}: {', '.join(names[:4])}{more}"]
