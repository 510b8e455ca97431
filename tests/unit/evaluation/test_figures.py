"""Figures come out for every shape of result, the same bytes each time, without global state."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrfast.errors import EvaluationError
from cxrfast.evaluation import Evaluation, evaluate, interval_plot, label_bars, loss_curves
from cxrfast.labels import CHEXPERT


def size(path: Path) -> tuple[int, int]:
    """Return a PNG's width and height, or fail where it is none."""
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def made(targets: tuple[str, ...], model: str, lift: float = 1) -> Evaluation:
    rng = np.random.default_rng(len(targets))
    labels = np.zeros((60, len(targets)))
    for column in range(len(targets)):
        labels[: [30, 1, 0, 7, 20][column % 5], column] = 1
    return evaluate(rng.normal(size=labels.shape) + lift * labels, labels, targets, model=model, replicates=20)


def epochs(count: int, *, valid: bool = True) -> pd.DataFrame:
    epoch = np.arange(1, count + 1)
    return pd.DataFrame({"epoch": epoch, "train_loss": 1 / epoch, "valid_loss": 2 / epoch if valid else np.nan})


@pytest.mark.parametrize("classes", [1, 2, 14])
@pytest.mark.parametrize("models", [1, 2, 5])
def test_interval_plot_grows_with_classes_and_models(tmp_path: Path, classes: int, models: int):
    """Any number of classes and models fits: the width stays, the height has room for each line."""
    evaluations = [made(CHEXPERT[:classes], f"Model {number}", number) for number in range(models)]
    width, height = size(interval_plot(evaluations, tmp_path / "folder" / "intervals.png"))
    assert width == 1160
    assert height > 200 * 0.11 * models * classes


def test_loss_curves_mark_and_survive_missing_validation(tmp_path: Path):
    """Runs of one epoch, without validation, or not yet begun are drawn as far as they go."""
    runs = {"Baseline": epochs(9), "Fine-tuned": epochs(1), "Third": epochs(4, valid=False)}
    panels = {"Classifier": runs, "Pretext": {"MoCo v2": epochs(3)}, "Later": {"None": epochs(0)}}
    assert size(loss_curves(panels, tmp_path / "loss.png"))[0] == 1720


def test_label_bars(tmp_path: Path):
    """A panel a split, with or without shares, zeros included."""
    positives = pd.DataFrame({"Train": [100, 5, 0], "Test": [0, 0, 0]}, index=["A", "B", "C"])
    plain = size(label_bars(positives, tmp_path / "a.png"))
    assert plain == size(label_bars(positives, tmp_path / "b.png", images={"Train": 200, "Test": 50}))


def test_same_numbers_same_bytes(tmp_path: Path):
    """A figure holds no time and no version, so that a rerun leaves it as it was."""
    first, again = (interval_plot([made(("A",), "M")], tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == again


def test_refuses_nothing_to_draw(tmp_path: Path):
    """No models and no epochs are mistakes upstream, said in words."""
    with pytest.raises(EvaluationError, match="at least one"):
        interval_plot([], tmp_path / "a.png")
    with pytest.raises(EvaluationError, match="no epochs"):
        loss_curves({"Classifier": {"Baseline": epochs(0)}}, tmp_path / "b.png")


def test_import_is_light(tmp_path: Path):
    """Importing the room loads neither torch nor Matplotlib; drawing does not load pyplot."""
    code = (
        "import sys, pandas as pd, pathlib, cxrfast.evaluation as e\n"
        "assert not {'torch', 'matplotlib', 'cv2'} & set(sys.modules)\n"
        "e.label_bars(pd.DataFrame({'Train': [1]}, index=['A']), pathlib.Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.png")], check=True)
