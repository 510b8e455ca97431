"""The engine trains any method on any feed, and can be killed at any moment.

What it knows is little on purpose: a method gives a loss, a feed gives batches. Everything that a resumed run needs is
in one file, `last.pt`, written at each epoch's end and every few minutes; on a CPU a run that was killed and started
again ends in the same bits as an undisturbed one. Writing it costs as long as copying the model to disk, so more often
buys little.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from cxrfast.errors import RunMismatch, TrainingError
from cxrfast.learning.amp import Precision, autocast, check_device
from cxrfast.learning.checkpoint import load_model, read_checkpoint, weights_digest, write_checkpoint
from cxrfast.learning.feed import BatchLike, Feed
from cxrfast.learning.fitstate import FitState
from cxrfast.learning.interrupt import Interrupt
from cxrfast.learning.method import Method, Step
from cxrfast.learning.metrics import write_metrics
from cxrfast.learning.optimisers import OptimizerSettings, build_optimizer
from cxrfast.learning.progress import ConsoleProgress, Mark, Progress, duration, stage
from cxrfast.learning.schedules import Schedule, ScheduleSettings
from cxrfast.learning.settings import Settings, differences
from cxrfast.learning.watch import LossWatch


class FitSettings(Settings):
    """How a method is trained. The defaults are those of the study's classifier."""

    NEUTRAL: ClassVar[frozenset[str]] = frozenset({"checkpoint_minutes", "channels_last"})

    epochs: int = Field(default=20, ge=1, description="epochs at most")
    optimizer: OptimizerSettings = Field(default_factory=OptimizerSettings, description="update rule")
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings, description="rate and stop rules")
    precision: Precision = Field(
        default="fp32", description="of the forward pass: fp32, bf16 (CPU, CUDA) or fp16 (CUDA)"
    )
    clip: float | None = Field(default=None, gt=0, description="longest gradient (2-norm over all parameters)")
    channels_last: bool | None = Field(default=None, description="layout of images and kernels; unset: on CUDA alone")
    checkpoint_minutes: float = Field(
        default=10, ge=0, description="minutes between checkpoints within an epoch; 0: each step"
    )

    def neutral(self) -> frozenset[str]:
        """More epochs only lengthen a run whose schedule does not depend on their number."""
        return self.NEUTRAL | {"epochs"} if self.schedule.open_ended else self.NEUTRAL


@dataclass(frozen=True)
class FitResult:
    """How a fit ended: the epoch (from 1) and loss of its best weights, epochs done, their file, and why it stopped."""

    best_epoch: int
    best_loss: float
    epochs: int
    best: Path
    stopped: str


def fit(
    method: Method,
    train: Feed,
    valid: Feed | None,
    settings: FitSettings,
    folder: Path,
    *,
    device: str | torch.device,
    label: str,
    progress: Progress | None = None,
) -> FitResult:
    """Train `method`, or go on where `folder` says it stood; a fit that is finished returns at once.

    Writes `last.pt` (to resume from), `best.pt` (the model of the lowest validation loss; of the training loss where
    `valid` is None) and `metrics.csv` (a row an epoch). Validation takes the views of epoch 0 every time. The method is
    left with its last weights; `checkpoint.load_best` puts in the best. A method whose fit was broken off by an error
    is not to be used again: make a new one, and the folder brings it to where the old one stood.
    Raises TrainingError on a loss that is not finite, RunMismatch where the folder holds a fit of other settings,
    StateMismatch where it is of other data.
    """
    return _Fit(method, train, valid, settings, folder, check_device(device, settings.precision), label, progress).run()


