"""What becomes of a damaged sample: an error that names it, or, within a budget, a substitute.

Dropping it would move every later sample of the epoch by one place, so a resumed run and another number of ranks would
see other batches. So its place is given to the next good sample of its own lane that has the same place in a later
batch (or, after the last, in an early one): that one comes twice in the epoch, and everything else stays where it was.
"""

import logging
from collections.abc import Callable, Iterator
from threading import Lock

from cxrfast.errors import DamagedSample
from cxrfast.loading.counters import Counters
from cxrfast.loading.decode import decode_sample
from cxrfast.loading.order import EpochOrder
from cxrfast.loading.reading import Reading
from cxrfast.loading.render import Payload
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Drawing, Step

_log = logging.getLogger("cxrfast")


class Budget:
    """The damaged samples of a loader's life, and how many there may be."""

    def __init__(self, reading: Reading, counters: Counters) -> None:
        self._reading = reading
        self._counters = counters
        self._lock = Lock()
        self._named: dict[int, str] = {}

    @property
    def damaged(self) -> tuple[str, ...]:
        """Return what is known of each damaged sample."""
        with self._lock:
            return tuple(self._named.values())

    def spend(self, row: int, error: DamagedSample) -> None:
        """Count a damaged sample, once however often it is met; raise DamagedSample where none may be skipped."""
        if self._reading.on_error == "raise":
            raise error
        with self._lock:
            is_new = row not in self._named
            self._named[row] = str(error)
            count, allowed = len(self._named), self._allowed()
        if count > allowed:
            raise DamagedSample(
                f"{count} damaged samples are more than the budget of {allowed} (budget={self._reading.budget}). The "
                f"last one: {error}"
            ) from error
        if is_new:
            _log.warning("skipped, %d of at most %d so far: %s", count, allowed, error)

    def _allowed(self) -> int:
        budget = self._reading.budget
        if isinstance(budget, int):
            return budget
        return int(budget * max(self._counters.report()["images"], self._reading.probation))


class Substitutes:
    """Who takes the places of damaged samples in one epoch."""

    def __init__(
        self,
        order: EpochOrder,
        samples: Samples,
        *,
        drawing: Drawing,
        read: Callable[[int], Payload],
        budget: Budget,
        counters: Counters,
    ) -> None:
        """`read(row)` gives the payload of one row."""
        self._order = order
        self._samples = samples
        self._drawing = drawing
        self._read = read
        self._budget = budget
        self._counters = counters

    def take_place(self, step: Step, index: int, error: DamagedSample) -> Payload:
        """Put a good sample in the place of image `index` of a step, which is changed, and return its payload.

        Raises DamagedSample where the budget is spent, or the whole lane has nothing good at this place.
        """
        self._budget.spend(int(step.rows[index]), error)
        for position in self._candidates(int(step.positions[index])):
            row = int(self._order.rows[position])
            payload = self._read(row)
            try:
                decode_sample(self._samples, row, payload)
            except DamagedSample as another:
                self._budget.spend(row, another)
                continue
            step.put(index, self._drawing.step(self._order, [position]))
            self._counters.add(skipped=1)
            return payload
        raise error

    def _candidates(self, position: int) -> Iterator[int]:
        """Yield the positions of the same place in the lane's other batches, from the next one on."""
        each = self._order.batch_size // len(self._order.sizes)
        ends = self._order.sizes.cumsum()
        lane = int(ends.searchsorted(position, side="right"))
        begin, end = int(ends[lane] - self._order.sizes[lane]), int(ends[lane])
        yield from range(position + each, end, each)
        yield from range(begin + (position - begin) % each, position, each)
