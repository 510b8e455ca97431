import csv
import math
import signal

import pytest
import torch
from unit.learning.fakes import FakeFeed, same_bits, snapshot, tiny

from cxrfast.errors import ConfigError, RunMismatch, StateMismatch, TrainingError
from cxrfast.learning.checkpoint import load_best
from cxrfast.learning.classifier import Classifier
from cxrfast.learning.engine import FitSettings, fit
from cxrfast.learning.metrics import COLUMNS
from cxrfast.learning.moco import Moco, MocoSettings
from cxrfast.learning.optimisers import OptimizerSettings
from cxrfast.learning.predict import predict
from cxrfast.learning.progress import Silent
from cxrfast.learning.schedules import ScheduleSettings

TIMED = {"seconds", "images_per_second", "wait_share"}
CONSTANT = ScheduleSettings(name="constant")


def settings(epochs=3, lr=0.02, **more):
    return FitSettings(epochs=epochs, optimizer=OptimizerSettings(lr=lr), **{"schedule": CONSTANT, **more})


def classifier(seed=1):
    return Classifier(start="random", outputs=2, seed=seed, make_encoder=tiny)


def train(folder, chosen, *, method=None, feed=None, valid=None):
    method = method or classifier()
    valid = valid or FakeFeed(size=20, keep=True, seed=7)
    result = fit(method, feed or FakeFeed(), valid, chosen, folder, device="cpu", label="test", progress=Silent())
    return method, result


def rows_of(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


class Interrupted(Exception):
    pass


def untimed(folder):
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows_of(folder)]


class SignalledFeed(FakeFeed):
    """Raises SIGINT while it hands out the batch of that number, counted over all such feeds."""

    left = 10**9

    def epoch(self, epoch, *, start=0):
        for batch in super().epoch(epoch, start=start):
            SignalledFeed.left -= 1
            if SignalledFeed.left == 0:
                signal.raise_signal(signal.SIGINT)
            yield batch


class StopsFeed(FakeFeed):
    """Raises after so many batches in all, as Ctrl-C would."""

    left = 10**9

    def epoch(self, epoch, *, start=0):
        for batch in super().epoch(epoch, start=start):
            self.left -= 1
            if self.left < 0:
                raise Interrupted
            yield batch


def stops_after(count):
    feed = StopsFeed()
    feed.left = count
    return feed


def test_a_fit_learns_and_writes_its_three_files(tmp_path):
    """Loss falls on learnable images; `best.pt` holds the lowest row; metrics.csv has a row an epoch."""
    _, result = train(tmp_path / "new" / "fit", settings(8))
    rows = rows_of(tmp_path / "new" / "fit")
    losses = [float(row["valid_loss"]) for row in rows]
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["epoch"]) for row in rows] == [*range(1, 9)]
    assert [int(row["step"]) for row in rows] == [*range(6, 49, 6)]
    assert losses[-1] < 0.7 * losses[0]
    assert result.best_loss == min(losses)
    assert result.best_epoch == 1 + losses.index(min(losses))
    assert (result.epochs, result.stopped) == (8, "all 8 epochs are done")
    assert load_best(classifier(9), result.best)["epoch"] == result.best_epoch


def test_the_best_weights_give_the_best_loss(tmp_path):
    """Weights from `best.pt`, put into another model, have exactly the validation loss of their row."""
    _, result = train(tmp_path, settings(6, lr=0.3))
    fresh, valid = classifier(5), FakeFeed(size=20, keep=True, seed=7)
    load_best(fresh, result.best)
    fresh.eval()
    with torch.no_grad():
        parts = [fresh.validation_loss(b.images, b.labels) for b in valid.epoch(0)]
    assert float(sum(p[0] for p in parts)) / int(sum(p[1] for p in parts)) == result.best_loss


