"""Notice a loss that is not a number without making the GPU wait for the host.

Reading a loss at once would empty the GPU's queue at every step. So on CUDA it is copied out behind the forward pass
and judged one step later, by which time the copy has long arrived; on a CPU it is judged before its backward pass.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from cxrfast.errors import TrainingError


class _Seen(NamedTuple):
    loss: Tensor
    ready: torch.cuda.Event | None
    rows: Tensor
    epoch: int
    step: int


class LossWatch:
    """Raises TrainingError, with epoch (from 1), step and the batch's rows, for a loss that is not finite."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._pending: _Seen | None = None

    def see(self, loss: Tensor, *, rows: Tensor, epoch: int, step: int) -> None:
        """Take a step's loss; judges it now on a CPU, at the next call or `flush` on CUDA."""
        previous, self._pending = self._pending, self._copy(loss.detach(), rows, epoch, step)
        if previous is not None:
            self._judge(previous)
        if self._pending.ready is None:
            self.flush()

    def flush(self) -> None:
        """Judge the loss that is still waiting; to be called before its weights are kept."""
        if self._pending is not None:
            seen, self._pending = self._pending, None
            self._judge(seen)

    def _copy(self, loss: Tensor, rows: Tensor, epoch: int, step: int) -> _Seen:
        if loss.device.type != "cuda":
            return _Seen(loss, None, rows, epoch, step)
        host = torch.empty((), dtype=loss.dtype, pin_memory=True)
        host.copy_(loss, non_blocking=True)
        ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        ready.record()
        return _Seen(host, ready, rows, epoch, step)

    def _judge(self, seen: _Seen) -> None:
        if seen.ready is not None:
            seen.ready.synchronize()
        value = float(seen.loss)
        if value - value == 0:
            return
        rows = tuple(int(row) for row in seen.rows)
        raise TrainingError(
            f"{self._label}: the loss is {value} at epoch {seen.epoch}, step {seen.step}, on rows "
            f"{', '.join(map(str, rows))} of the training set; lower the learning rate, set `clip`, use fp32, or look "
            "at these images and labels",
            rows=rows,
        )
