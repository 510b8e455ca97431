"""How fast one core turns radiographs into stored JPEGs, beside Pillow, and what reduced decodes cost in quality.

Both sides read the file's bytes, decode, shrink to the same long side and encode at the same quality; ours checks the
file's structure too. The sides take turns, round by round, so that a machine's moods meet both, and processor time is
what counts, of one thread each, so that other work on the machine does not. The median of the rounds is printed.

    python benchmarks/packing_images.py ../shared/data/kermany_orig [--record]
"""

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from measure import arguments, finish, ratio, spread
from PIL import Image

from cxrfast.imaging import read_gray, read_resized, shrink
from cxrfast.packing.encode import encode, one_thread
from cxrfast.packing.recipe import Recipe

SUFFIXES = {".jpg", ".jpeg"}


def main() -> None:
    """Measure, and print or record the figures."""
    parser = arguments(__doc__, rounds=7)
    parser.add_argument("images", type=Path, help="a folder of JPEGs")
    parser.add_argument("--long-side", type=int, default=512)
    parser.add_argument("--quality", type=int, default=95)
    options = parser.parse_args()
    paths = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        sys.exit(f"no JPEGs under {options.images}")
    recipe = Recipe("benchmark", long_side=options.long_side, quality=options.quality)
    sides = {"cxrfast": lambda path: with_cxrfast(path, recipe), "pillow": lambda path: with_pillow(path, recipe)}
    with one_thread():
        seconds = measure(sides, paths, rounds=options.rounds)
        decibels = np.array([quality(path, recipe) for path in paths])
    figures = {"images": len(paths), "long side": options.long_side, **summary(seconds, decibels)}
    finish("packing_images", figures, record=options.record)


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


def measure(sides: dict[str, Callable[[Path], bytes]], paths: list[Path], *, rounds: int) -> dict[str, list[float]]:
    """Return processor seconds of each side, one figure a round; a first round fills the caches."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, convert in sides.items():
            start = time.process_time()
            for path in paths:
                convert(path)
            if number:
                seconds[name].append(time.process_time() - start)
    return seconds


def quality(path: Path, recipe: Recipe) -> float:
    """Return the PSNR in dB of a shrunk image against a full decode and area means; infinite where they are equal."""
    data = path.read_bytes()
    small, _ = read_resized(data, long_side=recipe.long_side)
    error = np.mean((small.astype(np.float64) - shrink(read_gray(data), recipe.long_side)) ** 2)
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def summary(seconds: dict[str, list[float]], decibels: np.ndarray) -> dict[str, object]:
    """Return rates, their ratio, and decibels: over all images, and over those that a reduced decode changes."""
    reduced = decibels[np.isfinite(decibels)]
    rates = {f"{name}, images/s": spread([len(decibels) / took for took in of]) for name, of in seconds.items()}
    return {
        **rates,
        "cxrfast / pillow, images/s": ratio(seconds["pillow"], seconds["cxrfast"]),
        "dB against full decode and area": {
            "images that differ": len(reduced),
            "median of those": round(float(np.median(reduced)), 1) if len(reduced) else None,
            "least": round(float(reduced.min()), 1) if len(reduced) else None,
        },
    }


if __name__ == "__main__":
    main()
