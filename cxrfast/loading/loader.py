"""Batches of views from packed shards, the same on any number of ranks and threads, resumable at any batch.

A loader trades generality for that: what a batch holds is fixed by set, views, size, order, batch size, last and seed
alone (see `order` and `views`), so going on at batch b of epoch e needs no replay and no saved generators. Threads and
read ahead only decide how fast it comes; so do device and backend, but for how pixels are rounded and, where a GPU
decodes JPEG, a few gray levels of its decoder's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from cxrfast.errors import LoaderError
from cxrfast.loading import state as states
from cxrfast.loading.canvas import Canvases
from cxrfast.loading.counters import Counters
from cxrfast.loading.order import Block, Last, Order, Sequential, check_sizes, epoch_order
from cxrfast.loading.pipeline import Pipeline
from cxrfast.loading.ranks import Ranks
from cxrfast.loading.read import Reader, Reading
from cxrfast.loading.render_dali import DaliRenderer, installed, require
from cxrfast.loading.render_opencv import OpenCVRenderer
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step, steps
from cxrfast.loading.views import ViewSpec, most_halvings

if TYPE_CHECKING:
    from cxrfast.shardset.shardset import ShardSet


@dataclass(frozen=True, eq=False)
class Batch:
    """A rank's part of one global batch: B images in V views. The tensors belong to whoever receives them."""

    images: torch.Tensor
    """uint8 (B, V, 1, S, S)."""
    labels: torch.Tensor
    """float32 (B, C); NaN where unknown."""
    index: torch.Tensor
    """int64 (B,): rows of the loader's set."""


