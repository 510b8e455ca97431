"""Decode, halve and warp with NVIDIA DALI: whole batches in one graph, on a GPU from the JPEG on, or on the CPU.

On a GPU nothing but stored bytes crosses the bus and no CPU is left with decoding, for the price of a JPEG decoder
that differs by a few gray levels from the CPU's. On the CPU it gives the OpenCV renderer's pixels within rounding, far
more slowly: that form is for checking the graph where there is no GPU.

A graph that met a damaged image is never used again: the image is named, and the next batch gets a new graph. Images
that come as stored bytes are decoded by DALI; a set that holds plain arrays, and whoever keeps decoded pixels, uses the
form that is fed pixels (`pixels=True`), for all images alike, so that no image depends on its neighbours.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from itertools import cycle, repeat
from time import perf_counter
from typing import Any

import numpy as np
import torch

from cxrfast.errors import DamagedSample, LoaderError
from cxrfast.loading.cache import PixelCache
from cxrfast.loading.counters import Counters
from cxrfast.loading.dali_graph import build, strips
from cxrfast.loading.dali_inputs import damaged, geometry
from cxrfast.loading.damage import Substitutes
from cxrfast.loading.decode import Gray, decode_sample
from cxrfast.loading.pool import ThreadPool
from cxrfast.loading.render import Payload, Payloads
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step

LANES = {"cpu": 1, "cuda": 2}
"""Graphs that a renderer takes in turns: on a GPU one is fed and decodes headers while the other one computes."""
_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, MemoryError)
"""What DALI's own exceptions become in Python."""


def installed() -> bool:
    """Return whether DALI can be imported."""
    try:
        _dali()
    except ImportError:
        return False
    return True


def _dali() -> Any:  # noqa: ANN401
    import nvidia.dali.fn
    import nvidia.dali.types

    return nvidia.dali


def require() -> None:
    """Raise LoaderError with the remedy where DALI cannot be imported."""
    if not installed():
        toolkit = "120" if (torch.version.cuda or "").startswith("12.") else "130"
        raise LoaderError(
            f"backend='dali' needs NVIDIA DALI, which is not installed (it exists for Linux alone): "
            f"pip install 'nvidia-dali-cuda{toolkit}>=2.4', or use backend='opencv'"
        )


class DaliRenderer:
    """Renders whole batches, a few in turns, into tensors of DALI's own until closed."""

    whole = True

    def __init__(
        self,
        samples: Samples,
        *,
        num_views: int,
        size: int,
        threads: int,
        device: torch.device,
        most_halvings: int,
        pixels: bool,
        counters: Counters,
        substitutes: Substitutes,
        cache: PixelCache | None = None,
    ) -> None:
        """`most_halvings` is the most that any step will ask for; more is met by another graph, which takes time.

        With `pixels`, payloads may be pixels and stored arrays, and what is stored as JPEG or PNG is decoded on as many
        `threads`; without, all of them are stored JPEGs or PNGs.

        Raises LoaderError where DALI is not installed.
        """
        require()
        number: int | None = device.index
        if device.type == "cuda" and number is None:
            device = torch.device("cuda", torch.cuda.current_device())
        self._shape = (num_views, 1, size, size)
        self._device = device
        self._decoders = ThreadPool(threads, name="cxrfast-decode") if pixels else None
        self._lanes = [
            _Lane(
                samples,
                num_views=num_views,
                size=size,
                threads=threads,
                device=device,
                most_halvings=most_halvings,
                decoders=self._decoders,
                counters=counters,
                substitutes=substitutes,
                cache=cache,
            )
            for _ in range(LANES[device.type])
        ]
        self._turns = cycle(self._lanes)

    def submit(self, step: Step, payloads: Payloads, images: torch.Tensor | None = None) -> Future[torch.Tensor]:
        """Render n images once their payloads are there: uint8 (n, V, 1, S, S) on the device, `images` being unused.

        The tensor shares DALI's memory, which is kept while the tensor lives and while work that was queued before its
        end is running. It is ready on that stream which is torch's current one where `result()` is called. The future
        raises DamagedSample for a payload that is one, does not decode or is not of the size the manifest gives, and
        LoaderError in DALI's words where it fails for any other reason.
        """
        if not len(step.rows):
            empty: Future[torch.Tensor] = Future()
            empty.set_result(torch.empty((0, *self._shape), dtype=torch.uint8, device=self._device))
            return empty
        rendering = _Rendering()
        next(self._turns).submit(step, payloads).add_done_callback(rendering.settle)
        return rendering

    def close(self) -> None:
        """Drop what was not begun, wait for what was, and end DALI's threads; doing it again does nothing."""
        for lane in self._lanes:
            lane.close()
        if self._decoders is not None:
            self._decoders.close()


