"""Which part of every global batch this process takes.

Ranks are an argument, not something that is looked up deep inside: a loader for rank 3 of 8 can be made anywhere, so
the sweeps in the tests need no process group. `Ranks.from_env()` reads what torchrun sets.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from cxrfast.errors import LoaderError

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """One process of `world_size`, of which `on_node` run on this node and share its CPUs."""

    rank: int = 0
    world_size: int = 1
    on_node: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise LoaderError(
                f"rank={self.rank} is not one of world_size={self.world_size}: ranks count from 0 to world_size - 1"
            )
        if not 1 <= self.on_node <= self.world_size:
            raise LoaderError(f"on_node={self.on_node} must be between 1 and world_size={self.world_size}")

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Ranks":
        """Return the ranks that torchrun set in the environment, or a single rank where it set none."""
        env = os.environ if env is None else env
        found = {name: env[name] for name in _VARIABLES if name in env}
        if not found:
            return cls()
        if "RANK" not in found or "WORLD_SIZE" not in found:
            raise LoaderError(
                f"the environment has {found} but torchrun sets both RANK and WORLD_SIZE: set or unset both"
            )
        try:
            numbers = {name: int(value) for name, value in found.items()}
        except ValueError as error:
            raise LoaderError(f"RANK, WORLD_SIZE and LOCAL_WORLD_SIZE must be whole numbers, not {found}") from error
        return cls(rank=numbers["RANK"], world_size=numbers["WORLD_SIZE"], on_node=numbers.get("LOCAL_WORLD_SIZE", 1))

    def share(self, lanes: int) -> range:
        """Return this rank's lanes: `lanes / world_size` neighbours. Raises LoaderError where it does not divide."""
        if lanes % self.world_size:
            raise LoaderError(
                f"{self.world_size} ranks cannot share {lanes} lanes evenly: set lanes to a multiple of world_size, "
                f"such as {self.world_size * max(1, round(lanes / self.world_size))}"
            )
        each = lanes // self.world_size
        return range(self.rank * each, (self.rank + 1) * each)

    def cpus(self) -> int:
        """Return how many CPUs of the affinity mask fall to this rank, at least 1."""
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, allowed // self.on_node)
