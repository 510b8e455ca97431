"""How often each image comes in an epoch: data sets weighed against each other, rare classes drawn more often.

Drawing every image anew, with replacement, would leave out a third of a set in each epoch even where all weights are
equal, and would tie what comes to a generator's state. Here an epoch keeps its length, and an image comes as often as
its weight says, rounded down or up, by systematic sampling: over a permutation of the images stand intervals as long as
their expected numbers of copies, and a comb of teeth one apart, laid down at a drawn phase, counts them. The price is
that how often images come is not independent between images, which nothing here asks for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cxrfast import chance
from cxrfast.chance import UInt64Array
from cxrfast.errors import LoaderError

if TYPE_CHECKING:
    from cxrfast.shardset.shardset import ShardSet

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_CHUNK = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How much images weigh; an image's expected number of copies in an epoch of n is n * weight / sum of weights.

    With both options an image's weights are multiplied. Raises LoaderError where a weight is none.
    """

    datasets: Mapping[str, float] = field(default_factory=dict)
    """The weight of each image of a data set, such as {"kermany": 4}; where none is named it is 1, so that a set that
    is added later comes as it is, and is not left out in silence. 0 leaves a set out."""
    balance: bool = False
    """Class-aware sampling (Shen, Lin, Huang: Relay Backpropagation for Effective Learning of Deep Convolutional Neural
    Networks, ECCV 2016, section on class-aware sampling): a target, or "none of them", is drawn uniformly, then an
    image that has it. So an image weighs the sum over its positive targets of 1 / images with that target; one with no
    positive target (negative or unknown) weighs 1 / images with none."""

    def __post_init__(self) -> None:
        if not isinstance(self.datasets, Mapping):
            raise LoaderError(
                f"datasets={self.datasets!r} is not a mapping from data sets to weights: {{'kermany': 4}}"
            )
        for name, weight in self.datasets.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
                raise LoaderError(f"the weight of {name!r} is {weight!r}: it must be a finite number, 0 or more")
        if not isinstance(self.balance, bool):
            raise LoaderError(f"balance={self.balance!r} is neither True nor False")
        object.__setattr__(self, "datasets", {name: float(self.datasets[name]) for name in sorted(self.datasets)})

    def weights(self, shards: "ShardSet") -> Floats:
        """Return the weight of each row of a set: float64 (n,).

        Raises LoaderError for a data set that is not there, for `balance` without targets, and where all weigh 0.
        """
        names = shards.table["dataset"]
        there = sorted(names.unique())
        if unknown := [name for name in self.datasets if name not in there]:
            raise LoaderError(
                f"sampling weighs the data set {unknown[0]!r}, but these {len(shards):,} images are of "
                f"{', '.join(there)}: correct or drop the name"
            )
        weights = names.map({name: self.datasets.get(name, 1.0) for name in there}).to_numpy(dtype=np.float64)
        if not weights.any():
            raise LoaderError(
                f"sampling gives every image weight 0: give one of {', '.join(there)} a weight above 0, "
                "or do not name it"
            )
        weights = weights / weights.max()
        return np.asarray(weights * _balancing(shards) if self.balance else weights, dtype=np.float64)


def expected_copies(weights: Floats) -> Integers:
    """Return n * weight / sum of weights of each row, in units of 2**-unit_bits(n): int64 (n,), n * 2**bits in all.

    Whole numbers, since a sum of floats would now and then give an image that is due exactly once no copy, or two.
    """
    bits = unit_bits(len(weights))
    exact = np.ldexp(weights * (len(weights) / weights.sum()), bits)
    copies: Integers = np.rint(exact).astype(np.int64)
    # What rounding left over goes to rows whose number is not whole; where it is not 0 there are some.
    rest = (len(weights) << bits) - int(copies.sum())
    if rest:
        broken = np.flatnonzero(copies & ((1 << bits) - 1))
        each, more = divmod(rest, len(broken))
        copies[broken] += each
        copies[broken[:more]] += 1
    return copies


def unit_bits(count: int) -> int:
    """Return how many binary places the copies of `count` rows have, so that their sum fits in 63 bits."""
    return 62 - count.bit_length()


def times_drawn(expected: Integers, *, seed: int, epoch: int) -> Integers:
    """Return how often each row comes in an epoch, its expected copies rounded down or up: int64 (n,), n in all.

    A pure function: the permutation of rows and the phase are drawn anew from seed and epoch.
    """
    count = len(expected)
    bits = unit_bits(count)
    rows = chance.permutation(count, "sampling", seed, epoch)
    at = int(float(chance.uniform("sampling, phase", seed, epoch)) * (1 << bits))
    times = np.empty(count, dtype=np.int64)
    for start in range(0, count, _CHUNK):  # so that millions of rows need little memory beside their own
        chunk = rows[start : start + _CHUNK]
        ends = at + np.cumsum(expected[chunk])
        times[chunk] = np.diff(ends >> bits, prepend=at >> bits)
        at = int(ends[-1])
    return times


def keys_of_copies(keys: UInt64Array, copies: Integers) -> UInt64Array:
    """Return what views are drawn by, uint64 (n,): the key's hash, mixed with the copy's number where that is not 0."""
    return np.where(copies > 0, chance.counter_hash("copy", keys, copies), keys)


def _balancing(shards: "ShardSet") -> Floats:
    """Return 1 / images of a class summed over each row's classes, "none of them" being one: float64 (n,)."""
    if not shards.targets:
        raise LoaderError("sampling with balance=True needs targets: choose a task first, set.task('chexpert14')")
    positive = shards.labels == 1
    classes = np.column_stack([positive, ~positive.any(axis=1)])
    images = classes.sum(axis=0)
    return np.asarray(classes @ (1.0 / np.maximum(images, 1)), dtype=np.float64)
