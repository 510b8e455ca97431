"""Batches of views from packed shards, the same on any number of ranks and threads, resumable at any batch.

A loader trades generality for that: what a batch holds is fixed by set, views, size, order, batch size, last and seed
alone (see `order` and `views`), so going on at batch b of epoch e needs no replay and no saved generators. Threads,
read ahead, device and backend only decide how fast it comes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from numbers import Integral
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from cxrfast.errors import LoaderError
from cxrfast.loading import state as states
from cxrfast.loading.backends import find_backend, find_device, open_renderer
from cxrfast.loading.buffers import Buffers
from cxrfast.loading.cache import PixelCache
from cxrfast.loading.canvas import Canvases
from cxrfast.loading.counters import Counters
from cxrfast.loading.damage import Budget, Substitutes
from cxrfast.loading.fetch import Fetcher
from cxrfast.loading.memory import parse_memory
from cxrfast.loading.order import (
    NOT_SEQUENTIAL,
    Block,
    EpochOrder,
    Global,
    Last,
    Order,
    Sequential,
    check_sizes,
    epoch_order,
)
from cxrfast.loading.pipeline import DEPTH, Pipeline, depth_of
from cxrfast.loading.ranks import Ranks
from cxrfast.loading.read import Reader
from cxrfast.loading.reading import Reading
from cxrfast.loading.render import Renderer
from cxrfast.loading.runs import Reads, reads_of, shards_of
from cxrfast.loading.samples import Samples
from cxrfast.loading.sampling import Sampling, expected_copies, times_drawn
from cxrfast.loading.steps import Drawing, Step
from cxrfast.loading.views import ViewSpec

_KINDS: dict[str, tuple[type, ...]] = {
    "order": (Block, Global, Sequential), "reading": (Reading,), "ranks": (Ranks,), "sampling": (Sampling,),
}  # fmt: skip
FETCH_THREADS = 4
"""How many remote shards are fetched at a time."""

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

    With `sampling` an epoch is as long as without, and an image comes as often in it as its weight says, each time in
    other views.

    Threads live only while an epoch is being iterated: leaving the loop, an exception or Ctrl-C ends them. One epoch at
    a time: beginning another ends the one before.

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
        sampling: Sampling | None = None,
        reading: Reading | None = None,
        ranks: Ranks | None = None,
        device: str | torch.device = "cpu",
        backend: Literal["auto", "opencv", "dali"] = "auto",
        cache: Literal["memory"] | None = None,
        cache_limit: str | int = "8GB",
    ) -> None:
        _check_types(set, views, order=order, reading=reading, ranks=ranks, sampling=sampling,
                     size=size, batch_size=batch_size, seed=seed)  # fmt: skip
        size, batch_size, seed = int(size), int(batch_size), int(seed)
        self.set = set
        self._views = tuple(views)
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._order: Order = Block() if order is None else order
        self._sampling = sampling
        self._last: Last = last or ("keep" if isinstance(self._order, Sequential) else "drop")
        self._reading = Reading() if reading is None else reading
        self._ranks = Ranks() if ranks is None else ranks
        self._device = find_device(device)
        self._backend = find_backend(backend, self._device)
        self._check()
        self._threads = self._reading.threads or self._ranks.cpus()
        self._lanes = self._ranks.share(self._order.lanes)
        self._samples = Samples(set)
        self._layout = self._samples.layout()
        self._expected = None if sampling is None else expected_copies(sampling.weights(set))
        self._labels = np.ascontiguousarray(set.labels, dtype=np.float32)
        self._counters = Counters()
        self._budget = Budget(self._reading, self._counters)
        self._cache = self._made_cache(cache, cache_limit)
        # Both outlive an epoch, so that a short one does not begin with page faults.
        shape = (len(self._views), 1, size, size)
        share = batch_size // self._ranks.world_size
        self._depth = DEPTH
        if self._backend == "opencv":
            nbytes = share * len(self._views) * size**2
            self._depth = depth_of(share, threads=self._threads, nbytes=nbytes)
        # Those on their way, the one that is handed out, and the one before, which the caller may still hold.
        self._canvases = Canvases(shape, pinned=self._device.type == "cuda", kept=self._depth + 3)
        self._buffers = Buffers()
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
        """Return counts and seconds since the loader was made; seconds of several threads add up.

        `cached` is how many images the pixel cache holds; `skipped` how often another took a damaged one's place.
        """
        return self._counters.report() | {"cached": 0 if self._cache is None else len(self._cache)}

    @property
    def damaged(self) -> tuple[str, ...]:
        """What is known of each damaged sample that was skipped since the loader was made."""
        return self._budget.damaged

    def close(self) -> None:
        """End the epoch that is being iterated, if any, and all threads; doing it again does nothing."""
        self._closed = True
        if self._pipeline is not None:
            self._pipeline.close()
        self._buffers.clear()
        self._canvases.clear()

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
            "sampling": None if self._sampling is None else states.described(self._sampling),
            "batch_size": self._batch_size,
            "last": self._last,
            "seed": self._seed,
        }

    def _check(self) -> None:
        if not self._views:
            raise LoaderError("views is empty: name at least one, such as [ViewSpec.plain()]")
        if self._size < 1:
            raise LoaderError(f"size={self._size} pixels: a view is at least 1 pixel wide")
        if self._sampling is not None and isinstance(self._order, Sequential):
            raise LoaderError(NOT_SEQUENTIAL)
        is_evaluation = self._last == "keep" or isinstance(self._order, Sequential)
        if self._reading.on_error == "skip" and is_evaluation:
            raise LoaderError(
                "on_error='skip' with last='keep' or order=Sequential(): an evaluation that misses samples is no "
                "evaluation; use on_error='raise' and mend what it names (`cxrfast-shard verify --decode` finds all)"
            )
        check_sizes(len(self.set), batch_size=self._batch_size, lanes=self._order.lanes, last=self._last)

    def _made_cache(self, cache: str | None, limit: str | int) -> PixelCache | None:
        if cache is None:
            return None
        if cache != "memory":
            raise LoaderError(f"cache={cache!r} is not a cache of this version: 'memory', or None")
        return PixelCache(len(self.set), limit=parse_memory(limit, name="cache_limit"))

    def _iterate(self, epoch: int, start: int) -> Iterator[Batch]:
        if self._closed:
            raise LoaderError("this loader is closed: make another")
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
        layout = self._layout
        if self._expected is not None:
            layout = layout.repeated(times_drawn(self._expected, seed=self._seed, epoch=epoch))
        order = epoch_order(
            self._order, layout, batch_size=self._batch_size, last=self._last, seed=self._seed, epoch=epoch
        )
        drawing = Drawing(self._samples, self._views, self._size, self._seed, epoch)
        reader = Reader(
            self._samples,
            gap=int(self._reading.gap),
            buffers=self._buffers,
            counters=self._counters,
            cache=self._cache,
        )
        substitutes = Substitutes(
            order, self._samples, drawing=drawing, read=reader.read_now, budget=self._budget, counters=self._counters
        )
        reads = reads_of(order, self._lanes, start)
        return Pipeline(
            order,
            reads,
            drawing.steps(order, self._lanes, start),
            self._samples,
            start=start,
            reader=reader,
            fetch=partial(self._fetcher, order, reads),
            renderer=self._renderer(substitutes),
            canvas=self._canvases.take,
            ahead=int(self._reading.ahead),
            depth=self._depth,
        )

    def _fetcher(self, order: EpochOrder, reads: Reads) -> Fetcher | None:
        if not self._samples.any_remote:
            return None
        share = int(self._reading.fetch_ahead) // self._ranks.on_node
        return Fetcher(self._samples, shards_of(self._samples, order, reads), threads=FETCH_THREADS, ahead=share)

    def _renderer(self, substitutes: Substitutes) -> Renderer:
        return open_renderer(
            self._backend,
            self._samples,
            views=self._views,
            size=self._size,
            threads=self._threads,
            device=self._device,
            counters=self._counters,
            substitutes=substitutes,
            cache=self._cache,
        )

    def _batch(self, step: Step, images: torch.Tensor) -> Batch:
        self._counters.add(batches=1, images=len(step.rows))
        labels, index = torch.from_numpy(self._labels[step.rows]), torch.from_numpy(step.rows.copy())
        if self._device.type == "cpu":
            return Batch(images, labels, index)
        # From pinned memory a copy runs beside the host; the allocator keeps that memory until the stream is past it.
        to: Callable[[torch.Tensor], torch.Tensor] = partial(_to_device, device=self._device)
        with self._counters.timed("seconds_copying"):  # of the host: a copy that runs beside it costs it little
            return Batch(to(images), to(labels), to(index))


def _check_types(set: object, views: object, **given: object) -> None:
    """Raise LoaderError for what is of another kind, with what is wanted instead of a late traceback."""
    if not hasattr(set, "table"):
        raise LoaderError(f"a loader reads a ShardSet, not {set!r}: ShardSet.open(folder), then select and task")
    if not isinstance(views, Sequence) or not all(isinstance(view, ViewSpec) for view in views):
        raise LoaderError(f"views={views!r} is not a list of ViewSpec, such as [ViewSpec.paper()] * 2")
    for name, kinds in _KINDS.items():
        if given[name] is not None and not isinstance(given[name], kinds):
            wanted = " or ".join(f"{kind.__name__}(...)" for kind in kinds)
            raise LoaderError(f"{name}={given[name]!r} is not {wanted}")
    for name in ("size", "batch_size", "seed"):
        if not isinstance(given[name], Integral) or isinstance(given[name], bool):
            raise LoaderError(f"{name}={given[name]!r} is not a whole number")


def _to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    if tensor.is_cuda:
        return tensor  # it was made there
    return tensor.pin_memory().to(device, non_blocking=True)
