"""The ceilings: the least code that reads, decodes, warps or copies what a loader does, on as many threads.

No order, no checksums, no queue, no reading where decoding is measured: payloads lie in memory, matrices are known,
output goes to memory that exists already. Decoder, halving and warp flags are the loader's, so that nobody does less
work than the other. What such a loop reaches is what the machine gives; how near a loader comes is what the loader is.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter
from types import TracebackType

import cv2
import numpy as np
import torch

from cxrfast.bench.work import LONGEST, Gray, Work, halved
from cxrfast.loading.decode import decode

_CHUNK = 16
_DECODE = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
_WARP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


class Bare:
    """Bare loops over a round of work on threads of its own, to be closed; each returns the seconds that it took."""

    def __init__(self, work: Work, *, threads: int, batch_size: int, device: torch.device) -> None:
        self.work = work
        self._batch_size = batch_size
        self._device = device
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="cxrfast-bare")
        self._local = threading.local()
        self._out = np.zeros((batch_size, work.views, work.size, work.size), dtype=np.uint8)
        host = torch.from_numpy(self._out)
        self._host = host.pin_memory() if device.type == "cuda" else host
        self._copies = torch.empty_like(host, device=device)

    def __enter__(self) -> "Bare":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def read(self) -> float:
        """Read every payload's bytes once, front to back."""
        started = perf_counter()
        with ExitStack() as stack:
            descriptors = []
            for path in self.work.files:
                descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                stack.callback(os.close, descriptors[-1])
            list(self._pool.map(lambda extent: self._pread(descriptors[extent[0]], *extent[1:]), self.work.extents))
        return perf_counter() - started

    def decode(self) -> float:
        """Decode every image."""
        payloads = self.work.payloads
        return self._over(lambda index: cv2.imdecode(payloads[index % len(payloads)], _DECODE))

    def warp(self) -> float:
        """Draw all views of every image, whose pixels are there."""
        pixels = self.work.pixels
        return self._over(lambda index: self._warp(pixels[index % len(pixels)], index % len(pixels), index))

    def decode_and_warp(self) -> float:
        """Decode every image and draw all its views; where pixels are stored raw there is nothing to decode."""
        payloads = self.work.payloads
        if self.work.raw:
            return self.warp()

        def both(index: int) -> None:
            number = index % len(payloads)
            image = cv2.imdecode(payloads[number], _DECODE)
            if image is None:  # stored raw, in a set that holds both
                image = decode(payloads[number].data)
            self._warp(np.asarray(image, dtype=np.uint8), number, index)

        return self._over(both)

    def copy(self) -> float:
        """Copy every batch of views to the device, one after the other."""
        started = perf_counter()
        for start in range(0, self.work.images, self._batch_size):
            count = min(self._batch_size, self.work.images - start)
            self._copies[:count].copy_(self._host[:count], non_blocking=True)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return perf_counter() - started

    def _over(self, do: Callable[[int], object]) -> float:
        images = self.work.images

        def chunk(start: int) -> None:
            for index in range(start, min(start + _CHUNK, images)):
                do(index)

        started = perf_counter()
        list(self._pool.map(chunk, range(0, images, _CHUNK)))
        return perf_counter() - started

    def _warp(self, image: Gray, number: int, index: int) -> None:
        sizes, out = [image], self._out[index % self._batch_size]
        inverse = self.work.inverse[number]
        for view, count in enumerate(self.work.halvings[number]):
            while len(sizes) <= count:
                sizes.append(halved(sizes[-1]))
            target = out[view]
            cv2.warpAffine(
                sizes[count], inverse[view], target.shape, dst=target, flags=_WARP, hint=cv2.ALGO_HINT_ACCURATE
            )

    def _pread(self, descriptor: int, start: int, stop: int) -> None:
        if not hasattr(self._local, "buffer"):
            self._local.buffer = memoryview(bytearray(LONGEST))
        if stop - start > len(self._local.buffer):  # one payload longer than any read
            self._local.buffer = memoryview(bytearray(stop - start))
        while start < stop:
            got = os.preadv(descriptor, [self._local.buffer[: stop - start]], start)
            if not got:
                return
            start += got
