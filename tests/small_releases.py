"""Small releases on disk for packing tests: real JPEG and PNG files, odd sizes, blank and uncertain labels."""

import hashlib
from pathlib import Path

import cv2
import numpy as np

from cxrfast.sources.base import Release, record_table

NAME = "tiny"


def write_release(src: Path, count: int, *, seed: int = 0, low: int = 30, high: int = 200) -> Release:
    """Write `count` images under `src`, in folders of a patient each, and return their release."""
    rng = np.random.default_rng(seed)
    paths = [f"patient{number // 3}/view{number}.{'png' if number % 4 == 0 else 'jpg'}" for number in range(count)]
    for path in paths:
        file = src / path
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), _picture(rng, *rng.integers(low, high, 2)))
    return release_of(paths)


def release_of(paths: list[str]) -> Release:
    """Return a release of the images under these paths, whatever lies there."""
    count = len(paths)
    columns = {
        "key": [f"{NAME}-{Path(path).stem}" for path in paths],
        "path": paths,
        "dataset": [NAME] * count,
        "patient": [Path(path).parent.name for path in paths],
        "projection": ["frontal" if number % 5 else None for number in range(count)],
        "age": [float(number % 90) if number % 7 else np.nan for number in range(count)],
        "release_split": [("train", "val", "test", None)[number % 4] for number in range(count)],
    }
    values = np.array([1, 0, -1, np.nan])
    labels = {"Edema": values[np.arange(count) % 4], "Nodule/Mass": values[np.arange(count) // 2 % 4]}
    return Release(dataset=NAME, layout="tiny", table=record_table(columns, labels))


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under a folder, hidden ones too, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    small = rng.integers(0, 256, (6, 6), dtype=np.uint8)
    return cv2.resize(small, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
