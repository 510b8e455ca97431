"""Checkpoints: tensors and plain values alone, so that loading one can never run code.

A file appears under its name only once all of it is on disk, so a kill at any moment leaves the previous one whole.
Every file says what it is and in which version; another kind or version is refused in words.
"""

import pickle
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cxrfast.durable import whole_file
from cxrfast.errors import RunMismatch, TrainingError

VERSION = 1


def write_checkpoint(path: Path, content: Mapping[str, Any], *, kind: str) -> None:
    """Write a checkpoint under its final name, whole or not at all."""
    with whole_file(path) as file:
        torch.save({"format": kind, "version": VERSION, "torch": str(torch.__version__), **content}, file)


def read_checkpoint(path: Path, *, kind: str) -> dict[str, Any]:
    """Return a checkpoint's content on the CPU; raises TrainingError where it is none of that kind and version."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingError(f"{path} cannot be read as a checkpoint ({reason}); remove it to start over") from error
    stated = (found.get("format"), found.get("version")) if isinstance(found, dict) else (None, None)
    if stated != (kind, VERSION):
        raise TrainingError(
            f"{path} is a checkpoint of format {stated[0]!r}, version {stated[1]!r}; expected {kind!r}, version "
            f"{VERSION}: use the cxrfast that wrote it, or remove it to start over"
        )
    return dict(found)


def load_model(module: nn.Module, content: Mapping[str, Any], *, origin: Path) -> None:
    """Put a checkpoint's model into `module`; raises RunMismatch where it is a model of another make."""
    try:
        module.load_state_dict(content["model"])
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise RunMismatch(
            f"{origin} holds a {content.get('method')} that does not fit: {' '.join(lines)}; use another run folder"
        ) from error


def weights_digest(module: nn.Module) -> str:
    """Return a hash (32 hex digits) of a module's whole state, names and bits, so that equal starts can be told."""
    digest = sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def load_best(module: nn.Module, path: Path) -> dict[str, Any]:
    """Put the best weights of a fit into `module`, and return the file's other content (epoch, step, loss, ...)."""
    content = read_checkpoint(path, kind="cxrfast-model")
    load_model(module, content, origin=path)
    return {name: value for name, value in content.items() if name != "model"}
