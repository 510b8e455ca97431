"""Named draws: what one name gives hangs on nothing but its place and its name."""

import numpy as np

from cxrfast.phantom.dice import Dice


def test_a_draw_depends_on_place_and_name_alone():
    """The same place and name give the same number, whatever was drawn before; another of either gives another."""
    dice = Dice.of("chexpert", 0, 12)
    first = dice.uniform("x")
    dice.uniform("y")
    assert dice.uniform("x") == first == Dice.of("chexpert", 0, 12).uniform("x")
    assert len({first, dice.uniform("y"), Dice.of("chexpert", 1, 12).uniform("x"), dice.child(1).uniform("x")}) == 4


def test_draws_stay_within_their_bounds():
    """Numbers lie in [low, high), picks are among the options and all of them come up."""
    dice = Dice.of("bounds")
    numbers = dice.uniforms("n", 2000, -2, 3)
    assert numbers.min() >= -2
    assert numbers.max() < 3
    assert {dice.pick(str(i), "abc") for i in range(60)} == set("abc")


def test_grain_is_nearly_normal():
    """Noise has mean 0, variance 1, is white, and has few values beyond three deviations."""
    grain = Dice.of("grain").grain("g", 300, 400)
    assert grain.shape == (300, 400)
    assert grain.dtype == np.float32
    assert abs(grain.mean()) < 0.01
    assert abs(grain.std() - 1) < 0.01
    assert abs((grain[:, 1:] * grain[:, :-1]).mean()) < 0.01
    assert (np.abs(grain) > 3).mean() < 0.004
