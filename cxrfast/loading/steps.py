"""What is to be rendered, batch by batch: rows and the maps of their views.

The maps of a thousand images cost little more to work out than those of one, so they are made for several batches at a
time. They depend on each image (and on which of its copies it is) alone, so how they are grouped never shows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxrfast.loading.order import EpochOrder
from cxrfast.loading.samples import Samples
from cxrfast.loading.sampling import keys_of_copies
from cxrfast.loading.views import Floats, Integers, ViewSpec, back_maps, halvings, matrices

_GROUP = 1024


@dataclass(frozen=True, eq=False)
class Step:
    """One batch of n images to be rendered in V views."""

    positions: Integers
    """(n,) places in the epoch's order."""
    rows: Integers
    """(n,) row numbers of the set."""
    halvings: Integers
    """(n, V) how often the stored image is halved first."""
    maps: Floats
    """(n, V, 2, 3) back from output pixels to pixels of the halved image, corner-based."""

    def part(self, start: int, stop: int) -> "Step":
        """Return images `start` to `stop` of it, over the same memory."""
        return Step(self.positions[start:stop], self.rows[start:stop], self.halvings[start:stop], self.maps[start:stop])

    def put(self, index: int, other: "Step") -> None:
        """Let a step of one image take the place of image `index`."""
        self.positions[index], self.rows[index] = other.positions[0], other.rows[0]
        self.halvings[index], self.maps[index] = other.halvings[0], other.maps[0]


@dataclass(frozen=True, eq=False)
class Drawing:
    """Draws the views of one epoch."""

    samples: Samples
    views: Sequence[ViewSpec]
    size: int
    seed: int
    epoch: int

    def step(self, order: EpochOrder, positions: npt.ArrayLike) -> Step:
        """Return what the images at these positions (n,) of the order are to become."""
        places = np.array(positions, dtype=np.int64)
        rows = order.rows[places].astype(np.int64)
        keys, widths, heights = self.samples.hashes(rows), self.samples.width[rows], self.samples.height[rows]
        if order.copies is not None:
            keys = keys_of_copies(keys, order.copies[places])
        counts = np.empty((len(rows), len(self.views)), dtype=np.int64)
        maps: npt.NDArray[np.float64] = np.empty((len(rows), len(self.views), 2, 3))
        for view, spec in enumerate(self.views):
            exact = matrices(
                spec, widths=widths, heights=heights, size=self.size, seed=self.seed, epoch=self.epoch,
                keys=keys, view=view,
            )  # fmt: skip
            counts[:, view] = halvings(exact)
            maps[:, view] = back_maps(exact, counts[:, view])
        return Step(places, rows, counts, maps)

    def steps(self, order: EpochOrder, lanes: range, start: int) -> Iterator[Step]:
        """Yield a step for each batch of these lanes from batch `start` on."""
        many = max(1, _GROUP // max(order.batch_size * len(lanes) // len(order.sizes), 1))
        for first in range(start, order.batches, many):
            group = [order.positions(number, lanes) for number in range(first, min(first + many, order.batches))]
            whole = self.step(order, np.concatenate(group))
            stops = np.cumsum([len(batch) for batch in group]).tolist()
            for begin, stop in zip([0, *stops], stops, strict=False):
                yield whole.part(begin, stop)
