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

from cxrfast.loading.counters import Counters
from cxrfast.loading.decode import Gray, UndecodableError, decode
from cxrfast.loading.pool import ThreadPool
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step
from cxrfast.loading.views import Floats

_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


class OpenCVRenderer:
    """Renders parts of batches on threads of its own until closed."""

    whole = False

    def __init__(self, samples: Samples, *, threads: int, counters: Counters) -> None:
        self._samples = samples
        self._counters = counters
        self._pool = ThreadPool(threads, name="cxrfast-render")

    def submit(self, step: Step, payloads: Future[list[memoryview]], images: torch.Tensor) -> Future[None]:
        """Render n images, once their payloads are there, into images, uint8 (n, V, 1, S, S) in host memory.

        The future raises DamagedSample for a payload that does not decode or is not of the size the manifest gives.
        """
        return self._pool.submit(self._render, step, payloads, images.numpy())

    def close(self) -> None:
        """Drop what was not begun and wait for what was."""
        self._pool.close()

    def _render(self, step: Step, payloads: Future[list[memoryview]], images: Gray) -> None:
        inverse = _inverse(step.maps)
        blobs = payloads.result()
        decoding = warping = 0.0
        for index, blob in enumerate(blobs):
            started = perf_counter()
            image = self._decoded(int(step.rows[index]), blob)
            decoded = perf_counter()
            _warp_views(image, step.halvings[index].tolist(), inverse[index], images[index])
            decoding += decoded - started
            warping += perf_counter() - decoded
        self._counters.add(seconds_decoding=decoding, seconds_warping=warping)

    def _decoded(self, row: int, blob: memoryview) -> Gray:
        try:
            image = decode(blob)
        except UndecodableError as error:
            raise self._samples.damaged(row, f"{error}: pack again") from error
        height, width = self._samples.height[row], self._samples.width[row]
        if image.shape != (height, width):
            raise self._samples.damaged(
                row,
                f"it is {image.shape[1]} x {image.shape[0]} pixels, the manifest says {width} x {height}: pack again",
            )
        return image


def halved(image: Gray) -> Gray:
    """Return 2x2 means, rounded half up: uint8 (ceil(h / 2), ceil(w / 2)); an odd last row or column is repeated."""
    height, width = image.shape
    if height % 2 or width % 2:
        image = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), dtype=np.uint8)
    # By exactly 2, INTER_AREA is (a + b + c + d + 2) >> 2.
    size = (-(-width // 2), -(-height // 2))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _warp_views(image: Gray, halvings: list[int], inverse: Floats, out: Gray) -> None:
    """Resample one image into out (V, 1, S, S) by inverse maps (V, 2, 3)."""
    sizes = [image]
    for view, count in enumerate(halvings):
        while len(sizes) <= count:
            sizes.append(halved(sizes[-1]))
        target = out[view, 0]
        cv2.warpAffine(sizes[count], inverse[view], target.shape, dst=target, flags=_FLAGS, hint=cv2.ALGO_HINT_ACCURATE)


def _inverse(maps: Floats) -> Floats:
    """Return the maps from output to source pixels with OpenCV's centres at whole numbers: (n, V, 2, 3) of the same.

    With corner-based (x', y') = A (x, y) + b and centres half a pixel in: x = A^-1 (x' + 1/2 - b) - 1/2.
    """
    linear = np.linalg.inv(maps[..., :2])
    offset = np.einsum("...ij,...j->...i", linear, 0.5 - maps[..., 2]) - 0.5
    return np.concatenate([linear, offset[..., None]], axis=-1)
