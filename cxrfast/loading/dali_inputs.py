"""What one batch is to DALI's graph: plain arrays under names, and who is to blame where the graph fails.

The graph's shape is fixed when it is built, so an image that is not to be halved passes through its halving steps
with its size unchanged; that costs a copy of it, and only sets that need halving have such steps at all. Nothing here
imports DALI, so all of it is tested as arithmetic.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cxrfast.errors import DamagedSample
from cxrfast.loading.decode import decode_sample
from cxrfast.loading.render import Payload
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step
from cxrfast.loading.views import Floats, Integers

Inputs = dict[str, npt.NDArray[np.float32]]


def geometry(step: Step, samples: Samples, *, most_halvings: int, starts: Sequence[int]) -> Inputs:
    """Return sizes of halved images and maps back from output pixels, by the names of the graph's inputs.

    For n images, for each view v and halving k: `size_v_k` and `end_v_k`, (n, 2), rows before columns, the size after
    it and the end of what is averaged, which passes an odd edge by one. For each view v and strip s, whose first
    column is starts[s]: `map_v_s`, (n, 2, 3), corner-based as DALI's own coordinates are.
    """
    inputs: Inputs = {}
    stored = np.stack([samples.height[step.rows], samples.width[step.rows]], axis=1)
    for view in range(step.maps.shape[1]):
        for level, (size, end) in enumerate(_levels(stored, step.halvings[:, view], most_halvings)):
            inputs[f"size_{view}_{level}"], inputs[f"end_{view}_{level}"] = _single(size), _single(end)
        for strip, start in enumerate(starts):
            shifted = step.maps[:, view].copy()
            shifted[..., 2] += start * shifted[..., 0]
            inputs[f"map_{view}_{strip}"] = _single(shifted)
    return inputs


def damaged(payloads: Sequence[Payload], rows: Integers, samples: Samples) -> list[tuple[int, DamagedSample]]:
    """Return which payloads do not decode here either, or not to the size that the manifest gives, and why."""
    found = []
    for index, (payload, row) in enumerate(zip(payloads, rows.tolist(), strict=True)):
        try:
            decode_sample(samples, row, payload)
        except DamagedSample as error:
            found.append((index, error))
    return found


def _levels(size: Integers, counts: Integers, most: int) -> Iterator[tuple[Integers, Integers]]:
    for level in range(most):
        halve = (counts > level)[:, None]
        after = np.where(halve, -(-size // 2), size)
        yield after, np.where(halve, 2 * after, size)
        size = after


def _single(values: Floats | Integers) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)
