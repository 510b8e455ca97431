"""Packing a release: plan, share out, write in order, commit.

A run packs the whole set or a slice of it; either way it resumes by shard, and the last to end commits. What it knows
of shards is on disk alone, in their parts, so that a run, its resumption and other machines' slices are one case, and
the parent's memory grows by the record table and little else.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from cxrfast.errors import PackError
from cxrfast.packing.begin import adopt_plan, check_folder, settle_plan
from cxrfast.packing.commit import read_commit
from cxrfast.packing.estimate import check_space
from cxrfast.packing.executors import Crew, local_crew, usable_cpus
from cxrfast.packing.finish import conclude
from cxrfast.packing.plan import Plan, make_plan
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.shards import JOB_IMAGES, pack_shards
from cxrfast.packing.slices import WHOLE, Slice, alone, held
from cxrfast.packing.tally import Progress, Tally, reject_limit
from cxrfast.packing.write import STAGING, Part, missing_shards, read_part
from cxrfast.shardset.format import COMMIT_FILE, REJECTED_FILE
from cxrfast.sources.base import Release, Source


@dataclass(frozen=True)
class Summary:
    """What a run did and what is now there: the set's counts where it is whole, else those of this run's slice.

    `bytes`: of all its files. `seconds`, `packed` (images), `bytes_in`, `bytes_out`: of this run alone. `resumed`:
    shards that an earlier run had packed. `codes`: rejects by code. `pending`: shards of other slices that are still to
    be packed; 0 where the set is whole. `complete`: it was whole before this run, which changed nothing.
    """

    images: int
    rejected: int
    shards: int
    bytes: int
    codes: dict[str, int]
    resumed: int = 0
    pending: int = 0
    complete: bool = False
    seconds: float = 0.0
    packed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


def pack(
    source: Source | Release,
    src: Path,
    out: Path,
    *,
    recipe: Recipe,
    share: Slice = WHOLE,
    workers: int | None = None,
    dask: str | None = None,
    max_rejects: float = 0.01,
    space_check: bool = True,
    progress: Progress | None = None,
) -> Summary:
    """Pack the release in `src` into the folder `out`; run again with the same arguments to resume.

    `source`: a source, or the release that it found. `share`: the slice to pack, beside which others run on this or
    other machines; the last to end commits. `workers`: decoding processes; None for the CPUs that this process may use,
    1 for none beside this one. `dask`: the address of a Dask scheduler whose workers decode instead. `max_rejects`: a
    fraction of the planned images as float, or a count as int, for the whole set. `space_check`: whether to refuse a
    disk on which the set clearly does not fit.

    Raises SourceError where `src` is no such release, and PackError where `out` holds another plan or other things,
    another process packs into it, a file cannot be read, a worker dies, or there are too many rejects.
    """
    src, out = Path(src).absolute(), Path(out).absolute()
    started = time.monotonic()
    release = source if isinstance(source, Release) else source.scan(src)
    if release.dataset != recipe.dataset:
        raise PackError(f"the recipe is for {recipe.dataset}, but the release is {release.dataset}")
    plan = make_plan(release.table, recipe)
    limit = reject_limit(max_rejects, len(plan.table))
    check_folder(out)
    try:
        if (out / COMMIT_FILE).exists() and not (out / STAGING).exists():
            summary = _finished(out, plan)
        else:
            with held(out, share):
                tally = Tally(0, limit, progress)
                summary = _pack(src, out, plan, share, tally, _Means(workers, dask, space_check))
    except OSError as error:
        raise PackError(f"{error.filename or out}: {error.strerror}; see to it and run again to resume") from error
    return replace(summary, seconds=time.monotonic() - started)


@dataclass(frozen=True)
class _Means:
    """With what a run packs; see `pack`."""

    workers: int | None
    dask: str | None
    space_check: bool

    def crew(self, src: Path, plan: Plan, images: int) -> AbstractContextManager[Crew]:
        """Return who packs `images` images: no more processes than there are jobs."""
        if self.dask is not None:
            from cxrfast.packing.cluster import dask_crew

            return dask_crew(self.dask, src, plan)
        return local_crew(max(1, min(self.workers or usable_cpus(), -(-images // JOB_IMAGES))))


def _pack(src: Path, out: Path, plan: Plan, share: Slice, tally: Tally, means: _Means) -> Summary:
    with alone(out):
        whole = (out / COMMIT_FILE).exists()
        if not whole:
            plan = settle_plan(src, out, plan, tally.limit)
    shards = share.shards(plan.num_shards)
    found = {} if whole else _resume(out, plan, shards, tally)
    if (out / COMMIT_FILE).exists():  # perhaps since a moment, and its parts are being swept
        conclude(out, plan, tally.limit)
        return _finished(out, plan)
    todo = [shard for shard in shards if shard not in found]
    sizes = [*found.values(), *_pack_todo(src, out, plan, todo, tally, means)]
    document = conclude(out, plan, tally.limit)
    if document is not None:
        summary = _summary(document, out)
    else:
        pending, rejected = len(missing_shards(out, plan.num_shards)), len(tally.rejected)
        codes = _by_code(tally.rejected.values())
        summary = Summary(tally.planned - rejected, rejected, len(shards), sum(sizes), codes, pending=pending)
    return replace(summary, resumed=len(found), packed=tally.packed, bytes_in=tally.bytes_in, bytes_out=tally.bytes_out)


def _resume(out: Path, plan: Plan, shards: Sequence[int], tally: Tally) -> dict[int, int]:
    """Count these shards into the tally, and return the bytes of those that an earlier run has packed."""
    tally.planned = sum(len(plan.rows_of(shard)) for shard in shards)
    mine = set(shards)
    tally.rejected.update(
        (row, "missing") for row in sorted(plan.missing) if row // plan.recipe.samples_per_shard in mine
    )
    found = {}
    for shard in shards:
        part = read_part(out, shard)
        if part is not None:
            found[shard] = _size(part)
            tally.done += len(plan.rows_of(shard))
            tally.rejected.update(part.rejected)
    return found


def _pack_todo(src: Path, out: Path, plan: Plan, todo: Sequence[int], tally: Tally, means: _Means) -> Iterator[int]:
    """Pack the shards that are left, and yield the bytes of each."""
    tally.report()
    tally.check(out, plan)
    if not todo:
        return
    if means.space_check:
        check_space(src, out, plan, missing_shards(out, plan.num_shards))
    with means.crew(src, plan, sum(len(plan.rows_of(shard)) for shard in todo)) as crew:
        for part in pack_shards(src, out, plan, todo, crew, tally):
            yield _size(part)


def _finished(out: Path, plan: Plan) -> Summary:
    """Return what a folder holds in which packing has ended; PackError where it is of another plan or was changed."""
    document = read_commit(out)
    if document is None:
        raise PackError(f"{out / COMMIT_FILE} vanished; is another program at work in {out}?")
    adopt_plan(out, plan)
    return replace(_summary(document, out), resumed=document["counts"]["shards"], complete=True)


def _summary(document: Mapping[str, Any], out: Path) -> Summary:
    counts = document["counts"]
    size = sum(record["size"] for record in document["files"].values()) + (out / COMMIT_FILE).stat().st_size
    try:
        codes = _by_code(pd.read_csv(out / REJECTED_FILE, dtype=str)["code"])
    except (KeyError, ValueError, TypeError) as error:
        raise PackError(f"{out / REJECTED_FILE} is damaged ({error}); see `cxrfast-shard verify {out}`") from error
    return Summary(counts["images"], counts["rejected"], counts["shards"], size, codes)


def _by_code(codes: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(codes).items()))


def _size(part: Part) -> int:
    return sum(int(record["size"]) for record in part.files.values())
