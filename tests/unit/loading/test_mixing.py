"""Since packing shuffles globally, `Block` mixes as `Global` does: measured on a table of 40,000 images.

A batch of either should be as good as b images drawn without replacement from all N, so every measure has an
expectation in closed form; each is checked in both directions, since too regular a batch is not random either.
"""

import numpy as np
import pytest

from cxrfast.chance import permutation
from cxrfast.loading.order import Block, Global, Layout, epoch_order

COUNT, LANES, EPOCHS = 40_000, 8, 4
SETS = (0.55, 0.28, 0.12, 0.04, 0.01)
PREVALENCE = np.geomspace(0.005, 0.5, 14)
SIGMAS = 5.0


class Table:
    """Images sorted by data set and patient; a patient's images, 1 to 20, share most labels and the set's habits."""

    def __init__(self):
        rng = np.random.default_rng(21)
        patients = np.minimum(rng.geometric(0.25, COUNT), 20)
        self.patient = np.repeat(np.arange(COUNT), patients)[:COUNT]
        of_patient = np.sort(rng.choice(len(SETS), COUNT, p=SETS))
        of_patient = of_patient[np.linspace(0, COUNT - 1, self.patient[-1] + 1).astype(int)]
        self.dataset = of_patient[self.patient]
        habit = rng.uniform(0.5, 1.5, (len(SETS), 14))
        chance = np.minimum(PREVALENCE * habit[self.dataset], 0.9)
        own, shared = rng.uniform(size=(2, COUNT, 14))
        follows = rng.uniform(size=(COUNT, 14)) < 0.8
        self.labels = np.where(follows, shared[self.patient], own) < chance
        self.nbytes = rng.integers(15_000, 40_000, COUNT)
        self.sizes = np.bincount(self.patient)

    def layout(self, *, shuffled):
        """Return the layout of these rows as packing stores them, or sorted as they are."""
        rows = permutation(COUNT, "packed", 1) if shuffled else np.arange(COUNT)
        counts = np.diff(np.append(np.arange(0, COUNT, 1024), COUNT))
        return Layout(rows, counts, self.nbytes[rows])


@pytest.fixture(scope="module")
def table():
    return Table()


def epochs_of(order, layout, batch):
    """Return each epoch's global batches: int64 (epochs, batches, batch)."""
    found = []
    for epoch in range(EPOCHS):
        arranged = epoch_order(order, layout, batch_size=batch, last="drop", seed=5, epoch=epoch)
        found.append([arranged.batch(number, range(LANES)) for number in range(arranged.batches)])
    return np.array(found)


def distinct(values):
    """Return how many different values each row has: (n, b) -> (n,)."""
    return (np.diff(np.sort(values, axis=1), axis=1) != 0).sum(axis=1) + 1


def pairs(values):
    """Return how many pairs of equal values each row has: (n, b) -> (n,)."""
    ordered = np.sort(values, axis=1)
    equal = [(ordered[:, step:] == ordered[:, :-step]).sum(axis=1) for step in range(1, 21)]
    return np.sum(equal, axis=0)


def never_drawn(size, batch):
    """Return how likely a batch has none of `size` of the N images."""
    few, many = sorted((int(size), batch))
    index = np.arange(few)
    return np.prod((COUNT - many - index) / (COUNT - index))


class Measures:
    """Standardised differences of an order's batches from those of a random draw, and what comes with them."""

    def __init__(self, table, batches):
        flat = batches.reshape(-1, batches.shape[-1])
        batch = flat.shape[1]
        patients, sets = table.patient[flat], table.dataset[flat]
        of_patient = pairs(patients)
        self.two_of_a_patient = (of_patient > 0).mean()
        self.number = len(flat)
        self.off = {
            "patients": _off(distinct(patients), sum(1 - never_drawn(size, batch) for size in table.sizes)),
            "data sets": _off(distinct(sets), sum(1 - never_drawn(size, batch) for size in np.bincount(table.dataset))),
            "pairs of a patient": _off(of_patient, batch * (batch - 1) / COUNT / (COUNT - 1) * _pairs(table)),
            "labels": _labels_off(table.labels[flat].sum(axis=1), table.labels.mean(axis=0), batch),
        }


def _pairs(table):
    return (table.sizes * (table.sizes - 1) / 2).sum()


def _off(values, expected):
    """Return by how many standard errors the mean of values (n,) is off what is expected."""
    return (values.mean() - expected) / max(values.std() / np.sqrt(len(values)), 1e-9)


