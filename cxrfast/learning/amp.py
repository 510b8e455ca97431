"""Mixed precision: what runs in 16 bits, and where that is possible at all.

bfloat16 keeps float32's range and needs nothing else; float16 needs its loss scaled, and pays on CUDA alone.
"""

from typing import Literal

import torch

from cxrfast.errors import ConfigError

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_device(device: str | torch.device, precision: Precision) -> torch.device:
    """Return the device; raises ConfigError where it is not there or cannot compute in that precision."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r}: torch knows no such device; use cpu or cuda") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {found}: torch finds no CUDA GPU on this machine; set `device: cpu`")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {found}: this machine has {torch.cuda.device_count()} CUDA GPUs, counted from 0")
    if precision == "fp16" and found.type != "cuda":
        raise ConfigError(f"precision fp16 needs a CUDA GPU and the device is {found}; use bf16 or fp32")
    return found


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which forward passes run."""
    return torch.autocast(device.type, dtype=_DTYPES[precision], enabled=precision != "fp32")
