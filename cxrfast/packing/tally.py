"""Counts of a packing run: told to whoever draws them, and the rejects among them held to their limit."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cxrfast.errors import PackError
from cxrfast.packing.commit import write_rejected
from cxrfast.packing.plan import Plan
from cxrfast.shardset.format import REJECTED_FILE

_SHOWN_REJECTS = 20

Progress = Callable[[int, int, int, int, int], None]
"""Called as `progress(done, planned, rejects, bytes_in, bytes_out)`: images that are dealt with (resumed and rejected
ones too) of those planned; bytes read and written by this run alone. The first call comes before an image is packed."""


@dataclass
class Tally:
    """Counts of one run, which packs the whole set or a slice of it.

    `planned`: images of this run. `rejected`: code by row of the plan's table. `limit`: how many rejects the whole set
    may have; a slice that has more by itself stops, and the commit counts those of all. `packed`: images that this run
    stored.
    """

    planned: int
    limit: int
    progress: Progress | None
    rejected: dict[int, str] = field(default_factory=dict)
    done: int = 0
    packed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def report(self) -> None:
        """Tell the counts."""
        if self.progress is not None:
            self.progress(self.done, self.planned, len(self.rejected), self.bytes_in, self.bytes_out)

    def check(self, out: Path, plan: Plan) -> None:
        """Raise PackError where there are too many rejects; see `check_rejects`."""
        check_rejects(out, plan, self.rejected, self.limit)


def check_rejects(out: Path, plan: Plan, rejected: Mapping[int, str], limit: int) -> None:
    """Raise PackError, and leave the rejects (code by row) in rejected.csv, where they are more than `limit`."""
    if len(rejected) <= limit:
        return
    write_rejected(out, plan, rejected)
    codes = ", ".join(f"{count:,} {code}" for code, count in Counter(rejected.values()).most_common())
    shown = "".join(
        f"\n  {code}: {plan.table['path'].iloc[row]}" for row, code in sorted(rejected.items())[:_SHOWN_REJECTS]
    )
    more = len(rejected) - _SHOWN_REJECTS
    raise PackError(
        f"{len(rejected):,} of {len(plan.table):,} planned images are rejected so far ({codes}), "
        f"more than the {limit:,} allowed:{shown}"
        + (f"\n  ... and {more:,} more" if more > 0 else "")
        + f"\nAll are listed in {out / REJECTED_FILE}. Run again with a larger --max-rejects to go on from what is "
        "packed, or mend the files and pack into an empty folder"
    )


def reject_limit(max_rejects: float, planned: int) -> int:
    """Return how many rejects are allowed: a float is a fraction of the planned images, an int a count."""
    if max_rejects < 0 or (isinstance(max_rejects, float) and max_rejects > 1):
        raise PackError(f"max_rejects is {max_rejects}; give a fraction from 0.0 to 1.0, or a count")
    return max_rejects if isinstance(max_rejects, int) else int(max_rejects * planned + 1e-9)
