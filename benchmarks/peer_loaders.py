"""One loader in a process of its own, for `peers.py`: it makes its batches on request and tells what a round took.

    python benchmarks/peer_loaders.py NAME SETTINGS(JSON) DESCRIPTOR

Each is in its fastest reasonable setting, and all give the same: uint8 (B, 2, 1, 224, 224), two views with rotation
15, shift 5 %, scale 5 % and flip of a gray image padded to a square. Each image is decoded once for both views; resize
and padding, which both views share, are done once too, but for the study's way, whose transforms do all of it twice.
Batches of 256, two workers (kept alive between rounds) or two threads, one thread of OpenCV and torch each.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

SIZE, BATCH, WORKERS = 224, 256, 2
DEGREES, SHIFT, SCALE = 15, 0.05, (0.95, 1.05)

Batches = Callable[[], Iterable[torch.Tensor]]


def quiet(*_: object) -> None:
    """Keep a process to one thread of OpenCV and torch; a DataLoader calls it in each worker too."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def two_workers(dataset: Any, **options: Any) -> Any:  # noqa: ANN401
    """Return a DataLoader with two lasting workers."""
    from torch.utils.data import DataLoader

    settings = {"batch_size": BATCH, "num_workers": WORKERS, "persistent_workers": True, "worker_init_fn": quiet}
    return DataLoader(dataset, **{**settings, **options})


def study(settings: dict[str, Any]) -> Batches:
    """Return the study's way: a file an image, Pillow, torchvision's transforms once for each view."""
    from PIL import Image
    from torchvision.transforms import v2

    class Square(torch.nn.Module):
        def forward(self, image: Image.Image) -> Image.Image:
            side = max(image.size)
            padded = Image.new("L", (side, side))
            padded.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            return padded

    transform = v2.Compose([
        Square(), v2.Resize(SIZE), v2.RandomAffine(DEGREES, (SHIFT, SHIFT), SCALE), v2.RandomHorizontalFlip(),
        v2.PILToTensor(),
    ])  # fmt: skip
    found = sorted(path for path in Path(settings["files"]).rglob("*") if path.suffix in (".jpeg", ".jpg"))
    paths = [found[number % len(found)] for number in range(settings["images"])]

    class Files(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, index: int) -> torch.Tensor:
            image = Image.open(io.BytesIO(paths[index].read_bytes())).convert("L")
            return torch.stack([transform(image), transform(image)])

    loader = two_workers(Files(), shuffle=True)
    return lambda: loader


def albumentations_views() -> Callable[[bytes], np.ndarray]:
    """Return a function from a JPEG to two views, uint8 (2, 1, 224, 224)."""
    import albumentations as A

    shared = A.Compose([A.LongestMaxSize(SIZE), A.PadIfNeeded(SIZE, SIZE, border_mode=cv2.BORDER_CONSTANT)])
    drawn = A.Compose([
        A.Affine(rotate=(-DEGREES, DEGREES), translate_percent=(-SHIFT, SHIFT), scale=SCALE, p=1.0),
        A.HorizontalFlip(p=0.5),
    ])  # fmt: skip

    def views(payload: bytes) -> np.ndarray:
        image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
        square = shared(image=image)["image"].reshape(SIZE, SIZE)
        out = np.empty((2, 1, SIZE, SIZE), dtype=np.uint8)
        for view in range(2):
            out[view, 0] = drawn(image=square)["image"].reshape(SIZE, SIZE)
        return out

    return views


def webdataset(settings: dict[str, Any]) -> Batches:
    """Return webdataset over the very tars that cxrfast packs, batches made in the workers."""
    import webdataset as wds

    views = albumentations_views()
    tars = sorted(str(path) for path in Path(settings["shards"]).glob("*.tar"))
    dataset = wds.WebDataset(
        tars, shardshuffle=len(tars), select_files=lambda name: name.endswith(".jpg"), empty_check=False
    )
    dataset = dataset.shuffle(1000).map(lambda sample: views(sample["jpg"]))
    dataset = dataset.batched(BATCH, collation_fn=lambda found: torch.from_numpy(np.stack(found)), partial=True)
    loader = two_workers(dataset, batch_size=None)
    return lambda: loader


