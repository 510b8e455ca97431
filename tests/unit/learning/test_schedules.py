import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrfast.learning.fitstate import FitState
from cxrfast.learning.schedules import Schedule, ScheduleSettings


def optimizer(lr=1.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rate(opt):
    return opt.param_groups[0]["lr"]


def falls_as_told(losses, patience):
    """Apply the rule in words: no new minimum in `patience` epochs, and the rate falls and the count starts again."""
    rates, lr, best, waited = [], 1.0, math.inf, 0
    for loss in losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == patience:
            lr, waited = lr * 0.1, 0
        rates.append(lr)
    return rates


@settings(max_examples=80, deadline=None)
@given(losses=st.lists(st.sampled_from([0.1, 0.2, 0.2000001, 0.3, 0.5]), max_size=20), patience=st.integers(1, 4))
def test_plateau_falls_when_no_new_minimum_came_in_time(losses, patience):
    """The rate follows the study's rule exactly: x0.1 after `patience` epochs without a minimum, however small."""
    opt = optimizer()
    schedule = Schedule(ScheduleSettings(patience=patience), opt, total_steps=1)
    found = []
    for loss in losses:
        schedule.after_epoch(loss)
        found.append(rate(opt))
    assert found == pytest.approx(falls_as_told(losses, patience))


def test_plateau_falls_below_any_rate_until_the_stop_rule_ends_training():
    """From 3e-5 a loss that never falls stops training at 3e-8, the first rate below 1e-7."""
    opt, state, chosen = optimizer(3e-5), FitState(), ScheduleSettings()
    schedule = Schedule(chosen, opt, total_steps=1)
    while not (why := state.why_stop(chosen, epochs=100, lr=rate(opt))):
        state.close_epoch(train_loss=1.0, valid_loss=1.0)
        schedule.after_epoch(1.0)
    assert state.epoch == 1 + 3 * 3
    assert rate(opt) == pytest.approx(3e-8)
    assert "below 1e-07" in why


@pytest.mark.parametrize("name", ["constant", "cosine", "onecycle"])
def test_the_lowest_rate_stops_plateau_alone(name):
    """A rate below `stop_below` is part of the plan of other schedules and stops nothing."""
    assert FitState(epoch=1).why_stop(ScheduleSettings(name=name), epochs=5, lr=1e-9) == ""


def test_training_stops_when_the_loss_stalls():
    """`patience_stop` counts epochs since the last new minimum."""
    chosen, state, stops = ScheduleSettings(name="constant", patience_stop=2), FitState(images=1), []
    for loss in (0.9, 0.8, 0.85, 0.7, 0.7, 0.71):
        state.close_epoch(train_loss=0.0, valid_loss=loss)
        stops.append(bool(state.why_stop(chosen, epochs=50, lr=1)))
    assert stops == [False, False, False, False, False, True]
    assert (state.best_epoch, state.best_loss) == (4, 0.7)


def test_cosine_and_onecycle_follow_their_formulas_by_step():
    """Cosine is lr (1 + cos(pi t / T)) / 2; onecycle rises to lr and ends near 0, after exactly T steps."""
    cosine, cycle, total = optimizer(), optimizer(), 40
    schedules = [Schedule(ScheduleSettings(name=n), o, total_steps=total) for n, o in
                 (("cosine", cosine), ("onecycle", cycle))]  # fmt: skip
    seen = []
    for step in range(total):
        assert rate(cosine) == pytest.approx((1 + math.cos(math.pi * step / total)) / 2)
        seen.append(rate(cycle))
        for opt, schedule in zip((cosine, cycle), schedules, strict=True):
            opt.step()
            schedule.after_step()
    assert max(seen) == pytest.approx(1.0, rel=0.02)
    assert seen[0] == pytest.approx(1 / 25)
    assert seen[-1] < 1e-3


@pytest.mark.parametrize("name", ["constant", "plateau", "cosine", "onecycle"])
def test_a_schedule_goes_on_from_its_state(name, tmp_path):
    """Saved midway, loaded safely into a new one with its optimiser, every schedule gives the rates it would have."""

    def run(opt, schedule, steps):
        rates = []
        for step in steps:
            opt.step()
            schedule.after_step()
            schedule.after_epoch(1.0 + step)
            rates.append(rate(opt))
        return rates

    chosen, straight = ScheduleSettings(name=name), optimizer()
    expected = run(straight, Schedule(chosen, straight, total_steps=20), range(20))
    first, second = optimizer(), optimizer()
    schedule = Schedule(chosen, first, total_steps=20)
    run(first, schedule, range(7))
    torch.save([first.state_dict(), schedule.state_dict()], tmp_path / "state.pt")
    resumed = Schedule(chosen, second, total_steps=20)
    for part, state in zip((second, resumed), torch.load(tmp_path / "state.pt", weights_only=True), strict=True):
        part.load_state_dict(state)
    assert run(second, resumed, range(7, 20)) == expected[7:]
