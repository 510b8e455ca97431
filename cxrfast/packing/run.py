"""Packing a release: plan, share out, write in order, commit.

One process writes and many decode. A writer a shard would need no window and no hand-over of bytes, but with 1,024
images a shard most workers would idle on a small release, and near the end of a large one.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from cxrfast.errors import PackError
from cxrfast.packing import write
from cxrfast.packing.begin import adopt_plan, check_folder, read_plan, settle_plan
from cxrfast.packing.commit import commit, read_commit
from cxrfast.packing.encode import Job, Packed, Rejected, pack_job
from cxrfast.packing.executors import in_order, processes, usable_cpus
from cxrfast.packing.plan import Plan, documents, make_plan
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.tally import Progress, Tally, reject_limit
from cxrfast.packing.write import STAGING, Part, ShardWriter, read_part
from cxrfast.shardset.format import COMMIT_FILE, PLAN_FILE, REJECTED_FILE
from cxrfast.sources.base import Release, Source

_LOG = logging.getLogger(__name__)
_JOB_IMAGES = 8
_JOBS_A_WORKER = 4  # of the window: enough that a worker finds its next job while the writer waits for a slow one


@dataclass(frozen=True)
class Summary:
    """What a packed set holds, and what this run did for it.

    `bytes`: of all its files. `resumed`: shards that an earlier run had packed. `codes`: rejects by code. `complete`:
    the set was whole before this run, which changed nothing.
    """

    images: int
    rejected: int
    shards: int
    bytes: int
    seconds: float
    resumed: int
    codes: dict[str, int]
    complete: bool = False


def pack(
    source: Source | Release,
    src: Path,
    out: Path,
    *,
    recipe: Recipe,
    workers: int | None = None,
    max_rejects: float = 0.01,
    progress: Progress | None = None,
) -> Summary:
    """Pack the release in `src` into the folder `out`; run again with the same arguments to resume.

    `source`: a source, or the release that it found. `workers`: decoding processes; None for the CPUs that this process
    may use, 1 for none beside this one. `max_rejects`: a fraction of the planned images as float, or a count as int.

    Raises SourceError where `src` is no such release, and PackError where `out` holds another plan or other things,
    another process packs into it, a file cannot be read, a worker dies, or there are too many rejects.
    """
    src, out = Path(src).absolute(), Path(out).absolute()
    started = time.monotonic()
    release = source if isinstance(source, Release) else source.scan(src)
    if release.dataset != recipe.dataset:
        raise PackError(f"the recipe is for {recipe.dataset}, but the release is {release.dataset}")
    plan = make_plan(release.table, recipe)
    tally = Tally(len(plan.table), reject_limit(max_rejects, len(plan.table)), progress)
    check_folder(out)
    try:
        if (out / COMMIT_FILE).exists() and not (out / STAGING).exists():
            summary = _finished(out, plan)
        else:
            with write.held(out):
                complete = (out / COMMIT_FILE).exists()
                summary = _finished(out, plan) if complete else _pack(src, out, plan, workers or usable_cpus(), tally)
                write.remove_staging(out)
    except OSError as error:
        raise PackError(f"{error.filename or out}: {error.strerror}; see to it and run again to resume") from error
    return replace(summary, seconds=time.monotonic() - started)


def _pack(src: Path, out: Path, plan: Plan, count: int, tally: Tally) -> Summary:
    plan = settle_plan(src, out, plan, tally)
    found = [read_part(out, shard) for shard in range(plan.num_shards)]
    resumed = [part for part in found if part is not None]
    for part in resumed:
        tally.done += len(plan.rows_of(part.shard))
        tally.rejected.update(part.rejected)
    tally.report()
    tally.check(out, plan)
    todo = [shard for shard, part in enumerate(found) if part is None]
    parts = sorted([*resumed, *pack_shards(src, out, plan, todo, count, tally)], key=lambda part: part.shard)
    document = commit(out, plan, parts)
    return _summary(document, out, tally.rejected.values(), resumed=len(resumed))


def pack_shards(src: Path, out: Path, plan: Plan, todo: Sequence[int], count: int, tally: Tally) -> list[Part]:
    """Pack the shards `todo` of a plan into the folder `out`, which the caller holds, with `count` processes."""
    chunks = {shard: _chunks(plan, shard) for shard in todo}
    count = max(1, min(count, sum(len(rows) for rows in chunks.values())))
    jobs = (job for shard in todo for job in _jobs(src, plan, chunks[shard]))
    with processes(count) as executor:
        results = in_order(executor, pack_job, jobs, window=1 if count == 1 else count * _JOBS_A_WORKER)
        with closing(results):
            return [_pack_shard(out, plan, shard, zip(chunks[shard], results, strict=False), tally) for shard in todo]


def _pack_shard(
    out: Path, plan: Plan, shard: int, results: Iterable[tuple[list[int], list[Packed | Rejected]]], tally: Tally
) -> Part:
    """Write one shard from its chunks' results, in the plan's order."""
    with ShardWriter(out, name=plan.recipe.dataset, shard=shard) as writer:
        for row in plan.rows_of(shard):
            if row in plan.missing:
                writer.reject(row, "missing")
                tally.done += 1
        for rows, outcomes in results:
            for row, outcome in zip(rows, outcomes, strict=True):
                _store(writer, plan, row, outcome, tally)
            tally.report()
            tally.check(out, plan)
        return writer.close()


def _store(writer: ShardWriter, plan: Plan, row: int, outcome: Packed | Rejected, tally: Tally) -> None:
    tally.done += 1
    tally.bytes_in += outcome.bytes_in
    if isinstance(outcome, Packed):
        tally.bytes_out += len(outcome.sample.blob)
        writer.add(row, outcome)
        return
    tally.rejected[row] = outcome.code
    writer.reject(row, outcome.code)
    _LOG.info("rejected as %s: %s: %s", outcome.code, plan.table["path"].iloc[row], outcome.detail)


def _chunks(plan: Plan, shard: int) -> list[list[int]]:
    """Return a shard's present rows, cut into the runs that one job decodes."""
    rows = [row for row in plan.rows_of(shard) if row not in plan.missing]
    return [rows[start : start + _JOB_IMAGES] for start in range(0, len(rows), _JOB_IMAGES)]


def _jobs(src: Path, plan: Plan, chunks: Sequence[list[int]]) -> Iterator[Job]:
    table = plan.table.iloc[[row for rows in chunks for row in rows]]
    images = zip(table["key"], table["path"], documents(table), strict=True)
    for rows in chunks:
        keys, paths, texts = zip(*islice(images, len(rows)), strict=True)
        yield Job(str(src), plan.recipe, keys, paths, texts)


def _finished(out: Path, plan: Plan) -> Summary:
    """Return what a folder holds in which packing has ended; PackError where it is of another plan or was changed."""
    document, old = read_commit(out), read_plan(out)
    if document is None or old is None:
        raise PackError(f"{out} has {COMMIT_FILE} but no {PLAN_FILE}; pack into an empty folder")
    adopt_plan(out, plan, old)
    codes = pd.read_csv(out / REJECTED_FILE, dtype=str)["code"]
    return replace(_summary(document, out, codes, resumed=document["counts"]["shards"]), complete=True)


def _summary(document: Mapping[str, Any], out: Path, codes: Iterable[str], *, resumed: int) -> Summary:
    counts = document["counts"]
    size = sum(record["size"] for record in document["files"].values()) + (out / COMMIT_FILE).stat().st_size
    by_code = dict(sorted(Counter(codes).items()))
    return Summary(counts["images"], counts["rejected"], counts["shards"], size, 0.0, resumed, by_code)
