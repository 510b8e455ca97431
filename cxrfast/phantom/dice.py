"""Named draws for the phantoms: each number hangs on its own name, not on how many were drawn before it.

So a finding that is added to a drawing later leaves the rest of the picture as it was, and any worker can draw any
image. The price is one hash a draw (some 20 microseconds), which a drawing of 10 milliseconds does not notice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cxrfast import chance

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Dice:
    """A place in the counter hash: `word` stands for purpose, seed, patient, study, image and whatever else."""

    word: int

    @classmethod
    def of(cls, *parts: int | str) -> "Dice":
        """Return the dice of these parts, in their order."""
        return cls(int(chance.counter_hash("phantom", *parts)))

    def child(self, *parts: int | str) -> "Dice":
        """Return dice of a narrower place, such as a study of this patient."""
        return Dice(int(chance.counter_hash(self.word, *parts)))

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> float:
        """Draw one number from U(low, high)."""
        return float(chance.uniform(self.word, name, low=low, high=high))

    def uniforms(self, name: str, size: int, low: float = 0.0, high: float = 1.0) -> npt.NDArray[np.float64]:
        """Draw float64 (size,) from U(low, high); a longer array begins with the same numbers as a shorter one."""
        return chance.uniform(self.word, name, np.arange(size, dtype=np.uint64), low=low, high=high)

    def happens(self, name: str, probability: float) -> bool:
        """Return True with this probability."""
        return self.uniform(name) < probability

    def pick(self, name: str, options: Sequence[Choice]) -> Choice:
        """Return one of the options, each equally likely."""
        return options[int(chance.integers(len(options), self.word, name))]

    def grain(self, name: str, height: int, width: int) -> npt.NDArray[np.float32]:
        """Draw near-normal white noise: float32 (height, width), mean 0, variance 1.

        The four 16-bit quarters of one hash word are summed (Irwin-Hall, n = 4): a quarter of the hashes, and no
        logarithm or cosine a pixel.
        """
        words = chance.counter_hash(self.word, name, np.arange(height * width, dtype=np.uint64))
        quarters = words.view(np.uint16).reshape(height, width, 4)
        total = np.full((height, width), -2.0 * 65535, dtype=np.float32)
        for quarter in range(4):
            total += quarters[..., quarter]
        return total * np.float32(1 / (65536 * np.sqrt(4 / 12)))