def streaming(settings: dict[str, Any]) -> Batches:
    """Return mosaicml-streaming over its own shards of the same JPEGs."""
    from streaming import MDSWriter, StreamingDataset

    views, out = albumentations_views(), str(Path(settings["scratch"]) / "mds")
    with MDSWriter(out=out, columns={"image": "bytes"}, size_limit=1 << 24) as writer:
        for payload in payloads(settings):
            writer.write({"image": payload})

    class Views(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.from_numpy(views(super().__getitem__(index)["image"]))

    loader = two_workers(Views(local=out, shuffle=True, batch_size=BATCH))
    return lambda: loader


def litdata(settings: dict[str, Any]) -> Batches:
    """Return litdata over its own chunks of the same JPEGs."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import Cache

    views, out = albumentations_views(), str(Path(settings["scratch"]) / "chunks")
    cache = Cache(out, chunk_bytes=1 << 24)
    for number, payload in enumerate(payloads(settings)):
        cache[number] = {"image": payload}
    cache.done()
    cache.merge()

    class Views(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, index: Any) -> torch.Tensor:  # noqa: ANN401
            return torch.from_numpy(views(super().__getitem__(index)["image"]))

    loader = StreamingDataLoader(
        Views(out, shuffle=True), batch_size=BATCH, num_workers=WORKERS, persistent_workers=True, worker_init_fn=quiet
    )
    return lambda: loader


def cxrfast(settings: dict[str, Any]) -> Batches:
    """Return the loader of this project, with threads in the place of workers."""
    from cxrfast import Block, Loader, Reading, ShardSet, ViewSpec

    loader = Loader(
        ShardSet.open(settings["shards"]), views=[ViewSpec.paper()] * 2, size=SIZE, batch_size=BATCH, seed=0,
        order=Block(), last="keep", reading=Reading(threads=WORKERS),
    )  # fmt: skip
    number = iter(range(1_000_000))
    return lambda: (batch.images for batch in loader.epoch(next(number)))


def bare(settings: dict[str, Any]) -> Batches:
    """Return the bare OpenCV loop on two threads, payloads in memory; it gives one array with as many views."""
    from cxrfast import ShardSet, ViewSpec
    from cxrfast.bench.bare import Bare
    from cxrfast.bench.work import prepare

    work = prepare(ShardSet.open(settings["shards"]), views=[ViewSpec.paper()] * 2, size=SIZE)
    loop = Bare(work, threads=WORKERS, batch_size=BATCH, device=torch.device("cpu"))
    shape = torch.empty((1, 2, 1, SIZE, SIZE), dtype=torch.uint8).expand(work.images, -1, -1, -1, -1)

    def run() -> Iterable[torch.Tensor]:
        loop.decode_and_warp()
        yield shape

    return run


def payloads(settings: dict[str, Any]) -> Iterable[bytes]:
    """Yield the JPEGs of the shard set."""
    from cxrfast import ShardSet

    for sample in ShardSet.open(settings["shards"]).webdataset(decode=False):
        yield sample["jpg"]


PEERS = {peer.__name__: peer for peer in (study, webdataset, streaming, litdata, cxrfast, bare)}


def one_round(batches: Batches) -> dict[str, float]:
    """Go through an epoch; return its images and seconds. Refuses batches of another form than all have."""
    started, images = time.perf_counter(), 0
    for batch in batches():
        if batch.dtype != torch.uint8 or batch.shape[1:] != (2, 1, SIZE, SIZE):
            raise SystemExit(f"a batch is {batch.dtype} {tuple(batch.shape)}, not uint8 (B, 2, 1, {SIZE}, {SIZE})")
        images += len(batch)
    return {"images": images, "seconds": time.perf_counter() - started}


def main() -> None:
    """Prepare the loader named, say so, and run a round for each line of stdin."""
    name, settings, descriptor = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    answers = os.fdopen(descriptor, "w", buffering=1)
    quiet()
    try:
        batches = PEERS[name](settings)
    except ModuleNotFoundError as error:
        answers.write(json.dumps({"missing": str(error)}) + "\n")
        return
    answers.write(json.dumps({"ready": name}) + "\n")
    for _ in sys.stdin:
        answers.write(json.dumps(one_round(batches)) + "\n")


if __name__ == "__main__":
    main()
