"""The loader against bare loops, batches of 1,024 against 32, memory over epochs, first batches, and import times.

    python benchmarks/loader.py ../shared/data/kermany_orig [--only bare batches memory first imports] [--record]

`bare`: the images packed at 256, 320 and 512 pixels as JPEG, and raw, go through the loader (two `paper` views at 224)
and through a bare decode-and-warp loop on as many threads, in turn; from raw shards and from cached pixels the bare
loop only warps; for raw shards it is also given with one read of all bytes before it. Copies of the originals under
names of their own make `--count` images, so that nothing is read or decoded twice. Rates are images a second; ratios
are medians of each round's own.

`batches`: batch 1,024 against 32, in turn. `memory`: how much a fresh process grows over the twenty epochs that follow
its first. `first`: a fresh process opens a manifest of a million rows (not timed: an open set is the premise), makes a
`Loader` and takes one batch; all shards are links to one real tar. `imports`: fresh interpreters, the interpreter's own
start included.
"""

import hashlib
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import Figures, arguments, finish, in_new_process, interleaved, ratio, resident_megabytes, spread

# A fresh process imports this file again; so the heavy imports stay inside functions.
SIDES = (256, 320, 512)
PARTS = ("bare", "batches", "memory", "first", "imports")
SIZE = 224
EPOCHS = 20
STATEMENTS = {
    "python alone": "pass",
    "import cxrfast": "import cxrfast",
    "from cxrfast import ShardSet": "from cxrfast import ShardSet; import sys; assert 'torch' not in sys.modules",
    "from cxrfast import Loader": "from cxrfast import Loader",
}
COMMANDS = ("shard", "train", "bench")


def packed(images: Path, out: Path, **recipe: Any) -> Path:  # noqa: ANN401
    """Pack a folder in Kermany's layout; return the set's folder."""
    from cxrfast import sources
    from cxrfast.packing.recipe import Recipe
    from cxrfast.packing.run import pack

    pack(sources.find("kermany").scan(images), images, out, recipe=Recipe("kermany", **recipe))
    return out


