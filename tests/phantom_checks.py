"""What tests of several phantoms share: what was drawn for which file, and whether pixels teach a label."""

from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cxrfast.imaging import read_gray


def drawn_findings(monkeypatch: pytest.MonkeyPatch, module: ModuleType, folder: Path, images: int) -> dict[str, set]:
    """Write a release of empty images and return for each, by path below its folder, what was to be drawn."""
    asked: dict[str, set] = {}
    current: list[set] = []

    def flat(anatomy: object, findings: object, *, width: int, height: int, **others: object) -> npt.NDArray[np.uint8]:
        current.append(set(findings))
        return np.full((height, width), 90, dtype=np.uint8)

    def record(place: Path, tables: object, drawings: dict, **others: object) -> Path:
        for path, drawing in drawings.items():
            drawing()
            asked[path] = current.pop()
        return write_files(place, tables, dict.fromkeys(drawings, bytes), **others)

    write_files = module.write_files
    monkeypatch.setattr(module, "draw", flat)
    monkeypatch.setattr(module, "write_files", record)
    module.write_release(folder, images=images, seed=2)
    return asked


def linear_auroc(labels: dict[Path, bool]) -> float:
    """Fit a linear model on 24 x 24 pixels of every second image; return its AUROC on the others."""
    pixels = np.stack([_small(path) for path in labels])
    truth = np.array(list(labels.values()))
    model = LogisticRegression(C=0.003, max_iter=500).fit(pixels[::2], truth[::2])
    return roc_auc_score(truth[1::2], model.decision_function(pixels[1::2]))


def _small(path: Path) -> npt.NDArray[np.float32]:
    gray = read_gray(path.read_bytes()).astype(np.float32)
    return cv2.resize((gray - gray.mean()) / gray.std(), (24, 24), interpolation=cv2.INTER_AREA).ravel()
