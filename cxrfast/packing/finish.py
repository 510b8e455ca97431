"""The end of packing, by whoever comes last: where every shard has its part, the set is committed and swept.

Slices on many machines end in any order and may end at once, so each looks for itself and the folder's lock lets one
through at a time; who finds shardset.json there already has nothing left to do. A slice that is killed after its last
shard leaves the end to `finish`, which needs neither the release nor a slice, only what lies in the folder.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cxrfast.errors import PackError
from cxrfast.packing.begin import kept_plan
from cxrfast.packing.commit import commit, gather, read_commit
from cxrfast.packing.plan import Plan
from cxrfast.packing.slices import Slice, alone, cuts_seen, remove_staging
from cxrfast.packing.tally import check_rejects, reject_limit
from cxrfast.packing.write import STAGING, Part, missing_shards, read_part
from cxrfast.shardset.format import COMMIT_FILE

_SHOWN = 10


def finish(out: Path, *, max_rejects: float = 0.01) -> dict[str, Any]:
    """Commit a folder whose shards are all packed; return shardset.json's content. Again it changes nothing.

    Raises PackError where shards are missing, naming them and the slices that they belong to, where nothing was begun
    in `out`, or where there are too many rejects.
    """
    out = Path(out).absolute()
    if out.exists() and not out.is_dir():
        raise PackError(f"{out} is a file; name the folder that was packed into")
    if (out / COMMIT_FILE).exists() and not (out / STAGING).exists():
        return _committed(out)
    if (out / COMMIT_FILE).exists():
        with alone(out):
            remove_staging(out)
        return _committed(out)
    plan = kept_plan(out)
    document = conclude(out, plan, reject_limit(max_rejects, len(plan.table)))
    if document is None:
        raise PackError(_lacking(out, plan, missing_shards(out, plan.num_shards)))
    return document


def conclude(out: Path, plan: Plan, limit: int) -> dict[str, Any] | None:
    """Commit where all shards are packed, and return shardset.json's content; None where some are not.

    `limit`: how many rejects the whole set may have. Any number of processes may call this at the same time.
    """
    if not (out / COMMIT_FILE).exists() and missing_shards(out, plan.num_shards):
        # Shards are swept after the commit: who saw none of them must look for shardset.json once more.
        return None if not (out / COMMIT_FILE).exists() else _committed(out)
    with alone(out):
        document = read_commit(out)
        if document is None:
            found = gather(_parts(out, plan.num_shards))
            check_rejects(out, plan, found.rejected, limit)
            document = commit(out, plan, found)
        remove_staging(out)
    return document


def _parts(out: Path, num_shards: int) -> Iterator[Part]:
    for shard in range(num_shards):
        part = read_part(out, shard)
        if part is None:
            raise PackError(
                f"shard {shard} of {out} was packed, but its files are gone or changed; run its pack command again"
            )
        yield part


def _committed(out: Path) -> dict[str, Any]:
    document = read_commit(out)
    if document is None:
        raise PackError(f"{out / COMMIT_FILE} vanished; is another program at work in {out}?")
    return document


def _lacking(out: Path, plan: Plan, missing: Sequence[int]) -> str:
    """Say which shards are missing, and by every cut that was seen which slices they are."""
    named = [
        f"{'slices' if len(slices) > 1 else 'slice'} {_shown(slices)}"
        for count in sorted(cuts_seen(out) - {1})
        if (slices := [Slice(index, count) for index in sorted({shard % count for shard in missing})])
    ]
    whose = f"; of {' or of '.join(named)}" if named else ""
    return (
        f"{out} is not packed to the end: {len(missing):,} of {plan.num_shards:,} shards are missing "
        f"({_shown(missing)}{whose}). Wait for those at work, or run their pack commands again"
    )


def _shown(things: Sequence[object]) -> str:
    more = f" and {len(things) - _SHOWN:,} more" if len(things) > _SHOWN else ""
    return ", ".join(str(thing) for thing in things[:_SHOWN]) + more