class _Rendering(Future[torch.Tensor]):
    """A batch that DALI makes, and that becomes torch's where it is asked for: only there the stream is known."""

    def result(self, timeout: float | None = None) -> torch.Tensor:
        return torch.utils.dlpack.from_dlpack(super().result(timeout))

    def settle(self, made: Future[Any]) -> None:
        """Take over what became of the lane's work."""
        if made.cancelled():
            self.cancel()
        if not self.set_running_or_notify_cancel():
            return
        if (error := made.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(made.result())


class _Lane:
    """One graph at a time and the thread that feeds it."""

    def __init__(
        self,
        samples: Samples,
        *,
        num_views: int,
        size: int,
        threads: int,
        device: torch.device,
        most_halvings: int,
        decoders: ThreadPool | None,
        counters: Counters,
        substitutes: Substitutes,
        cache: PixelCache | None,
    ) -> None:
        self._samples = samples
        self._views = num_views
        self._size = size
        self._threads = threads
        self._device = device
        self._most = most_halvings
        self._decoders = decoders
        self._counters = counters
        self._substitutes = substitutes
        self._cache = cache
        self._capacity = 0
        self._graph: Any = None
        self._pool = ThreadPool(1, name="cxrfast-dali")

    def submit(self, step: Step, payloads: Payloads) -> Future[Any]:
        return self._pool.submit(self._render, step, payloads)

    def close(self) -> None:
        self._pool.close()
        self._graph = None

    def _render(self, step: Step, payloads: Payloads) -> Any:  # noqa: ANN401
        given = payloads.result()
        self._mend(step, given, [(i, found) for i, found in enumerate(given) if isinstance(found, DamagedSample)])
        while True:
            arrays = self._arrays(step, given)
            started = perf_counter()
            images, sizes, words = self._run(step, arrays)
            self._counters.add(seconds_rendering=perf_counter() - started)
            if images is not None and self._as_recorded(step, sizes):
                return images
            found = damaged(given, step.rows, self._samples)
            if not found:
                words = words or "images are not of the sizes that the manifest gives"
                raise LoaderError(f"DALI cannot render a batch of {len(step.rows)} images on {self._device}: {words}")
            self._mend(step, given, found)

    def _mend(self, step: Step, given: list[Payload], found: list[tuple[int, DamagedSample]]) -> None:
        """Let others take the places of damaged samples, where that is allowed; each is whole."""
        for index, error in found:
            given[index] = self._substitutes.take_place(step, index, error)

    def _as_recorded(self, step: Step, sizes: Sequence[Sequence[int]]) -> bool:
        recorded = np.stack([self._samples.height[step.rows], self._samples.width[step.rows]], axis=1)
        return bool(np.array_equal(recorded, sizes))

    def _arrays(self, step: Step, payloads: list[Payload]) -> list[Any]:
        """Return what the graph is fed: stored bytes (nbytes,), or pixels (h, w, 1)."""
        if self._decoders is None:
            return [np.frombuffer(payload, dtype=np.uint8) for payload in payloads]  # type: ignore[arg-type]
        with self._counters.timed("seconds_decoding"):
            decoded = list(self._decoders.map(self._pixels, range(len(payloads)), repeat(step), repeat(payloads)))
        return [image[..., None] for image in decoded]

    def _pixels(self, index: int, step: Step, payloads: list[Payload]) -> Gray:
        try:
            image = decode_sample(self._samples, int(step.rows[index]), payloads[index])
        except DamagedSample as error:
            self._mend(step, payloads, [(index, error)])
            image = decode_sample(self._samples, int(step.rows[index]), payloads[index])
        if self._cache is not None:
            self._cache.offer(int(step.rows[index]), image)
        return image

    def _run(self, step: Step, arrays: list[Any]) -> tuple[Any, list[list[int]], str]:
        """Return images and sizes [height, width]; or no images and what DALI said, its graph being gone."""
        self._fit(len(step.rows), int(step.halvings.max(initial=0)))
        starts = [start for start, _ in strips(self._size, device=self._device.type)]
        inputs = geometry(step, self._samples, most_halvings=self._most, starts=starts)
        try:
            self._graph = self._graph or self._built()
            images, sizes = self._graph.run(images=arrays, **inputs)
            return images.as_tensor(), np.asarray(sizes.as_tensor())[:, :2].tolist(), ""
        except _ERRORS as error:
            # The words alone are kept: a traceback would keep the graph, and with it DALI's threads.
            words = str(error)
        self._graph = None
        return None, [], _telling(words)

    def _fit(self, count: int, halvings: int) -> None:
        """End a graph that is too small, before its successor takes memory."""
        if count > self._capacity or halvings > self._most:
            self._graph = None
            self._capacity, self._most = max(count, self._capacity), max(halvings, self._most)

    def _built(self) -> Any:  # noqa: ANN401
        return build(
            _dali(),
            num_views=self._views,
            size=self._size,
            most_halvings=self._most,
            pixels=self._decoders is not None,
            batch_size=self._capacity,
            num_threads=self._threads,
            device=self._device,
        )


def _telling(words: str) -> str:
    """Return what DALI found, without where in our graph and without what follows from it."""
    lines = [line.strip() for line in words.splitlines()]
    found = next((number + 1 for number, line in enumerate(lines) if line.startswith("encountered")), 0)
    return " ".join(line for line in lines[found:] if line and not line.startswith("Current pipeline"))[:300]
