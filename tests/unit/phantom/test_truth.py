"""Shares of findings are exact, healthy studies have nothing, and one finding may draw another."""

import numpy as np
import pytest

from cxrfast.phantom.dice import Dice
from cxrfast.phantom.truth import draw_findings, top

SHARES = {"A": 0.3, "B": 0.2, "Device": 0.5}


@pytest.mark.parametrize("count", [0, 1, 9, 200])
@pytest.mark.parametrize("seed", [0, 1])
def test_shares_are_exact(count, seed):
    """Of n studies, round(share * n) have each finding, whatever the seed."""
    found = draw_findings([Dice.of(seed, number) for number in range(count)], SHARES)
    assert len(found) == count
    for name, share in SHARES.items():
        assert sum(name in names for names in found) == round(share * count)


def test_the_healthy_have_nothing_but_what_stands_apart():
    """Half are healthy: they have no finding, though some have what hangs on none, and the others have the shares."""
    found = draw_findings([Dice.of(number) for number in range(200)], SHARES, healthy=0.5, apart=("Device",))
    healthy = [names for names in found if not names - {"Device"}]
    assert len(healthy) >= 100
    assert any(healthy)
    assert sum("A" in names for names in found) == 60


def test_a_finding_leans_on_another():
    """Who has A has B far more often where B leans on it."""
    dice = [Dice.of(number) for number in range(300)]
    together = [
        sum({"A", "B"} <= names for names in draw_findings(dice, SHARES, leaning=leaning))
        for leaning in ({}, {"B": {"A": 0.8}})
    ]
    assert together[1] > 2 * together[0]


def test_top_takes_the_highest():
    """The highest scores are taken, the first among equals."""
    assert top(np.array([0.1, 0.9, 0.5, 0.9]), 0.5).tolist() == [False, True, False, True]
    assert top([1.0, 1.0, 1.0], 0.34).tolist() == [True, False, False]
