"""How much memory the packing parent takes an image: the record table, the plan, the parts and the commit.

    python benchmarks/packing_memory.py [--images 50000 200000] [--record]

For each number of images a fresh process packs that many rows with one worker process beside it, from a hundred real
files of 8 x 8 pixels that the rows share (the parent never sees pixels, only samples of a kilobyte or two). Peaks are
VmHWM; the slope is taken between the smallest and the largest number, so that what any run takes does not count.
"""

import tempfile
from pathlib import Path

import cv2
import numpy as np
from manifest import table_of
from measure import arguments, finish, forget_peak, in_new_process, peak_megabytes, resident_megabytes

FILES = 100


def child(folder: Path, images: int) -> dict[str, float]:
    """Pack `images` rows; return the sizes at the steps."""
    from cxrfast.packing.recipe import Recipe
    from cxrfast.packing.run import pack
    from cxrfast.shardset.manifest import STORED_TYPES
    from cxrfast.sources.base import Release

    start = resident_megabytes()
    table = table_of(images).drop(columns=list(STORED_TYPES))
    table["path"] = [f"{number % FILES}.jpg" for number in range(images)]
    forget_peak()
    with_table = resident_megabytes()
    recipe = Recipe("chexpert", long_side=8)
    pack(Release("chexpert", "", table), folder, folder / "out", recipe=recipe, workers=2)
    return {"start": start, "with_table": with_table, "peak": peak_megabytes()}


def measured(images: int) -> dict[str, float]:
    """Pack so many rows in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(FILES):
            noise = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
            cv2.imwrite(f"{folder}/{number}.jpg", noise)
        sizes: dict[str, float]
        sizes, *_ = in_new_process(child, Path(folder), images)
    return sizes


def main() -> None:
    """Run the sizes, and print or record the slopes."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--images", type=int, nargs="+", default=[50_000, 200_000])
    options = parser.parse_args()
    seen = {images: measured(images) for images in sorted(options.images)}
    few, many = min(seen), max(seen)
    slopes = {name: round((seen[many][name] - seen[few][name]) * 1e6 / (many - few)) for name in ("with_table", "peak")}
    finish("packing_memory", {"megabytes": seen, "bytes an image": slopes}, record=options.record)


if __name__ == "__main__":
    main()
