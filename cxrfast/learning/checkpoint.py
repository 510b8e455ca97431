"""Checkpoints: tensors and plain values alone, so that loading one can never run code.

A file appears under its name only once all of it is on disk, so a kill at any moment leaves the previous one whole.
Every file says what it is and in which version; another kind or version is refused in words.
"""

import zipfile
from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cxrfast.durable import whole_file
from cxrfast.errors import RunMismatch, TrainingError

VERSION = 1


def write_checkpoint(path: Path, content: Mapping[str, Any], *, kind: str) -> None:
    """Write a checkpoint under its final name, whole or not at all."""
    # By way of memory, since torch hides a full disk behind an error of its own.
    buffer = BytesIO()
    torch.save({"format": kind, "version": VERSION, "torch": str(torch.__version__), **content}, buffer)
    with whole_file(path) as file:
        file.write(buffer.getbuffer())


def read_checkpoint(path: Path, *, kind: str) -> dict[str, Any]:
    """Return a checkpoint's content on the CPU; raises TrainingError where it is damaged or of another kind."""
    found = _read(path)
    stated = (found.get("format"), found.get("version")) if isinstance(found, dict) else (None, None)
    if stated != (kind, VERSION):
        raise TrainingError(
            f"{path} is a checkpoint of format {stated[0]!r}, version {stated[1]!r}; expected {kind!r}, version "
            f"{VERSION}: use the cxrfast that wrote it, or remove the folder {path.parent} to train it anew"
        )
    return dict(found)


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever lies there
    try:
        with zipfile.ZipFile(path) as archive:
            # torch itself never looks at these checksums, and a flipped bit in a weight loads in silence.
            damaged = archive.testzip()
        if damaged is None:
            return torch.load(path, map_location="cpu", weights_only=True)
        reason = f"{damaged} in it fails its checksum"
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    raise TrainingError(
        f"{path} cannot be read as a checkpoint ({reason}); remove the folder {path.parent} to train it anew"
    )


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
