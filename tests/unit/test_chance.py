"""The counter hash: stable, uniform, and blind to anything but its parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrfast import chance


def test_stream_never_changes() -> None:
    """Shards, orders and views of earlier versions stay valid only while these very words come out."""
    assert chance.hash_text("kermany-IM-0115-0001") == 5106319635248568271
    assert chance.counter_hash("view", 1, np.arange(3)).tolist() == [
        12407704702559089299,
        218830991906963233,
        6607487357327256314,
    ]
    assert chance.permutation(8, "order", 0, 0).tolist() == [7, 6, 4, 0, 1, 3, 5, 2]


@given(st.integers(0, 300), st.integers(0, 5), st.integers(0, 5))
def test_permutation_holds_each_index_once(size: int, seed: int, epoch: int) -> None:
    """A permutation of any size, also 0 and 1, holds every index exactly once."""
    assert sorted(chance.permutation(size, "order", seed, epoch).tolist()) == list(range(size))


@given(st.integers(0, 3), st.integers(0, 3 * chance._CHUNK), st.integers(0, 3 * chance._CHUNK))
def test_hashes_of_a_range_are_those_of_its_numbers(seed: int, start: int, count: int) -> None:
    """However many chunks a range has, each number's word is its own; and a permutation sorts by just these words."""
    words = chance.hashes_of_range(start, start + count, "order", seed)
    assert words.tolist() == chance.counter_hash("order", seed, np.arange(start, start + count)).tolist()
    low = (1 << max(count - 1, 0).bit_length()) - 1
    hashes = chance.hashes_of_range(0, count, "order", seed) & ~np.uint64(low)
    found = chance.permutation(count, "order", seed)
    assert found.tolist() == np.lexsort((np.arange(count), hashes)).tolist()


def test_the_mixer_is_splitmix64() -> None:
    """The mixer gives the first word of SplitMix64 from seed 0, as its authors publish it."""
    assert chance._mix(np.array([0x9E3779B97F4A7C15], dtype=np.uint64)).tolist() == [0xE220A8397B1DCDAF]


def test_parts_count_in_their_order() -> None:
    """(seed 0, epoch 1) and (seed 1, epoch 0) are different draws, and so are purposes."""
    assert chance.counter_hash("order", 0, 1) != chance.counter_hash("order", 1, 0)
    assert chance.counter_hash("order", 0) != chance.counter_hash("view", 0)
    assert chance.counter_hash(0) != chance.counter_hash(0, 0)


def test_a_draw_does_not_depend_on_its_company() -> None:
    """An element drawn alone equals the same element drawn within an array."""
    keys = chance.hash_keys([f"key{i}" for i in range(100)])
    together = chance.uniform("view", 7, keys)
    alone = [float(chance.uniform("view", 7, keys[i : i + 1])[0]) for i in range(100)]
    assert together.tolist() == alone


@pytest.mark.parametrize("seed", range(5))
def test_uniform_is_uniform_and_independent(seed: int) -> None:
    """Counters in a row give draws whose bins, mean and neighbour correlation are those of U(0, 1) within 5 sigma."""
    draws = chance.uniform("test", seed, np.arange(200_000))
    counts = np.histogram(draws, bins=100, range=(0, 1))[0]
    chi_square = ((counts - 2_000) ** 2 / 2_000).sum()
    assert abs(chi_square - 99) < 5 * np.sqrt(2 * 99)
    assert abs(draws.mean() - 0.5) < 5 / np.sqrt(12 * 200_000)
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 5 / np.sqrt(200_000)
    assert draws.min() >= 0
    assert draws.max() < 1


def test_shapes_broadcast() -> None:
    """Array parts broadcast; without one the result is 0-d."""
    assert chance.counter_hash("x", np.arange(2)[:, None], np.arange(3)).shape == (2, 3)
    assert chance.uniform("x").shape == ()


@given(st.integers(1, 2**32), st.integers(0, 1000))
def test_integers_stay_below_their_bound(bound: int, counter: int) -> None:
    """Whole numbers fall in [0, bound)."""
    assert 0 <= int(chance.integers(bound, "test", counter)) < bound
