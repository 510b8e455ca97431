"""Packing with one worker and with two: images a second, on one shard and on many.

    python benchmarks/packing_workers.py DATA/kermany_orig [--copies 16] [--rounds 5] [--record]

DATA/kermany_orig holds originals in Kermany's layout; symbolic links under other names make `copies` of each, so that a
run takes some seconds. Rounds are interleaved (one worker and two, on one shard and on many, in turn), after a round
that does not count. Seconds are those of `pack()` from the record table to the commit, the start of the workers too.
`ceiling` is what two cores that nobody else uses could give at best: two times the processor seconds of a run with one
worker by those of a run with two, the parent's and the workers' together.
"""

import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from measure import arguments, finish, ratio, spread

if TYPE_CHECKING:
    from cxrfast.sources.base import Release

# A worker imports this file again, as it does any program that packs; so the heavy imports stay inside functions.
SHARDS = {"one shard": 1_000_000, "shards of 64": 64}
WORKERS = (1, 2)


def copied(data: Path, folder: Path, copies: int) -> "Release":
    """Link each image `copies` times under names of the same grammar; return the release."""
    from cxrfast import sources

    for path in sorted(data.glob("*/*/*.jpeg")):
        split, label, name = path.relative_to(data).parts
        target = folder / split / label
        target.mkdir(parents=True, exist_ok=True)
        for copy in range(copies):
            (target / f"{name.removesuffix('.jpeg')}_{copy}.jpeg").symlink_to(path.resolve())
    return sources.find("kermany").scan(folder)


def measured(release: "Release", src: Path, workers: int, per_shard: int) -> tuple[float, float]:
    """Pack into a new folder and return how long that took, and the processor seconds of all its processes."""
    from cxrfast.packing.recipe import Recipe
    from cxrfast.packing.run import pack

    recipe = Recipe("kermany", samples_per_shard=per_shard)
    with tempfile.TemporaryDirectory() as out:
        started, used = time.perf_counter(), _processor_seconds()
        pack(release, src, Path(out) / "set", recipe=recipe, workers=workers)
        return time.perf_counter() - started, _processor_seconds() - used


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main() -> None:
    """Run the rounds, and print or record medians and ratios."""
    parser = arguments(__doc__, rounds=5)
    parser.add_argument("data", type=Path)
    parser.add_argument("--copies", type=int, default=16)
    options = parser.parse_args()
    took: dict[str, dict[int, list[tuple[float, float]]]] = {name: {count: [] for count in WORKERS} for name in SHARDS}
    with tempfile.TemporaryDirectory() as folder:
        release = copied(options.data, Path(folder), options.copies)
        for number in range(options.rounds + 1):
            for name, per_shard in SHARDS.items():
                for count in WORKERS if number % 2 else WORKERS[::-1]:
                    once = measured(release, Path(folder), count, per_shard)
                    if number:
                        took[name][count].append(once)
    images = len(release.table)
    figures = {name: case(by_count, images) for name, by_count in took.items()}
    finish("packing_workers", {"images": images, **figures}, record=options.record)


def case(took: dict[int, list[tuple[float, float]]], images: int) -> dict[str, object]:
    """Return the figures of one kind of shards from (wall, processor) seconds by number of workers."""
    walls = {count: [wall for wall, _ in runs] for count, runs in took.items()}
    used = {count: statistics.median(cpu for _, cpu in runs) for count, runs in took.items()}
    rates = {f"images/s, {count} workers": spread([images / wall for wall in walls[count]]) for count in WORKERS}
    return {**rates, "two by one": ratio(walls[1], walls[2]), "ceiling": round(2 * used[1] / used[2], 3)}


if __name__ == "__main__":
    main()
