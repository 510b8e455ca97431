"""How fast one core turns radiographs into stored JPEGs, beside Pillow, and what reduced decodes cost in quality.

Both sides read the file's bytes, decode, shrink to the same long side and encode at the same quality; ours checks the
file's structure too. The sides take turns, round by round, so that a machine's moods meet both, and processor time is
what counts, of one thread each, so that other work on the machine does not. The median of the rounds is printed.

    python benchmarks/packing_images.py ../shared/data/kermany_orig
"""

import argparse
import csv
import io
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL
from PIL import Image

from cxrfast.imaging import read_gray, read_resized, shrink
from cxrfast.packing.encode import encode, one_thread
from cxrfast.packing.recipe import Recipe

SUFFIXES = {".jpg", ".jpeg"}


def main() -> None:
    """Measure, print a table, and write it where a file was named."""
    arguments = _arguments()
    paths = sorted(path for path in arguments.images.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        sys.exit(f"no JPEGs under {arguments.images}")
    recipe = Recipe("benchmark", long_side=arguments.long_side, quality=arguments.quality)
    sides = {"cxrfast": lambda path: with_cxrfast(path, recipe), "pillow": lambda path: with_pillow(path, recipe)}
    with one_thread():
        rates = measure(sides, paths, rounds=arguments.rounds)
        decibels = np.array([quality(path, recipe) for path in paths])
    result = environment() | summary(rates, decibels, arguments.long_side)
    for name, value in result.items():
        print(f"{name:32} {value}")
    if arguments.out:
        write(arguments.out, result)


def with_cxrfast(path: Path, recipe: Recipe) -> bytes:
    """Do what a packing worker does to an image."""
    small, _ = read_resized(path.read_bytes(), long_side=recipe.long_side)
    return encode(small, recipe)


def with_pillow(path: Path, recipe: Recipe) -> bytes:
    """Do what most conversion scripts do."""
    image = Image.open(path).convert("L")
    image.thumbnail((recipe.long_side, recipe.long_side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=recipe.quality)
    return stream.getvalue()


def measure(sides: dict[str, Callable[[Path], bytes]], paths: list[Path], *, rounds: int) -> dict[str, np.ndarray]:
    """Return images per second of processor time of each side, one figure a round; a first round fills the caches."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, convert in sides.items():
            start = time.process_time()
            for path in paths:
                convert(path)
            seconds[name].append(time.process_time() - start)
    return {name: len(paths) / np.array(found[1:]) for name, found in seconds.items()}


def quality(path: Path, recipe: Recipe) -> float:
    """Return the PSNR in dB of a shrunk image against a full decode and area means; infinite where they are equal."""
    data = path.read_bytes()
    small, _ = read_resized(data, long_side=recipe.long_side)
    error = np.mean((small.astype(np.float64) - shrink(read_gray(data), recipe.long_side)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def summary(rates: dict[str, np.ndarray], decibels: np.ndarray, long_side: int) -> dict[str, object]:
    """Return the table's rows."""
    reduced = decibels[np.isfinite(decibels)]
    medians = {name: float(np.median(found)) for name, found in rates.items()}
    rows: dict[str, object] = {"images": len(decibels), "long side": long_side, "rounds": len(rates["cxrfast"])}
    for name, found in rates.items():
        rows[f"{name} images/s, median"] = round(medians[name], 1)
        rows[f"{name} images/s, range"] = f"{found.min():.1f} to {found.max():.1f}"
    rows["ratio of medians"] = round(medians["cxrfast"] / medians["pillow"], 2)
    ratios = rates["cxrfast"] / rates["pillow"]
    rows["ratio by round, range"] = f"{ratios.min():.2f} to {ratios.max():.2f}"
    rows["dB against full, median"] = round(float(np.median(decibels)), 1)
    rows["dB against full, least"] = round(float(decibels.min()), 1)
    rows["images that differ from full"] = len(reduced)
    rows["dB of those, median"] = round(float(np.median(reduced)), 1) if len(reduced) else "none differ"
    return rows


def environment() -> dict[str, object]:
    """Return what the figures depend on."""
    return {
        "cpu": _cpu(),
        "usable cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "numpy": np.__version__,
    }


def write(path: Path, result: dict[str, object]) -> None:
    """Write the rows as JSON, or as a CSV of two columns, by the file's extension."""
    if path.suffix == ".json":
        path.write_text(json.dumps(result, indent=2) + "\n")
        return
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("name", "value"), *result.items()])


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="?", help="a folder of JPEGs")
    parser.add_argument("--images", type=Path, dest="folder", help="the same, as an option")
    parser.add_argument("--long-side", type=int, default=512)
    parser.add_argument("--quality", type=int, default=95)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="a .json or .csv file to write the table to")
    arguments = parser.parse_args()
    arguments.images = arguments.folder or arguments.images
    if arguments.images is None:
        parser.error("name a folder of JPEGs")
    return arguments


if __name__ == "__main__":
    main()