class _Fit:
    def __init__(
        self,
        method: Method,
        train: Feed,
        valid: Feed | None,
        settings: FitSettings,
        folder: Path,
        device: torch.device,
        label: str,
        progress: Progress | None,
    ) -> None:
        self.train, self.valid, self.settings, self.folder, self.device = train, valid, settings, folder, device
        self.label, self.progress = label, progress or ConsoleProgress()
        self.origin = weights_digest(method)
        self.method = self._placed(method)
        self.optimizer = build_optimizer(settings.optimizer, method, device=device)
        self.total_steps = settings.epochs * train.batches_per_epoch
        if self.total_steps == 0:
            raise TrainingError(f"{label}: an epoch has no batch; the set is smaller than one batch: lower batch_size")
        self.schedule = Schedule(settings.schedule, self.optimizer, total_steps=self.total_steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.watch = LossWatch(label)
        self.state = FitState()
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.images_seen = 0
        self.saved_at = time.monotonic()
        self.interrupt = Interrupt()

    def run(self) -> FitResult:
        self.folder.mkdir(parents=True, exist_ok=True)
        with stage(self.progress, self.label), self.interrupt:
            self._resume()
            while not (stopped := self._why_stop()):
                self._train_epoch()
                self._close_epoch()
                self._stop_if_asked()
        state = self.state
        return FitResult(state.best_epoch, state.best_loss, state.epoch, self.folder / "best.pt", stopped)

    def _placed(self, method: Method) -> Method:
        method.to(self.device)
        wanted = self.settings.channels_last
        # On CUDA it feeds tensor cores; on the CPUs measured, oneDNN is faster from plain tensors.
        if self.device.type == "cuda" if wanted is None else wanted:
            method.to(memory_format=torch.channels_last)
        return method

    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def _why_stop(self) -> str:
        return self.state.why_stop(self.settings.schedule, epochs=self.settings.epochs, lr=self._rate())

    # Training -----------------------------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        state = self.state
        self.method.train()
        self.optimizer.zero_grad(set_to_none=True)
        self.loss_sum.fill_(state.loss_sum)
        batches = self.train.epoch(state.epoch, start=state.batch)
        begun = time.perf_counter()
        while (batch := self._next(batches)) is not None:
            loss = self._step(batch)
            now = time.perf_counter()
            state.seconds, begun = state.seconds + now - begun, now
            self._mark("train", state.batch, self.train.batches_per_epoch, len(batch.index), loss)
            self._save_if_due()
            self._stop_if_asked()
        if state.batch != self.train.batches_per_epoch:
            raise TrainingError(
                f"{self.label}: epoch {state.epoch + 1} ended after {state.batch} batches of "
                f"{self.train.batches_per_epoch}; the data changed while it was read"
            )

    def _next(self, batches: Iterator[BatchLike]) -> BatchLike | None:
        begun = time.perf_counter()
        batch = next(batches, None)
        self.state.waited += time.perf_counter() - begun
        return batch

    def _step(self, batch: BatchLike) -> Tensor:
        state = self.state
        step = Step(state.step, self.total_steps)
        images, labels = self._moved(batch)
        with autocast(self.device, self.settings.precision):
            loss: Tensor = self.method(images, labels, step)
        self.watch.see(loss, rows=batch.index, epoch=state.epoch + 1, step=state.step + 1)
        self._update(loss)
        self.method.after_step(step)
        state.lr = self._rate()
        self.schedule.after_step()
        self.loss_sum += loss.detach().double() * len(images)
        state.step, state.batch, state.images = state.step + 1, state.batch + 1, state.images + len(images)
        return loss.detach()

    def _update(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self.settings.clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.method.parameters(), self.settings.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _moved(self, batch: BatchLike) -> tuple[Tensor, Tensor]:
        return (
            batch.images.to(self.device, non_blocking=True),
            batch.labels.to(self.device, non_blocking=True),
        )

    def _mark(self, phase: str, batch: int, batches: int, images: int, loss: Tensor | None) -> None:
        self.images_seen += images
        epoch, epochs = self.state.epoch + 1, self.settings.epochs
        self.progress.step(Mark(phase, epoch, epochs, batch, batches, self.images_seen, loss))

    # An epoch's end -----------------------------------------------------------------------------------------------

    def _validate(self, valid: Feed) -> float:
        self.method.eval()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        count = torch.zeros((), dtype=torch.float64, device=self.device)
        with torch.no_grad(), autocast(self.device, self.settings.precision):
            for number, batch in enumerate(valid.epoch(0), start=1):
                if len(batch.index):
                    losses, known = self.method.validation_loss(*self._moved(batch))
                    total, count = total + losses, count + known
                self._mark("valid", number, valid.batches_per_epoch, len(batch.index), None)
                self._stop_if_asked()
        loss = float(total) / float(count) if count else float("nan")
        if loss - loss != 0:
            raise TrainingError(
                f"{self.label}: the validation loss is {loss} after epoch {self.state.epoch + 1}, over {int(count)} "
                "losses; lower the learning rate, or check that the validation set has known labels"
            )
        return loss

    def _close_epoch(self) -> None:
        self.watch.flush()
        state = self.state
        train_loss = float(self.loss_sum) / state.images
        valid_loss = None if self.valid is None else self._validate(self.valid)
        is_best = state.close_epoch(train_loss=train_loss, valid_loss=valid_loss)
        if is_best:
            self._write_best()
        self.schedule.after_epoch(train_loss if valid_loss is None else valid_loss)
        write_metrics(self.folder / "metrics.csv", state.rows)
        self._save()
        self._say_epoch(is_best)

    def _say_epoch(self, is_best: bool) -> None:
        row = self.state.rows[-1]
        valid = "" if row["valid_loss"] is None else f", validation loss {row['valid_loss']:.4f}"
        self.progress.say(
            f"epoch {row['epoch']}/{self.settings.epochs} done: training loss {row['train_loss']:.4f}{valid}"
            f"{' (lowest so far)' if is_best else ''}, {row['images_per_second']:,.0f} images/s, "
            f"{100 * (row['wait_share'] or 0):.1f} % of the time waiting for data, {duration(row['seconds'] or 0)}"
        )

    # Checkpoints --------------------------------------------------------------------------------------------------

    def _save_if_due(self) -> None:
        if time.monotonic() - self.saved_at >= 60 * self.settings.checkpoint_minutes:
            self.watch.flush()
            self.state.loss_sum = float(self.loss_sum)
            self._save()

    def _stop_if_asked(self) -> None:
        """After Ctrl-C: save, say where, and end. Validation changes nothing, so it can be broken off and done anew."""
        if not self.interrupt.asked:
            return
        self.watch.flush()
        self.state.loss_sum = float(self.loss_sum)
        self._save()
        self.progress.say(f"stopped and saved in epoch {self.state.epoch + 1}, step {self.state.step}")
        raise KeyboardInterrupt

    def _save(self) -> None:
        self._write("last.pt", kind="cxrfast-fit", **self._parts(), train=self.train.state_dict(),
                    state=self.state.to_plain(), stopped=self._why_stop())  # fmt: skip
        self.saved_at = time.monotonic()

    def _parts(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def _write_best(self) -> None:
        state = self.state
        self._write("best.pt", kind="cxrfast-model", epoch=state.best_epoch, step=state.step, loss=state.best_loss)

    def _write(self, name: str, *, kind: str, **content: object) -> None:
        about = {
            "method": self.method.kind,
            "encoder_prefix": self.method.encoder_prefix,
            "settings": self.settings.identity(),
            "origin": self.origin,
            "model": self.method.state_dict(),
        }
        write_checkpoint(self.folder / name, about | content, kind=kind)

    def _resume(self) -> None:
        path = self.folder / "last.pt"
        if not path.exists():
            return
        content = read_checkpoint(path, kind="cxrfast-fit")
        self._check_same(content)
        self.train.load_state_dict(content["train"])
        load_model(self.method, content, origin=path)
        self._check_origin(content)
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        self.scaler.load_state_dict(content["scaler"])
        self.state = FitState.from_plain(content["state"])
        if self.state.epoch > self.settings.epochs:
            raise RunMismatch(
                f"{self.folder} has done {self.state.epoch} epochs already, and {self.settings.epochs} are asked for; "
                "ask for as many or more, or use another folder"
            )
        if self.state.best_epoch and not (self.folder / "best.pt").exists():
            raise RunMismatch(f"{self.folder} has lost its best.pt; remove the folder to train it anew")
        write_metrics(self.folder / "metrics.csv", self.state.rows)
        self._say_resumed(content["torch"])

    def _check_same(self, content: dict[str, Any]) -> None:
        ours = {"method": self.method.kind, **self.settings.identity()}
        theirs = {"method": content["method"], **content["settings"]}
        if found := differences(ours, theirs):
            raise RunMismatch(
                f"{self.folder} holds a fit of other settings ({'; '.join(found)}); set them back or use another folder"
            )

    def _check_origin(self, content: dict[str, Any]) -> None:
        if content.get("origin") != self.origin:
            raise RunMismatch(
                f"{self.folder} holds a fit that started from other weights: what it started from has changed since "
                "(a pretext that was trained on, another weights file). Remove that folder to train it anew"
            )

    def _say_resumed(self, torch_then: str) -> None:
        state, why = self.state, self._why_stop()
        self.progress.say(why or f"going on from epoch {state.epoch + 1}, batch {state.batch}, step {state.step}")
        if torch_then != str(torch.__version__) and not why:
            self.progress.say(f"begun with torch {torch_then} and resumed with {torch.__version__}: bits may differ")
