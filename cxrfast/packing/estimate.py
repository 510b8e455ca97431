"""How large a packed set will be and how long it will take, from a few images instead of all.

Sizes of encoded radiographs spread by about a third, so the mean of 16 is good to about a tenth: enough to tell a disk
that clearly does not hold the set, in the time of 16 images. A bound from the recipe alone needs no image, but is
several times too high; it serves to skip the sample where even that fits.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrfast import chance
from cxrfast.errors import PackError
from cxrfast.packing.encode import Job, Packed, Rejected, one_thread, pack_job
from cxrfast.packing.plan import Plan
from cxrfast.packing.recipe import Recipe
from cxrfast.shardset.format import BLOCK

# What a record adds, seen on CheXpert: a JSON document of 14 labels takes one block of the tar more than an empty one,
# a row of the manifest and a line of the index 200 bytes.
_RECORD_BYTES = BLOCK + 200
_DRAWN_FROM = 1024
_MOST_RECORD_BYTES = 4096  # the same with headers, at the most; a stored pixel takes two bytes at the most


@dataclass(frozen=True)
class Estimate:
    """Means over the images of a sample: bytes on disk an image, seconds an image of one core.

    `images`: how many of the sample could be packed; with 0 of them nothing is known, and the means are 0.
    """

    bytes_per_image: float
    seconds_per_image: float
    images: int


def estimate_packed(src: Path, paths: Sequence[str], recipe: Recipe, *, samples: int = 16, seed: int = 0) -> Estimate:
    """Pack `samples` of the images under these paths (relative to `src`) into memory and return what that took.

    Files that are not there or cannot be packed are passed over: naming them is the work of doctor and of packing.
    """
    drawn = [paths[at] for at in chance.permutation(len(paths), "estimate", seed)[:samples].tolist()]
    started = time.perf_counter()
    with one_thread():
        outcomes = [_try(src, path, recipe) for path in drawn]
    seconds = time.perf_counter() - started
    sizes = [len(outcome.sample.blob) + _RECORD_BYTES for outcome in outcomes if isinstance(outcome, Packed)]
    if not sizes:
        return Estimate(0.0, 0.0, 0)
    return Estimate(sum(sizes) / len(sizes), seconds / len(sizes), len(sizes))


def free_bytes(out: Path) -> int:
    """Return the free bytes of the disk on which a folder lies, or will lie, for this user."""
    folder = Path(out).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_space(src: Path, out: Path, plan: Plan, shards: Sequence[int]) -> None:
    """Raise PackError where the images of these shards of a plan clearly do not fit the disk of `out`."""
    rows = [row for shard in shards for row in plan.rows_of(shard) if row not in plan.missing]
    free = free_bytes(out)
    if plan.recipe.long_side and len(rows) * (2 * plan.recipe.long_side**2 + _MOST_RECORD_BYTES) <= free:
        return
    # The stored order is that of a hash, so every n-th image is as good as any.
    spread = plan.table["path"].iloc[rows[:: len(rows) // _DRAWN_FROM + 1]].tolist()
    estimate = estimate_packed(src, spread, plan.recipe)
    needed = estimate.bytes_per_image * len(rows)
    if needed > free:
        raise PackError(
            f"the {len(rows):,} images to be packed need about {_in_words(needed)} "
            f"({estimate.bytes_per_image / 1e3:,.1f} KB each, by a sample of {estimate.images}), but the disk of {out} "
            f"has {_in_words(free)} free. Choose another disk, a smaller --long-side or a lower --quality, or pack "
            "all the same with --no-space-check"
        )


def _in_words(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _try(src: Path, path: str, recipe: Recipe) -> Packed | Rejected | None:
    try:
        return pack_job(Job(str(src), recipe, (f"{recipe.dataset}-estimate",), (path,), ({},)))[0]
    except PackError:
        return None
