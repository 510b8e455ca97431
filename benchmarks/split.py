"""How long it takes to choose a task and to split a table of CheXpert's size: the issue asks for under 3 s.

    python benchmarks/split.py --rounds 5 [--record]

The table has every documented count of the release (`tests/chexpert_tables.py`); seeds differ by round. Beside the
seconds stands by how much the worst prevalence of any target in either part is off, relative and in points.
"""

import tempfile
from functools import partial
from itertools import count, product
from pathlib import Path

import numpy as np
from full_chexpert import chexpert_tables
from measure import arguments, finish, interleaved, spread

from cxrfast import ShardSet, sources
from cxrfast.labels import CHEXPERT

FRACTION = 0.8


def full_set() -> ShardSet:
    """Return CheXpert's frontal training images as a shard set whose tars are not there."""
    with tempfile.TemporaryDirectory() as folder:
        chexpert_tables.write_csvs(Path(folder))
        table = sources.find("chexpert").scan(Path(folder)).table
    shards = ShardSet(table, (), (), {"chexpert": CHEXPERT}, (), np.zeros((len(table), 0), dtype=np.float32))
    return shards.select("projection == 'frontal' and release_split == 'train'")


def worst(whole: ShardSet, parts: tuple[ShardSet, ShardSet]) -> tuple[float, float]:
    """Return the largest difference of a part's prevalence from the whole's: as a share of it, and in points."""
    prevalence = whole.labels.mean(axis=0, dtype=np.float64)
    off = np.abs([part.labels.mean(axis=0, dtype=np.float64) - prevalence for part in parts])
    return float((off / prevalence).max()), float(100 * off.max())


def main() -> None:
    """Measure each task by patient and by image, and print or record the figures."""
    options = arguments(__doc__).parse_args()
    shards = full_set()
    tasks = {task: shards.task(task) for task in ("chexpert14", "chexpert-rare")}
    found: dict[str, list[tuple[float, float]]] = {}
    seeds = count()

    def split(task: str, by: str) -> None:
        parts = tasks[task].split(fraction=FRACTION, seed=next(seeds), by=by)
        found.setdefault(f"split {task} by {by}", []).append(worst(tasks[task], parts))

    contestants = {
        f"split {task} by {by}": partial(split, task, by) for task, by in product(tasks, ("patient", "image"))
    }
    contestants |= {f"task {task}": partial(shards.task, task) for task in tasks}
    seconds = interleaved(contestants, rounds=options.rounds)
    figures = {name: {"seconds": spread(values)} for name, values in seconds.items()}
    for name, differences in found.items():
        figures[name]["worst prevalence, share"] = round(max(share for share, _ in differences), 6)
        figures[name]["worst prevalence, points"] = round(max(points for _, points in differences), 5)
    finish("split", {"images": len(shards), **figures}, record=options.record)


if __name__ == "__main__":
    main()
