"""Cold-cache epochs from a disk that gives 100 reads and 100 MB a second: the loader, a plain read, a file an image.

    python benchmarks/slow_disk.py ../shared/data/kermany_orig FOLDER [--gigabytes 1.5] [--codec raw] [--rounds 5]
                                   [--read-mbps 100] [--read-iops 100] [--record]

FOLDER lies on the disk to be held back (root and cgroup v1 are needed: see `tools/slow_disk.py`); a set of copies of
the originals, under keys of their own, is written there and removed afterwards; `--shards` takes a finished set. Raw
pixels are the default, since JPEGs of two views keep two cores busy at less than 100 MB/s: then the disk is not what is
measured.

In turn, each after its files were dropped from the page cache: `loader`, an epoch over all samples, `Block`, two paper
views at 224; `plain`, the tars front to back by one thread; `files`, JPEGs of the same size as single files, read in
random order by two threads and decoded, for `--seconds`. All read buffered, with the kernel's own readahead. A
round that is not counted comes first. Folders' entries and inodes stay cached, in favour of the files. `device` figures
are what the disk served by the kernel's count; shares are of the bandwidth limit.
"""

import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import Figures, arguments, finish, ratio, spread
from packing_workers import copied

from cxrfast import Block, Loader, Reading, ShardSet, ViewSpec
from cxrfast.packing import write
from cxrfast.packing.commit import commit, gather
from cxrfast.packing.encode import Packed
from cxrfast.packing.plan import documents, make_plan
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack
from cxrfast.packing.write import ShardWriter
from cxrfast.shardset.format import PLAN_FILE, readable_json, sample_bytes
from cxrfast.sources import find

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from slow_disk import CannotThrottle, Disk, drop_cache, served, slow_disk

SIZE, BATCH = 224, 256
PIECE = 4 * 1024**2
THREADS = 2
MOST_FILES = 3000


def write_copies(originals: Path, out: Path, *, recipe: Recipe, gigabytes: float, links: Path) -> None:
    """Write a set of as many copies of the originals, packed once, as make so many gigabytes."""
    small = ShardSet.open(_packed_once(originals, out.with_name("once"), recipe))
    payloads = {str(Path(sample["json"]["path"]).with_suffix("")): sample for sample in _stored(small)}
    whole = sum(len(sample[sample["extension"]]) + 2048 for sample in payloads.values())
    plan = make_plan(copied(originals, links, max(1, round(gigabytes * 1e9 / whole))).table, recipe)
    texts = documents(plan.table)
    (out / write.STAGING).mkdir(parents=True)
    parts = []
    for shard in range(plan.num_shards):
        with ShardWriter(out, name=recipe.dataset, shard=shard) as writer:
            for row in plan.rows_of(shard):
                sample = payloads[plan.table["path"].iloc[row].rpartition("_")[0]]
                extension = sample["extension"]
                sizes = {n: sample["json"][n] for n in ("width", "height", "source_width", "source_height")}
                stored = sample_bytes(
                    plan.table["key"].iloc[row], extension, sample[extension], {**texts[row], **sizes}
                )
                writer.add(row, Packed(stored, **sizes, bytes_in=0))
            parts.append(writer.close())
    write.write_whole(out / PLAN_FILE, readable_json(plan.document()))
    commit(out, plan, gather(parts))
    shutil.rmtree(out / write.STAGING)


def _packed_once(originals: Path, out: Path, recipe: Recipe) -> Path:
    pack(find(recipe.dataset).scan(originals), originals, out, recipe=recipe)
    return out


def _stored(shards: ShardSet) -> list[dict[str, Any]]:
    found = []
    for sample in shards.webdataset(decode=False):
        extension = next(name for name in ("jpg", "png", "npy") if name in sample)
        found.append({"json": json.loads(sample["json"]), "extension": extension, extension: sample[extension]})
    return found


def write_files(originals: Path, out: Path, *, long_side: int) -> list[Path]:
    """Write single JPEGs of the same size, in folders of a few hundred; return their paths."""
    small = ShardSet.open(_packed_once(originals, out.with_name("once-jpeg"), Recipe("kermany", long_side=long_side)))
    payloads = [sample["jpg"] for sample in _stored(small)]
    paths = []
    for number in range(MOST_FILES):
        path = out / f"{number // 300:03d}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(payloads[number % len(payloads)])
        paths.append(path)
    return paths


