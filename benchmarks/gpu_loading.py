"""How fast views reach a GPU: the loader with each backend, against decoding and warping alone, and a training step.

Imported by `tools/gpu_check.py`. The images are drawn phantoms, so a check needs no data set; their JPEGs are about as
large as those of radiographs of the same size. A bare contestant has its payloads in memory, in order, and does nothing
but render them: what the loader reaches of that is what reading, order and hand-over leave.

Rates begin a few batches into an epoch, when threads and DALI's graph have started and what was rendered ahead is used
up; how long the first batch takes is a figure of its own. What a step waits is what steps on the loader's batches take
beyond steps on one batch that stays on the device.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from measure import Figures, ratio, spread

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from backends import no_substitutes
from small_sets import encoded, open_set

from cxrfast import Batch, Loader, Sequential, ShardSet, ViewSpec, phantom
from cxrfast.learning.amp import autocast
from cxrfast.learning.classifier import Classifier
from cxrfast.loading import dali_graph
from cxrfast.loading.canvas import Canvases
from cxrfast.loading.counters import Counters
from cxrfast.loading.order import epoch_order
from cxrfast.loading.pipeline import PART
from cxrfast.loading.ranks import Ranks
from cxrfast.loading.read import Reader
from cxrfast.loading.render import Payload
from cxrfast.loading.render_dali import DaliRenderer
from cxrfast.loading.render_opencv import OpenCVRenderer
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Drawing, Step

SIZE = 224
VIEWS = [ViewSpec.paper()] * 2
DRAWN = 48
"""Different images in a set; they are repeated, each time under another key."""
AHEAD = 4
"""No loader renders more batches ahead than this."""

Rate = Callable[[], float]


def write_set(folder: Path, side: int, *, images: int) -> ShardSet:
    """Draw a set of `images` JPEGs, quality 95, whose long side has `side` pixels."""
    release = phantom.write(folder / f"drawn-{side}", images=DRAWN, seed=1)["chexpert"]
    files = sorted(release.rglob("*.jpg"))[:DRAWN]
    drawn = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    sized = [cv2.resize(image, _long_side(image.shape, side), interpolation=cv2.INTER_CUBIC) for image in drawn]
    payloads = [encoded(image, "jpeg") for image in sized]
    chosen = [number % len(sized) for number in range(images)]
    return open_set(
        folder / str(side), [sized[n] for n in chosen], payloads=[payloads[n] for n in chosen], per_shard=1024
    )


def _long_side(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    scale = side / max(shape)
    return round(shape[1] * scale), round(shape[0] * scale)


def parity(shards: ShardSet, device: torch.device) -> Figures:
    """Return how far DALI's views on the device are from OpenCV's on the CPU, in gray levels."""
    some = shards.rows(np.arange(min(DRAWN, len(shards))))
    there = _all_views(some, device, "dali").astype(int)
    off = np.abs(there - _all_views(some, torch.device("cpu"), "opencv"))
    return {
        "mean": round(float(off.mean()), 4), "within 1": float((off <= 1).mean()), "within 4": float((off <= 4).mean()),
        "largest": int(off.max()), "pixels": off.size,
    }  # fmt: skip


def _all_views(shards: ShardSet, device: torch.device, backend: str) -> np.ndarray:
    with _loader(shards, device, backend, batch=len(shards), order=Sequential(lanes=1)) as loader:
        return np.concatenate([batch.images.cpu().numpy() for batch in loader.epoch(0)])


def _loader(shards: ShardSet, device: torch.device, backend: str, *, batch: int, **settings: Any) -> Loader:  # noqa: ANN401
    given = {"views": VIEWS, "size": SIZE, "batch_size": batch, "seed": 0, "device": device, "backend": backend}
    return Loader(shards, **(given | settings))


def loading(shards: ShardSet, device: torch.device, *, batch: int, rounds: int) -> Figures:
    """Return images/s of both loaders and of bare rendering, and what share of the bare rate a loader reaches."""
    firsts: dict[str, list[float]] = {}
    contestants: dict[str, Rate] = {}
    for backend in ("dali", "opencv"):
        firsts[backend] = []
        loader = _loader(shards, device, backend, batch=batch)
        contestants[f"loader {backend}"] = _loader_rate(loader, device, firsts[backend])
    payloads, work = _first_batches(shards, batch)
    contestants["bare dali"] = _bare_dali(shards, device, payloads, work)
    if device.type == "cuda":
        contestants["bare dali, decoding engine"] = _bare_dali(shards, device, payloads, work, hardware_share=1.0)
    contestants["bare opencv"] = _bare_opencv(shards, device, payloads, work)
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, rate in contestants.items():
            found = rate()
            if number:
                rates[name].append(found)
    figures: Figures = {f"{name}, images/s": spread(found) for name, found in rates.items()}
    for backend, seconds in firsts.items():
        figures[f"loader {backend}, share of bare"] = ratio(rates[f"loader {backend}"], rates[f"bare {backend}"])
        figures[f"loader {backend}, seconds to the first batch"] = spread(seconds[1:])
    return figures


def _loader_rate(loader: Loader, device: torch.device, firsts: list[float]) -> Rate:
    def rate() -> float:
        began = time.perf_counter()
        batches = loader.epoch(0)
        next(batches)
        firsts.append(time.perf_counter() - began)
        for _ in range(min(AHEAD, loader.batches_per_epoch // 4)):
            next(batches)
        started = time.perf_counter()
        count = sum(len(batch.index) for batch in batches)
        _synchronise(device)
        return count / (time.perf_counter() - started)

    return rate


def _first_batches(shards: ShardSet, batch: int, most: int = 16) -> tuple[list[list[Payload]], list[Step]]:
    """Return payloads and steps of up to `most` batches, in stored order."""
    samples = Samples(shards)
    order = epoch_order(Sequential(lanes=1), samples.layout(), batch_size=batch, last="drop", seed=0, epoch=0)
    work = list(islice(Drawing(samples, VIEWS, SIZE, 0, 0).steps(order, range(1), 0), most))
    with closing(Reader(samples, counters=Counters())) as reader:
        return [reader.submit(step.rows).take(0, batch) for step in work], work


def _bare_dali(
    shards: ShardSet, device: torch.device, payloads: list[list[Payload]], work: list[Step],
    *, hardware_share: float = dali_graph.HARDWARE_SHARE,
) -> Rate:  # fmt: skip
    def rate() -> float:
        renderer = DaliRenderer(
            Samples(shards), num_views=len(VIEWS), size=SIZE, threads=Ranks().cpus(), device=device,
            most_halvings=int(max(step.halvings.max() for step in work)), pixels=False, counters=Counters(),
            substitutes=no_substitutes(Samples(shards)),
        )  # fmt: skip
        with closing(renderer), _hardware_share(hardware_share):
            for _ in range(2):  # each of its graphs is built once
                _drain(renderer, payloads[:2], work[:2])
            started = time.perf_counter()
            _drain(renderer, payloads, work)
            _synchronise(device)
            return sum(map(len, payloads)) / (time.perf_counter() - started)

    return rate


@contextmanager
def _hardware_share(share: float) -> Iterator[None]:
    kept, dali_graph.HARDWARE_SHARE = dali_graph.HARDWARE_SHARE, share
    try:
        yield
    finally:
        dali_graph.HARDWARE_SHARE = kept


def _drain(renderer: DaliRenderer, payloads: list[list[Payload]], work: list[Step]) -> None:
    waiting: deque[Future[torch.Tensor]] = deque()
    for blobs, step in zip(payloads, work, strict=True):
        waiting.append(renderer.submit(step, _done(blobs)))
        if len(waiting) > 3:
            waiting.popleft().result()
    while waiting:
        waiting.popleft().result()


def _bare_opencv(shards: ShardSet, device: torch.device, payloads: list[list[Payload]], work: list[Step]) -> Rate:
    canvases = Canvases((len(VIEWS), 1, SIZE, SIZE), pinned=device.type == "cuda")

    def rate() -> float:
        renderer = OpenCVRenderer(
            Samples(shards), threads=Ranks().cpus(), counters=Counters(), substitutes=no_substitutes(Samples(shards))
        )
        started = time.perf_counter()
        with closing(renderer):
            for blobs, step in zip(payloads, work, strict=True):
                images = canvases.take(len(blobs))
                parts = [slice(start, start + PART) for start in range(0, len(blobs), PART)]
                rendering = [
                    renderer.submit(step.part(part.start, part.stop), _done(blobs[part]), images[part])
                    for part in parts
                ]
                for one in rendering:
                    one.result()
                images.to(device, non_blocking=True)
        _synchronise(device)
        return sum(map(len, payloads)) / (time.perf_counter() - started)

    return rate


def _done(blobs: list[Payload]) -> Any:  # noqa: ANN401
    future: Future[list[Payload]] = Future()
    future.set_result(blobs)
    return future


def training(shards: ShardSet, device: torch.device, *, batch: int, rounds: int) -> Figures:
    """Return a ResNet18 step's images/s on a batch that stays, and what share of a step each loader makes it wait."""
    train = _training_step(device)
    one = {"views": VIEWS[:1], "batch": batch}
    loaders = {backend: _loader(shards, device, backend, **one) for backend in ("dali", "opencv")}
    held = next(loaders["opencv"].epoch(0))
    seconds: dict[str, list[float]] = {name: [] for name in ("held", *loaders)}
    for number in range(rounds + 1):
        for name in seconds:
            found = _step_seconds(train, held, loaders.get(name), device, loaders["dali"].batches_per_epoch)
            if number:
                seconds[name].append(found)
    figures: Figures = {"batch that stays, images/s": spread([batch / found for found in seconds["held"]])}
    for name in loaders:
        waits = [1 - held / found for held, found in zip(seconds["held"], seconds[name], strict=True)]
        figures[f"{name}, images/s"] = spread([batch / found for found in seconds[name]])
        figures[f"{name}, share of a step that waits"] = spread(waits)
        loaders[name].close()
    return figures


def _training_step(device: torch.device) -> Callable[[Batch], None]:
    model = Classifier(outputs=2, seed=0, start="random").to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    criterion = torch.nn.BCEWithLogitsLoss()

    def train(batch: Batch) -> None:
        with autocast(device, "bf16"):
            logits = model.logits(batch.images)
        optimiser.zero_grad()
        criterion(logits.float(), batch.labels).backward()
        optimiser.step()

    return train


def _step_seconds(
    train: Callable[[Batch], None],
    held: Batch,
    loader: Loader | None,
    device: torch.device,
    steps_each: int,
) -> float:
    """Return the seconds of a step, over an epoch's steps after the first; on `held` where there is no loader."""
    batches: Iterator[Batch] = iter([held] * steps_each) if loader is None else loader.epoch(0)
    train(next(batches))
    _synchronise(device)
    started, count = time.perf_counter(), 0
    for batch in batches:
        train(batch)
        count += 1
    _synchronise(device)
    return (time.perf_counter() - started) / max(count, 1)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
