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
        maps, out = _centred(step.maps), images.numpy()[:, :, 0]
        rows, halvings = step.rows.tolist(), step.halvings.tolist()
        decoding = warping = 0.0
        found = payloads.result()
        now = perf_counter()
        for index, payload in enumerate(found):
            started = now
            try:
                image = decode_sample(self._samples, rows[index], payload)
            except DamagedSample as error:
                payload = self._substitutes.take_place(step, index, error)
                rows[index], halvings[index] = int(step.rows[index]), step.halvings[index].tolist()
                maps[index] = _centred(step.maps[index])
                image = decode_sample(self._samples, rows[index], payload)
            if self._cache is not None:
                self._cache.offer(rows[index], image)
            decoded = perf_counter()
            _warp_views(image, halvings[index], maps[index], out[index])
            now = perf_counter()
            decoding += decoded - started
            warping += now - decoded
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


def _warp_views(image: Gray, halvings: list[int], maps: Floats, out: Gray) -> None:
    """Resample one image into out (V, S, S) by maps back (V, 2, 3)."""
    sizes, shape = [image], out.shape[1:]
    for view, count in enumerate(halvings):
        while len(sizes) <= count:
            sizes.append(halved(sizes[-1]))
        cv2.warpAffine(sizes[count], maps[view], shape, dst=out[view], flags=_FLAGS, hint=cv2.ALGO_HINT_ACCURATE)


def _centred(maps: Floats) -> Floats:
    """Return maps back, (..., 2, 3), between pixels whose centres are at whole numbers, as OpenCV has them.

    With corner-based x = A x' + b and centres half a pixel in: x = A (x' + 1/2) + b - 1/2.
    """
    moved = maps.copy()
    moved[..., 2] += 0.5 * (maps[..., 0] + maps[..., 1] - 1)
    return moved
