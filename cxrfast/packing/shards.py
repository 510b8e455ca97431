"""Shards from a plan: jobs out to a crew, results back in the plan's order, one shard written after the other.

One process writes and many decode. A writer a shard would need no window and no hand-over of bytes, but with 1,024
images a shard most workers would idle on a small release, and near the end of a large one.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from cxrfast.packing.encode import Job, Packed, Rejected
from cxrfast.packing.executors import Crew
from cxrfast.packing.plan import Plan, documents
from cxrfast.packing.tally import Tally
from cxrfast.packing.write import Part, ShardWriter

_LOG = logging.getLogger(__name__)
JOB_IMAGES = 8


def pack_shards(src: Path, out: Path, plan: Plan, shards: Sequence[int], crew: Crew, tally: Tally) -> Iterator[Part]:
    """Pack these shards of a plan from `src` into the folder `out`, and yield the part of each when it is whole.

    `out` must hold a staging folder. What stands under a shard's name there is replaced. Raises PackError where a file
    cannot be read, a worker dies, or the tally's limit is passed; then the shard under way leaves nothing.
    """
    jobs = (job for shard in shards for job in _jobs(src, plan, shard))
    with closing(crew.results(jobs)) as results:
        for shard in shards:
            yield _pack_shard(out, plan, shard, results, tally)


def _pack_shard(out: Path, plan: Plan, shard: int, results: Iterator[list[Packed | Rejected]], tally: Tally) -> Part:
    """Write one shard from its chunks' results, in the plan's order."""
    with ShardWriter(out, name=plan.recipe.dataset, shard=shard) as writer:
        for row in plan.rows_of(shard):
            if row in plan.missing:
                writer.reject(row, "missing")
                tally.done += 1
        for rows in _chunks(plan, shard):
            for row, outcome in zip(rows, next(results), strict=True):
                _store(writer, plan, row, outcome, tally)
            tally.report()
            tally.check(out, plan)
        return writer.close()


def _store(writer: ShardWriter, plan: Plan, row: int, outcome: Packed | Rejected, tally: Tally) -> None:
    tally.done += 1
    tally.bytes_in += outcome.bytes_in
    if isinstance(outcome, Packed):
        tally.packed += 1
        tally.bytes_out += len(outcome.sample.blob)
        writer.add(row, outcome)
        return
    tally.rejected[row] = outcome.code
    writer.reject(row, outcome.code)
    key, path = plan.table.loc[row, ["key", "path"]]
    told = {"key": key, "path": path, "code": outcome.code, "detail": outcome.detail}
    _LOG.info("rejected as %s: %s: %s", outcome.code, path, outcome.detail, extra={"reject": told})


def _chunks(plan: Plan, shard: int) -> Iterable[list[int]]:
    """Return a shard's present rows, cut into the runs that one job decodes."""
    rows = [row for row in plan.rows_of(shard) if row not in plan.missing]
    return (rows[start : start + JOB_IMAGES] for start in range(0, len(rows), JOB_IMAGES))


def _jobs(src: Path, plan: Plan, shard: int) -> Iterator[Job]:
    chunks = list(_chunks(plan, shard))
    table = plan.table.iloc[[row for rows in chunks for row in rows]]
    images = zip(table["key"], table["path"], documents(table), strict=True)
    for rows in chunks:
        keys, paths, texts = zip(*islice(images, len(rows)), strict=True)
        yield Job(str(src), plan.recipe, keys, paths, texts)