def linked(originals: Path, links: Path, count: int) -> Path:
    """Link the originals under further names until there are so many; return the folder."""
    from packing_workers import copied

    found = sum(1 for _ in originals.glob("*/*/*.jpeg"))
    if not found:
        sys.exit(f"{originals} holds no originals in Kermany's layout (SPLIT/LABEL/NAME.jpeg)")
    copied(originals, links, -(-count // found))
    return links


def settings_of(batch_size: int, **more: Any) -> Any:  # noqa: ANN401
    """Return what every part here measures: two paper views, blocks."""
    from cxrfast import Block, ViewSpec
    from cxrfast.bench.measure import Settings

    return Settings(views=(ViewSpec.paper(),) * 2, order=Block(), size=SIZE, batch_size=batch_size, **more)


def first_rows(folder: Path, images: int) -> Any:  # noqa: ANN401
    """Return so many rows of a set."""
    from cxrfast import ShardSet

    return ShardSet.open(folder).rows(np.arange(images))


def epochs(loader: Any) -> Callable[[], None]:  # noqa: ANN401
    """Return a function that goes through the next epoch of a loader."""
    number = iter(range(1_000_000))

    def run() -> None:
        for _ in loader.epoch(next(number)):
            pass

    return run


def against_bare(folder: Path, images: int, *, rounds: int, threads: int, **loading: Any) -> Figures:  # noqa: ANN401
    """Measure a loader and the bare loop over the same rows, in turn; `loading` goes to the loader as it is."""
    import torch

    from cxrfast import Block, Loader, Reading
    from cxrfast.bench.bare import Bare
    from cxrfast.bench.work import prepare

    shards, settings = first_rows(folder, images), settings_of(256)
    work = prepare(shards, views=settings.views, size=SIZE)
    with (
        Loader(shards, views=settings.views, size=SIZE, batch_size=256, seed=0, order=Block(),
               reading=Reading(threads=threads), **loading) as loader,
        Bare(work, threads=threads, batch_size=256, device=torch.device("cpu")) as bare,
    ):  # fmt: skip
        name = "warp" if work.raw or loading else "decode and warp"
        loops = {"loader": epochs(loader), "bare": bare.warp if name == "warp" else bare.decode_and_warp}
        if work.raw:  # what is stored raw has to be copied out of the page cache, whoever reads it
            loops["bare, reading too"] = lambda: (bare.read(), bare.warp())
        seconds = interleaved(loops, rounds=rounds)
    rates = {side: spread([images / took for took in of]) for side, of in seconds.items()}
    ratios = {f"loader / bare {name}": ratio(seconds["bare"], seconds["loader"])}
    if work.raw:
        ratios["loader / bare read and warp"] = ratio(seconds["bare, reading too"], seconds["loader"])
    return {**rates, **ratios}


def bare_part(options: Any, folder: Path) -> Figures:  # noqa: ANN401
    """Measure from JPEG, raw shards and cached pixels at each size."""
    from cxrfast import Loader

    caches = "cache" in inspect.signature(Loader).parameters
    images, rest = options.count // 256 * 256, {"rounds": options.rounds, "threads": options.threads}
    found: Figures = {"images a round": images, "threads": options.threads}
    for side in options.sides:
        jpeg = packed(options.images, folder / f"jpeg{side}", long_side=side)
        raw = packed(options.images, folder / f"raw{side}", long_side=side, codec="raw")
        found[f"JPEG, {side} pixels"] = against_bare(jpeg, images, **rest)
        found[f"raw, {side} pixels"] = against_bare(raw, images, **rest)
        if caches:
            found[f"cached pixels, {side} pixels"] = against_bare(jpeg, images, **rest, cache="memory")
    if not caches:
        found["cached pixels"] = "left out: this version's Loader has no cache"
    return found


def batches_part(options: Any, folder: Path) -> Figures:  # noqa: ANN401
    """Measure batches of 1,024 against batches of 32, over the same rows."""
    from cxrfast import Block, Loader, Reading

    images = options.count // 1024 * 1024
    shards = first_rows(packed(options.images, folder / "batches", long_side=256), images)
    views, loaders = settings_of(32).views, {}
    for batch in (32, 1024):
        loaders[f"batch {batch}"] = Loader(
            shards, views=views, size=SIZE, batch_size=batch, seed=0, order=Block(),
            reading=Reading(threads=options.threads),
        )  # fmt: skip
    seconds = interleaved({name: epochs(loader) for name, loader in loaders.items()}, rounds=options.rounds)
    for loader in loaders.values():
        loader.close()
    rates = {f"{name}, images/s": spread([images / took for took in of]) for name, of in seconds.items()}
    return {**rates, "1,024 / 32": ratio(seconds["batch 32"], seconds["batch 1024"])}


def grown(folder: Path, images: int, threads: int) -> dict[str, float]:
    """Return resident MB of this process after its first epoch, and twenty epochs later."""
    from cxrfast import Block, Loader, Reading

    shards = first_rows(folder, images)
    settings = settings_of(256)
    with Loader(shards, views=settings.views, size=SIZE, batch_size=256, seed=0, order=Block(),
                reading=Reading(threads=threads)) as loader:  # fmt: skip
        run, resident = epochs(loader), []
        for _ in range(EPOCHS + 1):
            run()
            resident.append(resident_megabytes())
    return {"first epoch": resident[0], f"{EPOCHS} epochs later": resident[-1], "growth": resident[-1] - resident[0]}


def memory_part(options: Any, folder: Path) -> Figures:  # noqa: ANN401
    """Measure growth in fresh processes."""
    out = packed(options.images, folder / "memory", long_side=256)
    images = max(256, options.count // 4 // 256 * 256)
    found = [in_new_process(grown, out, images, options.threads)[0] for _ in range(min(3, options.rounds))]
    return {f"{name}, MB": spread([each[name] for each in found]) for name in found[0]}


def million(images: Path, out: Path, rows: int) -> Path:
    """Write a set of so many rows in shards of about a thousand, all of which are links to one real tar."""
    import pandas as pd
    from packing_workers import copied

    from cxrfast.shardset import format as layout
    from cxrfast.shardset.manifest import read_manifest, write_manifest

    links = out.with_name("links-of-a-shard")
    copied(images, links, 4)
    packed(links, out, long_side=256, samples_per_shard=100_000)
    small = read_manifest(out / layout.MANIFEST_FILE)
    shards = -(-rows // len(small))
    table = pd.concat([small] * shards, ignore_index=True).iloc[:rows].reset_index(drop=True)
    table["key"] = pd.array([f"kermany-{number:07d}" for number in range(rows)], dtype=small["key"].dtype)
    table["shard"] = (np.arange(rows) // len(small)).astype(small["shard"].dtype)
    for shard in range(1, shards):
        (out / layout.tar_name("kermany", shard)).hardlink_to(out / layout.tar_name("kermany", 0))
    path = out / layout.MANIFEST_FILE
    path.unlink()
    write_manifest(table, path)
    commit = json.loads((out / layout.COMMIT_FILE).read_text())
    content = path.read_bytes()
    commit["files"][path.name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (out / layout.COMMIT_FILE).write_text(json.dumps(commit))
    return out


def first_batch(folder: Path, threads: int) -> dict[str, float]:
    """Return the seconds that opening, and then making a loader and taking its first batch, takes."""
    from cxrfast import Block, Loader, Reading, ShardSet

    settings = settings_of(256)
    started = time.perf_counter()
    shards = ShardSet.open(folder)
    opened = time.perf_counter()
    loader = Loader(
        shards, views=settings.views, size=SIZE, batch_size=256, seed=0, order=Block(), reading=Reading(threads=threads)
    )
    made = time.perf_counter()
    next(iter(loader.epoch(0)))
    ended = time.perf_counter()
    loader.close()
    return {
        "opening (not counted), s": opened - started,
        "making the loader, s": made - opened,
        "the epoch's first batch, s": ended - made,
        "first batch of an open set, s": ended - opened,
    }


def first_part(options: Any, folder: Path) -> Figures:  # noqa: ANN401
    """Measure the first batch in fresh processes."""
    out = million(options.originals, folder / "million", options.rows)
    found = [in_new_process(first_batch, out, options.threads)[0] for _ in range(options.rounds + 1)][1:]
    return {"rows": options.rows, **{name: spread([each[name] for each in found]) for name in found[0]}}


def imports_part(options: Any, folder: Path) -> Figures:  # noqa: ANN401
    """Measure fresh interpreters, in turn."""

    def fresh(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)

    runs = {name: fresh("-c", statement) for name, statement in STATEMENTS.items()}
    runs |= {f"cxrfast-{name} --help": fresh("-m", f"cxrfast.cli.{name}", "--help") for name in COMMANDS}
    seconds = interleaved(runs, rounds=options.rounds)
    base = statistics.median(seconds["python alone"])
    found = {f"{name}, s": spread(of) for name, of in seconds.items()}
    return {**found, "of which the interpreter, s": round(base, 3)}


def main() -> None:
    """Measure the parts asked for, and print or record the figures."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("images", type=Path, help="a folder of originals in Kermany's layout")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    parser.add_argument("--sides", nargs="+", type=int, default=SIDES, help="long sides in pixels")
    parser.add_argument("--count", type=int, default=8192, help="images a round")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the large manifest")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to pack to")
    options = parser.parse_args()
    options.originals = options.images.resolve()
    if options.count < 1024:
        sys.exit(f"--count {options.count} is less than one batch of 1,024")
    measured = {
        "bare": bare_part, "batches": batches_part, "memory": memory_part, "first": first_part, "imports": imports_part
    }  # fmt: skip
    figures: Figures = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if {"bare", "batches", "memory"} & set(options.only):
            options.images = linked(options.originals, Path(folder) / "links", options.count)
        for part in PARTS:
            if part in options.only:
                print(f"{part} ...", file=sys.stderr)
                figures[part] = measured[part](options, Path(folder))
    finish("loader", figures, record=options.record)


if __name__ == "__main__":
    main()
