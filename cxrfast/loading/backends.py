"""Which renderer makes a loader's views, and on which device: settled when a loader is made, opened for each epoch.

Nothing in a batch depends on it but the last gray level, so a state may go on with another one.
"""

from collections.abc import Sequence
from typing import Literal

import torch

from cxrfast.errors import LoaderError
from cxrfast.loading.cache import PixelCache
from cxrfast.loading.counters import Counters
from cxrfast.loading.damage import Substitutes
from cxrfast.loading.render import Renderer
from cxrfast.loading.render_dali import DaliRenderer, installed, require
from cxrfast.loading.render_opencv import OpenCVRenderer
from cxrfast.loading.samples import Samples
from cxrfast.loading.views import ViewSpec, most_halvings

Backend = Literal["opencv", "dali"]


def find_device(device: str | torch.device) -> torch.device:
    """Return the device of a name; raises LoaderError where there is none such here."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise LoaderError(f"device={device!r} is not a device: 'cpu', 'cuda' or 'cuda:1'") from error
    if found.type not in ("cpu", "cuda"):
        raise LoaderError(f"device={device!r} is not supported: 'cpu' or 'cuda'")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise LoaderError(f"device={device!r}, but torch sees no CUDA device here: use device='cpu'")
    return found


def find_backend(name: str, device: torch.device) -> Backend:
    """Return the backend of a name; "auto" is DALI on CUDA where it is installed. Raises LoaderError."""
    if name == "auto":
        return "dali" if device.type == "cuda" and installed() else "opencv"
    if name == "dali":
        require()
        return "dali"
    if name == "opencv":
        return "opencv"
    raise LoaderError(f"backend={name!r} is not a backend: 'auto', 'opencv' or 'dali'")


def open_renderer(
    backend: Backend,
    samples: Samples,
    *,
    views: Sequence[ViewSpec],
    size: int,
    threads: int,
    device: torch.device,
    counters: Counters,
    substitutes: Substitutes,
    cache: PixelCache | None,
) -> Renderer:
    """Return a renderer of one epoch, to be closed."""
    if backend == "opencv":
        return OpenCVRenderer(samples, threads=threads, counters=counters, substitutes=substitutes, cache=cache)
    halvings = (most_halvings(spec, widths=samples.width, heights=samples.height, size=size) for spec in views)
    return DaliRenderer(
        samples,
        num_views=len(views),
        size=size,
        threads=threads,
        device=device,
        most_halvings=max(halvings),
        pixels=cache is not None or samples.holds_arrays(),
        counters=counters,
        substitutes=substitutes,
        cache=cache,
    )
