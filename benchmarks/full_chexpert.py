"""CheXpert's whole tree of 223,648 files in 187,841 study folders, invented, for benchmarks of what walks it.

Files are hard links to a few small JPEGs, so that the tree costs a gigabyte of folders and no pixels; a walk sees what
it would see of the release. Making it takes a minute or two.
"""

import os
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import chexpert_tables

_LINKS = 20_000  # to one file; ext4 allows 65,000


def write_tree(folder: Path) -> Path:
    """Write train.csv, valid.csv and every image they name into `folder`; returns the release's folder."""
    release = folder / "CheXpert-v1.0-small"
    chexpert_tables.write_csvs(release)
    paths = [path for table in chexpert_tables.tables().values() for path in table["Path"].tolist()]
    made: set[str] = set()
    for number, path in enumerate(paths):
        study = os.path.dirname(path)  # noqa: PTH120 - 10 times as fast
        if study not in made:
            (folder / study).mkdir(parents=True)
            made.add(study)
        if number % _LINKS == 0:
            first = _write_image(folder / path, number)
        else:
            os.link(first, f"{folder}/{path}")
    return release


def _write_image(path: Path, seed: int) -> str:
    """Write a smooth gray JPEG of the small release's size."""
    coarse = np.random.default_rng(seed).integers(0, 256, (20, 24)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, (390, 320), interpolation=cv2.INTER_CUBIC))
    return str(path)
