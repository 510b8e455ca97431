"""Decode and warp with OpenCV on threads, straight into the batch's memory.

OpenCV leaves the GIL in every call, so plain threads use all CPUs and no image is ever copied between processes. Each
image is decoded once and resampled once for each of its views. OpenCV 5 keeps within 0.51 gray levels of float64
bilinear sampling; 4.x, which rounds coordinates to 1/32 pixel, is up to 8 off.

The number of OpenCV's own threads is one setting for the whole process and is left alone. Outputs up to 256 x 256 never
use them; for larger ones call `cv2.setNumThreads(1)` in a program that wants `Reading.threads` to be the whole of it.
"""

from concurrent.futures import Future
from time import perf_counter

import cv2
import numpy as np
import torch

from cxrfast.errors import DamagedSample
from cxrfast.loading.cache import PixelCache
from cxrfast.loading.counters import Counters
from cxrfast.loading.damage import Substitutes
from cxrfast.loading.decode import Gray, decode_sample
from cxrfast.loading.pool import ThreadPool
from cxrfast.loading.render import Payloads
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step
from cxrfast.loading.views import Floats

_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


class OpenCVRenderer:
    """Renders parts of batches on threads of its own until closed."""

    whole = False

    def __init__(
        self,
        samples: Samples,
        *,
        threads: int,
        counters: Counters,
        substitutes: Substitutes,
        cache: PixelCache | None = None,
    ) -> None:
        """`substitutes` says what becomes of a damaged sample; `cache` is offered what was decoded."""
        self._samples = samples
        self._counters = counters
        self._substitutes = substitutes
        self._cache = cache
        self._pool = ThreadPool(threads, name="cxrfast-render")

    def submit(self, step: Step, payloads: Payloads, images: torch.Tensor | None) -> Future[torch.Tensor]:
        """Render n images, once their payloads are there, into images, uint8 (n, V, 1, S, S) in host memory.

        The future raises DamagedSample for a sample without pixels that nothing may replace.
        """
        if images is None:
            raise ValueError("the OpenCV renderer needs memory to render into")
        return self._pool.submit(self._render, step, payloads, images)

    def close(self) -> None:
        """Drop what was not begun and wait for what was."""
        self._pool.close()

    def _render(self, step: Step, payloads: Payloads, images: torch.Tensor) -> torch.Tensor:
        inverse, out = _inverse(step.maps), images.numpy()[:, :, 0]
        rows, halvings = step.rows.tolist(), step.halvings.tolist()
        decoding = warping = 0.0
        for index, payload in enumerate(payloads.result()):
            started = perf_counter()
            try:
                image = decode_sample(self._samples, rows[index], payload)
            except DamagedSample as error:
                payload = self._substitutes.take_place(step, index, error)
                rows[index], halvings[index] = int(step.rows[index]), step.halvings[index].tolist()
                inverse[index] = _inverse(step.maps[index])
                image = decode_sample(self._samples, rows[index], payload)
            if self._cache is not None:
                self._cache.offer(rows[index], image)
            decoded = perf_counter()
            _warp_views(image, halvings[index], inverse[index], out[index])
            decoding += decoded - started
            warping += perf_counter() - decoded
        self._counters.add(seconds_decoding=decoding, seconds_warping=warping)
        return images


def halved(image: Gray) -> Gray:
    """Return 2x2 means, rounded half up: uint8 (ceil(h / 2), ceil(w / 2)); an odd last row or column is repeated."""
    height, width = image.shape
    if height % 2 or width % 2:
        image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), dtype=np.uint8)
    # By exactly 2, INTER_AREA is (a + b + c + d + 2) >> 2.
    size = (-(-width // 2), -(-height // 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _warp_views(image: Gray, halvings: list[int], inverse: Floats, out: Gray) -> None:
    """Resample one image into out (V, S, S) by inverse maps (V, 2, 3)."""
    sizes = [image]
    for count, back, target in zip(halvings, inverse, out, strict=True):
        while len(sizes) <= count:
            sizes.append(halved(sizes[-1]))
        cv2.warpAffine(sizes[count], back, target.shape, dst=target, flags=_FLAGS, hint=cv2.ALGO_HINT_ACCURATE)


def _inverse(maps: Floats) -> Floats:
    """Return the maps from output to source pixels with OpenCV's centres at whole numbers: (..., 2, 3) of the same.

    With corner-based (x', y') = A (x, y) + b and centres half a pixel in: x = A^-1 (x' + 1/2 - b) - 1/2. Written out,
    since `linalg.inv` of a few matrices costs more than a warp.
    """
    a, b, c, d = maps[..., 0, 0], maps[..., 0, 1], maps[..., 1, 0], maps[..., 1, 1]
    x, y = 0.5 - maps[..., 0, 2], 0.5 - maps[..., 1, 2]
    scale = 1 / (a * d - b * c)
    out = np.empty_like(maps)
    out[..., 0, 0], out[..., 0, 1], out[..., 0, 2] = d * scale, -b * scale, (d * x - b * y) * scale - 0.5
    out[..., 1, 0], out[..., 1, 1], out[..., 1, 2] = -c * scale, a * scale, (a * y - c * x) * scale - 0.5
    return out
