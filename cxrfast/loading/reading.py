"""How samples are read, and what is done about damaged ones: settings that change no batch of undamaged data."""

from dataclasses import dataclass
from typing import Literal

from cxrfast.errors import LoaderError
from cxrfast.loading.memory import parse_memory


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How samples are read.

    With `on_error="skip"` a damaged sample is named in a warning and the next good one of its lane, at the same place
    in a later batch, takes its place. That hides a fault, so it has a budget, and evaluation never allows it.
    """

    threads: int | None = None
    """How many threads decode and warp; None: the CPUs of the affinity mask / ranks on the node."""
    ahead: str | int = "64MB"
    """How many stored bytes may have been asked for before any of them is used; one group of samples always is."""
    fetch_ahead: str | int = "2GB"
    """How many bytes of remote shards all ranks of a node may fetch before reading comes to them."""
    gap: str | int = "256KB"
    """Bytes between two wanted samples of a file that are rather read over than skipped: what a disk, or a server,
    gives in the time of one more request."""
    on_error: Literal["raise", "skip"] = "raise"
    """A damaged sample raises DamagedSample, which names it, or is skipped."""
    budget: int | float = 0.001
    """Damaged samples that may be skipped: a whole number of them, or a share (below 1) of all that were seen."""
    probation: int = 1000
    """A share is taken of at least so many samples, so that an early one does not end a good run."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise LoaderError(f"threads={self.threads}: at least one thread is needed; None takes what the machine has")
        if self.on_error not in ("raise", "skip"):
            raise LoaderError(f"on_error={self.on_error!r}: a damaged sample can 'raise' or be a 'skip'")
        is_share = isinstance(self.budget, float)
        if self.budget < 0 or (is_share and not self.budget < 1):
            raise LoaderError(f"budget={self.budget}: a whole number of samples, or a share from 0.0 to below 1.0")
        if self.probation < 1:
            raise LoaderError(f"probation={self.probation}: a share is taken of at least one sample")
        for name in ("ahead", "fetch_ahead", "gap"):
            object.__setattr__(self, name, parse_memory(getattr(self, name), name=name))
