"""How much memory the packing parent takes an image: the record table, the plan, the parts and the commit.

    python benchmarks/packing_memory.py [--images 50000 200000] [--out FILE.json]

For each number of images a fresh process packs that many rows with one worker process beside it, from a hundred real
files of 8 x 8 pixels that the rows share (the parent never sees pixels, only samples of a kilobyte or two). Peaks are
VmHWM; the slope is taken between the smallest and the largest number, so that what any run takes does not count.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from environment import environment, forget_peak, peak_megabytes, resident_megabytes

FILES = 100


def child(folder: Path, images: int) -> dict[str, float]:
    """Pack `images` rows; return the sizes at the steps."""
    from manifest import table_of

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


def main() -> None:
    """Run the sizes and print the slopes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(Path(options.child), options.images[0])))
        return
    seen = {images: _run(images) for images in sorted(options.images)}
    few, many = min(seen), max(seen)
    slopes = {name: (seen[many][name] - seen[few][name]) * 1e6 / (many - few) for name in ("with_table", "peak")}
    result = {"megabytes": seen, "bytes_an_image": slopes, "environment": environment()}
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


def _run(images: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        for number in range(FILES):
            noise = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
            cv2.imwrite(f"{folder}/{number}.jpg", noise)
        command = [sys.executable, __file__, "--images", str(images), "--child", folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


if __name__ == "__main__":
    main()
