"""Check cxrfast on a machine with an NVIDIA GPU, and write what was found into benchmarks/results.

    make gpu-check                             # or: python tools/gpu_check.py
    python tools/gpu_check.py --device cpu     # a dry run of all of it without a GPU: small, slow, nothing written

Runs the tests marked `gpu`, compares DALI's views with OpenCV's, and measures loader and training step on synthetic
images that it draws itself (some 3 GB of temporary files at most). One file, gpu_check_GPU_DATE_COMMIT.json, holds all
of it. Ends with status 2 where there is no GPU or no DALI, with 1 where a test failed or the views are too far apart.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from gpu_loading import loading, parity, training, write_set
from measure import Figures, finish

from cxrfast.errors import LoaderError
from cxrfast.loading.render_dali import require

ROOT = Path(__file__).resolve().parents[1]
MEAN, WITHIN_4 = 1.0, 0.999
"""How near DALI's views are to be to OpenCV's: mean difference in gray levels, share of pixels within 4."""


def missing(device: torch.device) -> str | None:
    """Return why nothing can be checked here, in one line; None where it can."""
    if device.type == "cuda" and not torch.cuda.is_available():
        return f"no GPU to check: torch {torch.__version__} sees no CUDA device (--device cpu is a dry run)"
    try:
        require()
    except LoaderError as error:
        return str(error)
    return None


def tests(device: torch.device) -> Figures:
    """Run the tests marked `gpu`; return how many passed, failed and were skipped, and pytest's status."""
    # A dry run knows only those that run without CUDA.
    chosen = ["tests/gpu"] if device.type == "cpu" else ["-m", "gpu"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"CXRFAST_GPU_TESTS": device.type, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if done.returncode:
        print(done.stdout[-8000:], done.stderr[-2000:], file=sys.stderr)
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    return {**counts, "status": done.returncode}


def measured(device: torch.device, *, sides: list[int], images: int, batch: int, rounds: int) -> Figures:
    """Return the figures of every stored size."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        for side in sides:
            shards = write_set(Path(temporary), side, images=images)
            print(f"measuring images of {side} pixels", file=sys.stderr)
            figures[f"stored at {side}"] = {
                "bytes an image": round(float(shards.table["nbytes"].mean())),
                "parity": parity(shards, device),
                "loading": loading(shards, device, batch=batch, rounds=rounds),
                "training": training(shards, device, batch=batch, rounds=rounds),
            }
    return figures


def far_apart(figures: Figures) -> list[str]:
    """Return the stored sizes whose views are further from OpenCV's than is allowed."""
    found = {name: size["parity"] for name, size in figures.items()}
    return [name for name, size in found.items() if size["mean"] > MEAN or size["within 4"] < WITHIN_4]


def main() -> int:
    """Check, measure, write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu for a dry run")
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 320, 512], help="long sides of stored images")
    parser.add_argument("--images", type=int, help="images a set (16384; 96 in a dry run)")
    parser.add_argument("--batch", type=int, help="images a batch (256; 16 in a dry run)")
    parser.add_argument("--rounds", type=int, help="counted rounds (5; 1 in a dry run)")
    options = parser.parse_args()
    device = torch.device(options.device)
    if (reason := missing(device)) is not None:
        print(f"gpu-check: {reason}", file=sys.stderr)
        return 2
    dry = device.type == "cpu"
    images, batch, rounds = (
        options.images or (96 if dry else 16384),
        options.batch or (16 if dry else 256),
        options.rounds,
    )
    tested = tests(device)
    figures = measured(device, sides=options.sides, images=images, batch=batch, rounds=rounds or (1 if dry else 5))
    apart = far_apart(figures)
    finish("gpu_check", _facts(device, images, batch) | {"tests": tested} | figures, record=not dry)
    for name in apart:
        print(f"gpu-check: {name}: DALI's views are further from OpenCV's than {MEAN} on average", file=sys.stderr)
    return 1 if tested["status"] or apart else 0


def _facts(device: torch.device, images: int, batch: int) -> Figures:
    found = {name: _version(name) for name in ("nvidia-dali-cuda130", "nvidia-dali-cuda120", "nvidia-nvimgcodec-cu13")}
    return {
        "device": str(device), "CUDA of torch": torch.version.cuda, "DALI": found, "images": images, "batch": batch,
    }  # fmt: skip


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