class Loader:
    """Streams epochs of a shard set.

    `batch_size` is that of the global batch, over all ranks. `last="drop"`, the default for orders that shuffle,
    leaves out `len(set) % batch_size` samples, others in each epoch; `last="keep"`, the default for `Sequential`, hands
    out each sample exactly once over all ranks: a rank's last batch may be smaller or empty, and all ranks see equally
    many. A sample's view depends on (seed, epoch, key, number of the view) alone.

    Threads live only while an epoch is being iterated: leaving the loop, an exception or Ctrl-C ends them. One epoch at
    a time: beginning another ends the one before.

    `backend`: "opencv" renders on the CPU, and for a CUDA device into pinned memory that is copied over; "dali" renders
    on the device, and on a CUDA device hands out memory of DALI's own; "auto" is "dali" on CUDA where it is installed.

    Raises LoaderError where sizes, ranks, device or backend do not fit.
    """

    def __init__(
        self,
        set: "ShardSet",
        *,
        views: Sequence[ViewSpec],
        size: int,
        batch_size: int,
        seed: int,
        last: Last | None = None,
        order: Order | None = None,
        reading: Reading | None = None,
        ranks: Ranks | None = None,
        device: str | torch.device = "cpu",
        backend: Literal["auto", "opencv", "dali"] = "auto",
    ) -> None:
        self.set = set
        self._views = tuple(views)
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._order: Order = Block() if order is None else order
        self._last: Last = last or ("keep" if isinstance(self._order, Sequential) else "drop")
        self._reading = Reading() if reading is None else reading
        self._ranks = Ranks() if ranks is None else ranks
        self._device = _checked_device(device)
        self._check(backend)
        self._dali = backend == "dali" or (backend == "auto" and self._device.type == "cuda" and installed())
        self._lanes = self._ranks.share(self._order.lanes)
        self._samples = Samples(set)
        self._layout = self._samples.layout()
        self._labels = np.ascontiguousarray(set.labels, dtype=np.float32)
        self._counters = Counters()
        self._pipeline: Pipeline | None = None
        self._position = (0, 0)
        self._closed = False

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has: the same on every rank."""
        full, rest = divmod(len(self._samples), self._batch_size)
        return full + (rest > 0 and self._last == "keep")

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Iterate over this rank's part of each global batch of an epoch, from batch `start` on.

        Raises LoaderError for a start that the epoch does not have, and, while iterating, DamagedSample for a sample
        that cannot be read or decoded.
        """
        if self._closed:
            raise LoaderError("this loader is closed: make another")
        if not 0 <= start <= self.batches_per_epoch:
            raise LoaderError(f"start={start} is not in epoch {epoch}, which has {self.batches_per_epoch} batches")
        return self._iterate(epoch, start)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that decides what the batches hold."""
        return states.fingerprint(self._parts)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is: epoch, batches of it handed out, and what these belong to. Plain values only."""
        epoch, batches = self._position
        return {
            "version": states.VERSION,
            "epoch": epoch,
            "batches": batches,
            "fingerprint": self.fingerprint,
            "parts": self._parts,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved position; `epoch(state["epoch"], start=state["batches"])` then goes on from it.

        Raises StateMismatch where the state is of other data or settings. Another number of ranks is fine.
        """
        states.check_state(state, self._parts)
        self._position = (int(state["epoch"]), int(state["batches"]))

    def report(self) -> dict[str, float]:
        """Return counts and seconds since the loader was made; seconds of several threads add up."""
        return self._counters.report()

    def close(self) -> None:
        """End the epoch that is being iterated, if any, and all threads; doing it again does nothing."""
        self._closed = True
        if self._pipeline is not None:
            self._pipeline.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _parts(self) -> dict[str, Any]:
        return {
            "samples": len(self._samples),
            "data": self.set.fingerprint(),
            "layout": self._layout.digest(),
            "targets": list(self.set.targets),
            "views": [states.described(spec) for spec in self._views],
            "size": self._size,
            "order": states.described(self._order),
            "batch_size": self._batch_size,
            "last": self._last,
            "seed": self._seed,
        }

    def _check(self, backend: str) -> None:
        if backend not in ("auto", "opencv", "dali"):
            raise LoaderError(f"backend={backend!r} is not a backend: 'auto', 'opencv' or 'dali'")
        if backend == "dali":
            require()
        if not self._views:
            raise LoaderError("views is empty: name at least one, such as [ViewSpec.plain()]")
        if self._size < 1:
            raise LoaderError(f"size={self._size} pixels: a view is at least 1 pixel wide")
        check_sizes(len(self.set), batch_size=self._batch_size, lanes=self._order.lanes, last=self._last)

    def _iterate(self, epoch: int, start: int) -> Iterator[Batch]:
        if self._pipeline is not None:
            self._pipeline.close()
        pipeline = self._pipeline = self._open(epoch, start)
        self._position = (epoch, start)
        try:
            rendered = iter(pipeline)
            while True:
                with self._counters.timed("seconds_waiting"):
                    found = next(rendered, None)
                if found is None:
                    return
                batch = self._batch(*found)
                self._position = (epoch, self._position[1] + 1)
                yield batch
        finally:
            pipeline.close()

    def _open(self, epoch: int, start: int) -> Pipeline:
        threads = self._reading.threads or self._ranks.cpus()
        order = epoch_order(
            self._order, self._layout, batch_size=self._batch_size, last=self._last, seed=self._seed, epoch=epoch
        )
        shape = (len(self._views), 1, self._size, self._size)
        batches = (order.batch(number, self._lanes) for number in range(start, order.batches))
        return Pipeline(
            steps(batches, self._samples, views=self._views, size=self._size, seed=self._seed, epoch=epoch),
            self._samples,
            reader=Reader(self._samples, threads=threads, counters=self._counters),
            renderer=self._renderer(threads),
            canvas=Canvases(shape, pinned=self._device.type == "cuda").take,
            ahead=int(self._reading.ahead),
            threads=threads,
        )

    def _renderer(self, threads: int) -> OpenCVRenderer | DaliRenderer:
        samples = self._samples
        if not self._dali:
            return OpenCVRenderer(samples, threads=threads, counters=self._counters)
        halvings = (
            most_halvings(spec, widths=samples.width, heights=samples.height, size=self._size) for spec in self._views
        )
        return DaliRenderer(
            samples,
            num_views=len(self._views),
            size=self._size,
            threads=threads,
            device=self._device,
            most_halvings=max(halvings),
            pixels=samples.holds_arrays(),
            counters=self._counters,
        )

    def _batch(self, step: Step, images: torch.Tensor) -> Batch:
        self._counters.add(batches=1, images=len(step.rows))
        labels, index = torch.from_numpy(self._labels[step.rows]), torch.from_numpy(step.rows.copy())
        if self._device.type == "cpu":
            return Batch(images, labels, index)
        # From pinned memory a copy runs beside the host; the allocator keeps that memory until the stream is past it.
        to: Callable[[torch.Tensor], torch.Tensor] = partial(_to_device, device=self._device)
        return Batch(to(images), to(labels), to(index))


def _to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if tensor.is_cuda:
        return tensor  # it was made there
    return tensor.pin_memory().to(device, non_blocking=True)


def _checked_device(device: str | torch.device) -> torch.device:
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise LoaderError(f"device={device!r} is not a device: 'cpu', 'cuda' or 'cuda:1'") from error
    if found.type not in ("cpu", "cuda"):
        raise LoaderError(f"device={device!r} is not supported: 'cpu' or 'cuda'")
    if found.type == "cuda" and not torch.cuda.is_available():
        raise LoaderError(f"device={device!r}, but torch sees no CUDA device here: use device='cpu'")
    return found
