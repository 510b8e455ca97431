"""What is to be rendered, batch by batch: rows and the maps of their views.

The maps of a thousand images cost little more to work out than those of one, so they are made for several batches at a
time. They depend on each image (and on which of its copies it is) alone, so how they are grouped never shows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
import numpy.typing as npt

from cxrfast.chance import UInt64Array
from cxrfast.loading.samples import Samples
from cxrfast.loading.sampling import keys_of_copies
from cxrfast.loading.views import Floats, Integers, ViewSpec, after_halving, halvings, matrices

_GROUP = 1024


@dataclass(frozen=True, eq=False)
class Step:
    """One batch of n images to be rendered in V views."""

    rows: Integers
    """(n,) row numbers of the set."""
    halvings: Integers
    """(n, V) how often the stored image is halved first."""
    maps: Floats
    """(n, V, 2, 3) from pixels of the halved image to output pixels, corner-based."""

    def part(self, start: int, stop: int) -> "Step":
        """Return images `start` to `stop` of it."""
        return Step(self.rows[start:stop], self.halvings[start:stop], self.maps[start:stop])


def steps(
    batches: Iterable[Integers],
    samples: Samples,
    *,
    views: Sequence[ViewSpec],
    size: int,
    seed: int,
    epoch: int,
    copies: Iterable[Integers | None] | None = None,
) -> Iterator[Step]:
    """Yield a step for each batch of rows (n,); `copies` say for each batch which copies of its rows they are, (n,).

    A row's first copy has the views that the row has where it comes once, each further one has views of its own.
    """
    waiting = zip(batches, repeat(None) if copies is None else copies, strict=False)
    while first := list(islice(waiting, 1)):
        group = first + list(islice(waiting, _GROUP // max(len(first[0][0]), 1)))
        rows = np.concatenate([batch for batch, _ in group])
        numbers = [number for _, number in group if number is not None]
        keys = keys_of_copies(samples.hashes(rows), np.concatenate(numbers) if numbers else None)
        whole = _step(rows, keys, samples, views=views, size=size, seed=seed, epoch=epoch)
        stops = np.cumsum([len(batch) for batch, _ in group]).tolist()
        for start, stop in zip([0, *stops], stops, strict=False):
            yield whole.part(start, stop)


def _step(
    rows: Integers, keys: UInt64Array, samples: Samples, *, views: Sequence[ViewSpec], size: int, seed: int, epoch: int
) -> Step:
    widths, heights = samples.width[rows], samples.height[rows]
    counts = np.empty((len(rows), len(views)), dtype=np.int64)
    maps: npt.NDArray[np.float64] = np.empty((len(rows), len(views), 2, 3))
    for view, spec in enumerate(views):
        exact = matrices(spec, widths=widths, heights=heights, size=size, seed=seed, epoch=epoch, keys=keys, view=view)
        counts[:, view] = halvings(exact)
        maps[:, view] = after_halving(exact, counts[:, view])
    return Step(rows, counts, maps)
