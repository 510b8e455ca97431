"""Scores of a trained classifier over a set, in the feed's order, with the rows along: nobody need trust the order."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxrfast.learning.amp import Precision, autocast, check_device
from cxrfast.learning.classifier import Classifier
from cxrfast.learning.feed import Feed
from cxrfast.learning.progress import Mark, Progress, Silent, stage


def predict(
    method: Classifier,
    feed: Feed,
    *,
    device: str | torch.device,
    precision: Precision = "fp32",
    label: str = "predict",
    progress: Progress | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return probabilities (sigmoid, not logits) float64 (n, C) and rows int64 (n,) over `feed.epoch(0)`.

    The method is left in evaluation mode on `device`.
    """
    place, progress = check_device(device, precision), progress or Silent()
    method.to(place).eval()
    scores: list[Tensor] = [torch.empty(0, method.outputs, dtype=torch.float64)]
    rows: list[Tensor] = [torch.empty(0, dtype=torch.int64)]
    seen = 0
    with stage(progress, label), torch.no_grad(), autocast(place, precision):
        for number, batch in enumerate(feed.epoch(0), start=1):
            if len(batch.index):
                scores.append(method.scores(batch.images.to(place, non_blocking=True)).cpu())
                rows.append(batch.index.cpu())
            seen += len(batch.index)
            progress.step(Mark("predict", 1, 1, number, feed.batches_per_epoch, seen, None))
    return torch.cat(scores).numpy(), torch.cat(rows).numpy()