@pytest.mark.parametrize("minutes", [0, 10])
@pytest.mark.parametrize("name", ["constant", "onecycle"])
def test_a_fit_broken_off_after_any_step_ends_in_the_same_bits(tmp_path, minutes, name):
    """For every number of steps from 0 on: break off, call again, and weights and rows equal the undisturbed."""
    chosen = settings(2, schedule=ScheduleSettings(name=name), checkpoint_minutes=minutes)
    whole, result = train(tmp_path / "whole", chosen)
    timed = ("seconds", "images_per_second", "wait_share")
    expected = [{k: v for k, v in row.items() if k not in timed} for row in rows_of(tmp_path / "whole")]
    for count in range(0, 12, 1 if minutes == 0 and name == "constant" else 5):
        folder = tmp_path / str(count)
        with pytest.raises(Interrupted):
            train(folder, chosen, feed=stops_after(count))
        feed = FakeFeed()
        again, second = train(folder, chosen, feed=feed)
        assert feed.asked[0] == ((count // 6, count % 6) if minutes == 0 else (count // 6, 0))
        assert same_bits(snapshot(again), snapshot(whole)), count
        assert (second.best_epoch, second.best_loss) == (result.best_epoch, result.best_loss)
        assert [{k: v for k, v in row.items() if k not in timed} for row in rows_of(folder)] == expected


def test_rows_after_the_checkpoint_are_cut(tmp_path):
    """Whatever metrics.csv holds beyond the checkpoint is gone once a run resumes."""
    train(tmp_path, settings(2))
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("3,18,0.1,9,9,48,1,1,0\n4,2")
    _, result = train(tmp_path, settings(2))
    assert [row["epoch"] for row in rows_of(tmp_path)] == ["1", "2"]
    assert result.epochs == 2


def test_a_finished_fit_returns_at_once(tmp_path):
    """The same call again reads no batch and gives the same result and last weights."""
    first, result = train(tmp_path, settings(2))
    feed, valid = FakeFeed(), FakeFeed(size=20, keep=True, seed=7)
    again, second = train(tmp_path, settings(2), feed=feed, valid=valid)
    assert second == result
    assert feed.asked == valid.asked == []
    assert same_bits(snapshot(again), snapshot(first))


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_more_epochs_go_on_from_a_finished_fit(tmp_path, name):
    """3 epochs and then 5 give the bits of 5 at once, where the schedule does not depend on their number."""
    schedule = ScheduleSettings(name=name, stop_below=0)
    whole, result = train(tmp_path / "whole", settings(5, schedule=schedule))
    train(tmp_path / "parts", settings(3, schedule=schedule))
    parts, second = train(tmp_path / "parts", settings(5, schedule=schedule))
    assert same_bits(snapshot(parts), snapshot(whole))
    assert (second.best_epoch, second.best_loss, second.epochs) == (result.best_epoch, result.best_loss, 5)


def test_a_folder_of_another_fit_is_refused(tmp_path):
    """Other settings, another method, a model of another shape and other data are each refused, naming what differs."""
    train(tmp_path, settings(1))
    with pytest.raises(RunMismatch, match=r"optimizer\.lr: 0\.5, was 0\.02"):
        train(tmp_path, settings(1, lr=0.5))
    with pytest.raises(RunMismatch, match=r"schedule\.name: 'cosine', was 'constant'"):
        train(tmp_path, settings(1, schedule=ScheduleSettings(name="cosine")))
    moco = Moco(MocoSettings(dim=8, queue=8), start="random", seed=1, make_encoder=tiny)
    with pytest.raises(RunMismatch, match="method: 'moco', was 'classifier'"):
        train(tmp_path, settings(1), method=moco, feed=FakeFeed(views=2))
    wider = Classifier(start="random", outputs=5, seed=1, make_encoder=tiny)
    with pytest.raises(RunMismatch, match=r"fc\.weight"):
        train(tmp_path, settings(1), method=wider)
    with pytest.raises(StateMismatch):
        train(tmp_path, settings(1), feed=FakeFeed(seed=4))
    with pytest.raises(RunMismatch, match="started from other weights"):
        train(tmp_path, settings(1), method=classifier(8))


def test_fewer_epochs_than_are_done_are_refused(tmp_path):
    """A fit of 3 epochs cannot become one of 2: its weights have seen three."""
    train(tmp_path, settings(3))
    with pytest.raises(RunMismatch, match="3 epochs already, and 2"):
        train(tmp_path, settings(2))


def test_a_row_holds_the_rate_of_its_last_step(tmp_path):
    """With a cosine over 6 steps, epoch 3's row shows the rate that its last step used, not the 0 that follows it."""
    train(tmp_path, settings(3, schedule=ScheduleSettings(name="cosine")), feed=FakeFeed(size=16))
    rates = [float(row["lr"]) for row in rows_of(tmp_path)]
    assert rates == pytest.approx([0.02 * (1 + math.cos(math.pi * step / 6)) / 2 for step in (1, 3, 5)])


@pytest.mark.parametrize("event", [1, 4, 7, 11])
def test_ctrl_c_saves_the_step_that_it_falls_in(tmp_path, event):
    """SIGINT in a step or in validation ends training after it, saved; going on gives the undisturbed run's bits."""
    whole, _ = train(tmp_path / "whole", settings(3))
    feed, valid = SignalledFeed(), SignalledFeed(size=20, keep=True, seed=7)
    SignalledFeed.left = event
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", settings(3), feed=feed, valid=valid)
    saved = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["state"]
    assert saved["step"] >= 1
    resumed, _ = train(tmp_path / "parts", settings(3))
    assert same_bits(snapshot(resumed), snapshot(whole))
    assert untimed(tmp_path / "parts") == untimed(tmp_path / "whole")


def test_a_damaged_checkpoint_is_named(tmp_path):
    """A torn or foreign `last.pt` is an error with its path and the remedy, never a silent new start."""
    train(tmp_path, settings(1))
    last = tmp_path / "last.pt"
    last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(TrainingError, match="to train it anew"):
        train(tmp_path, settings(1))
    last.write_text("hello")
    with pytest.raises(TrainingError, match="to train it anew"):
        train(tmp_path, settings(1))
    torch.save({"format": "cxrfast-fit", "version": 99}, last)
    with pytest.raises(TrainingError, match="version 99"):
        train(tmp_path, settings(1))


def test_a_flipped_bit_in_a_weight_is_seen(tmp_path):
    """A flipped bit in any tensor of a checkpoint ends in its path and the remedy; torch alone would load it."""
    _, result = train(tmp_path, settings(1))
    whole = result.best.read_bytes()
    tensors = torch.load(result.best, weights_only=True)["model"].values()
    for tensor in tensors:
        stored = tensor.numpy().tobytes()
        content = bytearray(whole)
        content[whole.index(stored) + len(stored) // 2] ^= 1
        result.best.write_bytes(bytes(content))
        with pytest.raises(TrainingError, match=r"best\.pt cannot be read"):
            load_best(classifier(), result.best)


def test_a_lost_best_checkpoint_is_named(tmp_path):
    """A finished fit without its `best.pt` says to remove the folder, and then trains anew."""
    _, result = train(tmp_path / "fit", settings(1))
    result.best.unlink()
    with pytest.raises(RunMismatch, match="has lost its best"):
        train(tmp_path / "fit", settings(1))


def test_validation_always_takes_the_first_epochs_views(tmp_path):
    """The validation feed is only ever asked for epoch 0, from its start; the training feed for each epoch in turn."""
    feed, valid = FakeFeed(), FakeFeed(size=20, keep=True, seed=7)
    train(tmp_path, settings(3), feed=feed, valid=valid)
    assert valid.asked == [(0, 0)] * 3
    assert feed.asked == [(0, 0), (1, 0), (2, 0)]


class PoisonFeed(FakeFeed):
    """Labels of one batch that make the loss infinite."""

    def epoch(self, epoch, *, start=0):
        for number, batch in enumerate(super().epoch(epoch, start=start), start=start):
            if (epoch, number) == (1, 2):
                batch.labels = batch.labels + math.inf
            yield batch


def test_a_loss_that_is_no_number_stops_with_step_and_rows(tmp_path):
    """The error names epoch, step and the batch's rows, and the last checkpoint is from before it."""
    with pytest.raises(TrainingError, match=r"epoch 2, step 9, on rows") as caught:
        train(tmp_path, settings(3, checkpoint_minutes=0), feed=PoisonFeed())
    order = [batch.index.tolist() for batch in FakeFeed().epoch(1)]
    assert list(caught.value.rows) == order[2]
    assert ", ".join(map(str, order[2])) in str(caught.value)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["state"]["step"] == 8
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_a_validation_set_without_known_labels_is_an_error(tmp_path):
    """No known target in the whole validation set stops the fit in words."""
    valid = FakeFeed(size=16, seed=7)
    valid.labels[:] = math.nan
    with pytest.raises(TrainingError, match="over 0 losses"):
        train(tmp_path, settings(1), valid=valid)


def test_a_set_smaller_than_a_batch_is_an_error(tmp_path):
    """An epoch without a batch is refused before anything is trained."""
    with pytest.raises(TrainingError, match="lower batch_size"):
        train(tmp_path, settings(1), feed=FakeFeed(size=4))


def test_devices_and_precisions_that_cannot_be_are_refused(tmp_path):
    """fp16 without CUDA and a device that torch does not know or find are errors that say what to set."""
    with pytest.raises(ConfigError, match="fp16 needs a CUDA GPU"):
        train(tmp_path, settings(1, precision="fp16"))
    with pytest.raises(ConfigError, match="use cpu or cuda"):
        fit(classifier(), FakeFeed(), None, settings(1), tmp_path, device="tpu9", label="x", progress=Silent())
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigError, match=r"no CUDA GPU|counted from 0"):
        fit(classifier(), FakeFeed(), None, settings(1), tmp_path, device=missing, label="x", progress=Silent())


@pytest.mark.parametrize("name", ["plateau", "constant"])
def test_stop_rules_end_a_fit_early(tmp_path, name):
    """A loss that cannot fall ends the fit by its rule, and the first epoch stays the best."""
    stalled = None if name == "plateau" else 2
    schedule = ScheduleSettings(name=name, patience=1, stop_below=5e-31, patience_stop=stalled)
    frozen = classifier()
    for module in frozen.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.0
    _, result = train(tmp_path, settings(30, lr=1e-30, schedule=schedule), method=frozen)
    assert (result.epochs, result.best_epoch) == (2 if name == "plateau" else 3, 1)
    assert ("fell below" if name == "plateau" else "no new minimum in 2 epochs") in result.stopped


def test_without_a_validation_set_the_training_loss_is_judged(tmp_path):
    """`valid=None` leaves the column empty and keeps the epoch of the lowest training loss."""
    result = fit(classifier(), FakeFeed(), None, settings(3), tmp_path, device="cpu", label="x", progress=Silent())
    rows = rows_of(tmp_path)
    assert {row["valid_loss"] for row in rows} == {""}
    assert result.best_loss == min(float(row["train_loss"]) for row in rows)


def test_half_precision_and_layout_train_as_well(tmp_path):
    """bf16 autocast in channels-last learns too, keeps float32 weights, and clipping bounds the step."""
    method, _ = train(tmp_path, settings(4, precision="bf16", channels_last=True))
    losses = [float(row["train_loss"]) for row in rows_of(tmp_path)]
    assert losses[-1] < losses[0]
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    start = snapshot(classifier())
    sgd = FitSettings(
        epochs=1, optimizer=OptimizerSettings(name="sgd", lr=1.0, momentum=0), clip=1e-3, schedule=CONSTANT
    )
    clipped, _ = train(tmp_path / "clipped", sgd)
    moved = [(p.detach() - start[name]).square().sum() for name, p in clipped.named_parameters()]
    assert float(sum(moved)) ** 0.5 <= 6 * 1e-3 * 1.001


def test_training_leaves_torchs_globals_alone(tmp_path):
    """A fit changes neither the thread count nor the global generator."""
    method = Moco(MocoSettings(dim=8, queue=8), start="random", seed=1, make_encoder=tiny)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    valid = FakeFeed(size=16, views=2)
    train(tmp_path, settings(1), method=method, feed=FakeFeed(views=2), valid=valid)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_moco_validation_in_a_fit_moves_nothing(tmp_path):
    """Two fits, one validated and one not, end in the same bits."""
    ends = []
    for number, valid in enumerate((None, FakeFeed(size=16, views=2, seed=7))):
        method = Moco(MocoSettings(dim=8, queue=20), start="random", seed=1, make_encoder=tiny)
        fit(method, FakeFeed(views=2), valid, settings(2), tmp_path / str(number), device="cpu", label="x",
            progress=Silent())  # fmt: skip
        ends.append(snapshot(method))
    assert same_bits(*ends)


def test_predictions_come_in_the_feeds_order_with_rows():
    """Each row is there once, with the sigmoid of its logits in evaluation mode, whatever the batch size."""
    method = classifier().eval()
    scores, rows = predict(method, FakeFeed(size=21, batch=8, keep=True), device="cpu")
    whole = next(iter(FakeFeed(size=21, batch=21).epoch(0)))
    assert rows.tolist() == whole.index.tolist()
    assert scores.dtype == "float64"
    with torch.no_grad():
        assert torch.allclose(torch.tensor(scores), torch.sigmoid(method.logits(whole.images).double()), atol=1e-6)
    empty, none = predict(method, FakeFeed(size=0, keep=True), device="cpu")
    assert (empty.shape, none.shape) == ((0, 2), (0,))