def read_plain(tars: list[Path]) -> None:
    """Read tars front to back."""
    buffer = bytearray(PIECE)
    for path in tars:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def read_files(paths: list[Path], seconds: float, seed: int) -> int:
    """Read and decode files in random order on two threads, for so many seconds; return how many."""
    order = random.Random(seed).sample(paths, len(paths))
    end = time.perf_counter() + seconds

    def one(path: Path) -> int:
        if time.perf_counter() > end:
            return 0
        cv2.imdecode(np.frombuffer(path.read_bytes(), dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
        return 1

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(one, order))


def once(disk: Disk, files: list[Path], run: Callable[[], object]) -> tuple[float, int, int, Any]:
    """Return seconds, bytes and reads that the disk served, and the result of a run from a cold cache."""
    drop_cache(files)
    before, started = served(disk), time.perf_counter()
    result = run()
    seconds, after = time.perf_counter() - started, served(disk)
    return seconds, after[0] - before[0], after[1] - before[1], result


def measured(shards: ShardSet, files: list[Path], disk: Disk, options: Any) -> Figures:  # noqa: ANN401
    """Run the rounds in turn; return the figures."""
    tars = sorted(
        {shards.tar_path(*place) for place in zip(shards.table["shardset"], shards.table["shard"], strict=True)}
    )
    tar_bytes, payload_bytes = sum(path.stat().st_size for path in tars), int(shards.table["nbytes"].sum())
    took: dict[str, list[tuple[float, int, int, Any]]] = {"loader": [], "plain": [], "files": []}
    with Loader(shards, views=[ViewSpec.paper()] * 2, size=SIZE, batch_size=BATCH, seed=0, order=Block(), last="keep",
                reading=Reading(threads=THREADS)) as loader:  # fmt: skip
        for number in range(options.rounds + 1):
            runs: dict[str, tuple[list[Path], Callable[[], object]]] = {
                "loader": (tars, partial(_epoch, loader, number)),
                "plain": (tars, partial(read_plain, tars)),
                "files": (files, partial(read_files, files, options.seconds, number)),
            }
            for name, (paths, run) in runs.items():
                found = once(disk, paths, run)
                if number:
                    took[name].append(found)
                print(
                    f"round {number}, {name}: {found[0]:.1f} s, {found[1] / 1e6 / found[0]:.1f} MB/s", file=sys.stderr
                )
    if {found[3] for found in took["loader"]} != {len(shards)}:
        raise SystemExit("an epoch of the loader did not visit every sample once")
    return summary(took, images=len(shards), tar_bytes=tar_bytes, payload_bytes=payload_bytes, limit=options.read_mbps)


def _epoch(loader: Loader, epoch: int) -> int:
    return sum(len(batch.index) for batch in loader.epoch(epoch))


def summary(
    took: dict[str, list[tuple[float, int, int, Any]]], *, images: int, tar_bytes: int, payload_bytes: int, limit: float
) -> Figures:
    """Return rates and shares from seconds, device bytes, device reads and results of each round."""
    figures: Figures = {
        "images": images,
        "tar MB": round(tar_bytes / 1e6, 1),
        "payload MB": round(payload_bytes / 1e6, 1),
    }
    for name, rounds in took.items():
        seconds = [each[0] for each in rounds]
        figures[f"{name}, device MB/s"] = spread([each[1] / 1e6 / each[0] for each in rounds])
        figures[f"{name}, device reads/s"] = spread([each[2] / each[0] for each in rounds])
        if name == "files":
            figures["files, images/s"] = spread([each[3] / each[0] for each in rounds])
            continue
        figures[f"{name}, images/s"] = spread([images / each for each in seconds])
        for what, nbytes in (("tar", tar_bytes), ("payload", payload_bytes)):
            rates = [nbytes / 1e6 / each for each in seconds]
            figures[f"{name}, {what} MB/s"] = spread(rates)
            figures[f"{name}, {what} bytes, share of the limit"] = spread([rate / limit for rate in rates])
    figures["loader / plain"] = ratio([each[0] for each in took["plain"]], [each[0] for each in took["loader"]])
    figures["loader / files, images/s"] = ratio(
        [images / each[0] for each in took["loader"]], [each[3] / each[0] for each in took["files"]]
    )
    return figures


def main() -> None:
    """Write what is to be read, hold the disk back, measure, and print or record the figures."""
    parser = arguments(__doc__)
    parser.add_argument("originals", type=Path, help="a folder of originals in Kermany's layout")
    parser.add_argument("folder", type=Path, help="a folder on the disk")
    parser.add_argument("--shards", type=Path, help="a finished set on that disk, in the place of copies")
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--codec", choices=["jpeg", "png", "raw"], default="raw")
    parser.add_argument("--long-side", type=int, default=320)
    parser.add_argument("--seconds", type=float, default=15.0, help="of a round of `files`")
    parser.add_argument("--read-mbps", type=float, default=100.0)
    parser.add_argument("--read-iops", type=int, default=100)
    options = parser.parse_args()
    limits = {"read_mbps": options.read_mbps, "read_iops": options.read_iops}
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, originals = Path(name), options.originals.resolve()
        out = options.shards or folder / "set"
        if options.shards is None:
            recipe = Recipe("kermany", long_side=options.long_side, codec=options.codec)
            write_copies(originals, out, recipe=recipe, gigabytes=options.gigabytes, links=folder / "links")
        files = write_files(originals, folder / "files", long_side=options.long_side)
        shards = ShardSet.open(out)
        try:
            with slow_disk(options.folder, **limits) as disk:
                figures = measured(shards, files, disk, options)
        except CannotThrottle as error:
            print(f"slow_disk: {error}", file=sys.stderr)
            sys.exit(2)
    packed = {"codec": options.codec, "long side": options.long_side} if options.shards is None else {}
    finish("slow_disk", {**limits, "disk": asdict(disk), **packed, **figures}, record=options.record)


if __name__ == "__main__":
    main()