def _labels_off(counts, prevalence, batch):
    """Return by how many standard errors the labels' chi-square is off what drawing without replacement gives.

    Positive: batches differ more than they should; negative: they are too regular. Labels are not independent, so the
    standard error is taken over batches, each with its fourteen labels together.
    """
    variance = batch * prevalence * (1 - prevalence) * (COUNT - batch) / (COUNT - 1)
    chi_square = ((counts - batch * prevalence) ** 2 / variance).mean(axis=1)
    return _off(chi_square, 1.0)


@pytest.mark.parametrize("batch", [32, 256])
@pytest.mark.parametrize("order", [Global(), Block(), Block(memory="64MB")], ids=["global", "block", "small blocks"])
def test_batches_are_random_draws_of_what_packing_shuffled(table, order, batch):
    """Distinct patients and data sets, pairs of a patient, and label counts are those of a draw, within 5 sigma."""
    measures = Measures(table, epochs_of(order, table.layout(shuffled=True), batch))
    assert {name: off for name, off in measures.off.items() if abs(off) > SIGMAS} == {}


@pytest.mark.parametrize("batch", [32, 256])
def test_as_many_batches_hold_a_patient_twice_as_with_global(table, batch):
    """The share of batches with two images of a patient is Global's and 1 - exp(-pairs expected), within 5 sigma."""
    layout = table.layout(shuffled=True)
    block, whole = (Measures(table, epochs_of(order, layout, batch)) for order in (Block(), Global()))
    expected = 1 - np.exp(-batch * (batch - 1) / COUNT / (COUNT - 1) * _pairs(table))
    error = np.sqrt(expected * (1 - expected) / block.number)
    assert abs(block.two_of_a_patient - whole.two_of_a_patient) < SIGMAS * np.sqrt(2) * error
    # Pairs of a patient with many images come together, which the exponential does not know: a point at most.
    assert abs(block.two_of_a_patient - expected) < SIGMAS * error + 0.01


@pytest.mark.parametrize("batch", [32, 256])
def test_what_was_packed_unshuffled_is_told_by_every_measure(table, batch):
    """Sorted by patient and read in small blocks, batches are far from a draw in each measure: the measures can fail.

    A block of 1 MB holds 36 images: of some ten patients and, mostly, of one data set.
    """
    measures = Measures(table, epochs_of(Block(memory="8MB"), table.layout(shuffled=False), batch))
    assert {name for name, off in measures.off.items() if abs(off) > 2 * SIGMAS} == set(measures.off)
    assert measures.off["patients"] < 0 < measures.off["labels"]
    assert measures.two_of_a_patient > 0.95


def met_again(now, then):
    """Return how many of its b - 1 batch neighbours of one epoch a sample meets again in the next, on average."""
    where = np.full(COUNT, -1)
    where[then] = np.arange(len(then))[:, None]
    later = np.sort(np.where(where[now] < 0, -1 - np.arange(now.shape[1]), where[now]), axis=1)
    same = sum((later[:, step:] == later[:, :-step]).sum() for step in range(1, now.shape[1]))
    return 2 * same / now.size


@pytest.mark.parametrize("batch", [32, 256])
def test_batch_neighbours_seldom_meet_again(table, batch):
    """`Global`: (b - 1)^2 / (N - 1) of b - 1 neighbours are met again. `Block` adds those of the own lane's block.

    With b / L images of a lane in a batch and B in a block, at most (b / L - 1)^2 / (B - 1) more are met again: all of
    that if the images of a block stayed together for ever, and less since shards are permuted.
    """
    layout = table.layout(shuffled=True)
    by_chance = (batch - 1) ** 2 / (COUNT - 1)
    whole = epochs_of(Global(), layout, batch)
    meetings = len(whole[0]) * batch * by_chance
    found = np.mean([met_again(*whole[at : at + 2]) for at in range(EPOCHS - 1)])
    assert found == pytest.approx(by_chance, rel=2 * SIGMAS / np.sqrt(meetings))
    order = epoch_order(Block(), layout, batch_size=batch, last="drop", seed=5, epoch=0)
    in_block = len(order.rows) / (len(order.groups) - 1)
    block = epochs_of(Block(), layout, batch)
    found = np.mean([met_again(*block[at : at + 2]) for at in range(EPOCHS - 1)])
    assert 0.9 * by_chance < found < 1.1 * (by_chance + (batch / LANES - 1) ** 2 / (in_block - 1))
    assert found < 0.02 * (batch - 1)
    tiny = epochs_of(Block(memory="2MB"), layout, batch)
    assert np.mean([met_again(*tiny[at : at + 2]) for at in range(EPOCHS - 1)]) > 2 * found
