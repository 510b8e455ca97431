"""Before the first image: whether the folder is ours to write into, and under which plan.

A folder's own plan.json always wins. It also holds which files were missing when it was made, so that a file that
turns up between two runs, or between two slices, cannot change the bytes of half a set. Beside it the staging folder
keeps the record table, so that whoever comes last can write the manifest without the release.
"""

import json
import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from cxrfast.errors import PackError
from cxrfast.packing import write
from cxrfast.packing.plan import Plan, differences, make_plan, wrong_plan
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.tally import check_rejects
from cxrfast.shardset.format import COMMIT_FILE, MANIFEST_FILE, PLAN_FILE, REJECTED_FILE, readable_json
from cxrfast.shardset.manifest import read_manifest, records_bytes

_LOG = logging.getLogger(__name__)
_STAT_THREADS = 16
_STATS_A_CHUNK = 32
_CHUNKS_AT_ONCE = 64
RECORDS_FILE = "records.parquet"
_OUR_FILES = "|".join(re.escape(name) for name in (PLAN_FILE, MANIFEST_FILE, REJECTED_FILE, COMMIT_FILE))


def check_folder(out: Path) -> None:
    """Refuse to write among things that packing did not put there; hidden files (.DS_Store, .nfs...) do not count."""
    if out.exists() and not out.is_dir():
        raise PackError(f"{out} is a file; name a folder")
    if not out.exists():
        return
    names = [path.name for path in out.iterdir() if not path.name.startswith(".")]
    ours = re.compile(re.escape(REJECTED_FILE))  # what a run leaves behind that found too many files missing
    plan = read_plan(out)  # after the names: a slice that begins the set just now writes its plan before all else
    if plan is not None:
        ours = re.compile(rf"{re.escape(plan['recipe']['dataset'])}-\d{{5,}}\.(tar|idx)|{_OUR_FILES}")
    others = sorted(name for name in names if not ours.fullmatch(name))
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        raise PackError(f"{out} holds other things ({', '.join(others[:5])}{more}); name an empty or a new folder")


def settle_plan(src: Path, out: Path, plan: Plan, limit: int) -> Plan:
    """Return the plan with its missing files: as the folder's plan.json says, else looked for now and written there.

    The caller holds the folder. Raises PackError where the plan is another, or more than `limit` files are missing.
    """
    begun = read_plan(out) is not None
    if not begun:
        write.remove_parts(out)
        found = replace(plan, missing=frozenset(find_missing(src, plan.table["path"])))
        check_rejects(out, found, dict.fromkeys(sorted(found.missing), "missing"), limit)
        write.create_whole(out / PLAN_FILE, readable_json(found.document()))
    plan = adopt_plan(out, plan)  # not `found`: on a disk without locks another slice may have been first
    if begun:
        _warn_of_arrivals(src, plan)
    records = out / write.STAGING / RECORDS_FILE
    if not records.exists():
        write.write_whole(records, records_bytes(plan.table))
    return plan


def adopt_plan(out: Path, plan: Plan) -> Plan:
    """Return the plan with the missing files of plan.json; PackError naming what differs where it is another plan."""
    old = read_plan(out)
    if old is None:
        raise PackError(f"{out} has no {PLAN_FILE} though packing has begun there; pack into an empty folder")
    found = differences(old, plan.document())
    if found:
        raise PackError(
            f"{out} was begun with another plan: {'; '.join(found)}. Pack as it was begun, or into another folder"
        )
    absent = plan.table["key"].isin(old["missing"]).to_numpy()
    return replace(plan, missing=frozenset(absent.nonzero()[0].tolist()))


def kept_plan(out: Path) -> Plan:
    """Return the plan of a folder that is being packed, from plan.json and the record table kept beside the parts.

    Raises PackError where nothing was begun there, or this machine would plan otherwise (other package versions).
    """
    document, records = read_plan(out), out / write.STAGING / RECORDS_FILE
    if document is None:
        raise PackError(f"nothing was begun in {out}: it has no {PLAN_FILE}; run `cxrfast-shard pack` first")
    try:
        table = read_manifest(records)
    except (OSError, ValueError) as error:
        raise PackError(
            f"{records} cannot be read ({error}); run the command that packs {out} again instead, it needs no such file"
        ) from error
    return adopt_plan(out, make_plan(table, recipe_of(document["recipe"], out / PLAN_FILE)))


def recipe_of(settings: Mapping[str, Any], where: Path) -> Recipe:
    """Return the recipe that a file holds as plain values; PackError where this version does not know them."""
    unknown = sorted(set(settings) - {field.name for field in fields(Recipe)})
    if unknown:
        raise PackError(f"the recipe in {where} is of another version of cxrfast: it also says {', '.join(unknown)}")
    try:
        return Recipe(**settings)
    except TypeError as error:
        raise PackError(f"the recipe in {where} is damaged ({error}); pack into an empty folder") from error


def find_missing(src: Path, paths: Iterable[str]) -> list[int]:
    """Return the positions of paths under which nothing lies; PackError where the disk gives another answer.

    Threads, since on a network disk each question takes a round trip; in chunks, since handing over a question takes
    longer than asking a local disk.
    """
    full = (os.path.join(src, path) for path in paths)  # noqa: PTH118 - 10 times as fast
    missing: list[int] = []
    asked = 0
    with ThreadPoolExecutor(_STAT_THREADS) as threads:
        while chunks := [chunk for _ in range(_CHUNKS_AT_ONCE) if (chunk := list(islice(full, _STATS_A_CHUNK)))]:
            for answers in threads.map(_which_missing, chunks):
                missing += (position for position, answer in enumerate(answers, asked) if answer)
                asked += len(answers)
    return missing


def read_plan(out: Path) -> dict[str, Any] | None:
    """Return the content of a folder's plan.json, None where there is none; PackError where it is no plan."""
    path = out / PLAN_FILE
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise PackError(f"{path} is damaged ({error}); pack into an empty folder") from error
    wrong = wrong_plan(document)
    if wrong is not None:
        raise PackError(f"{path} cannot be used: {wrong}; name an empty or a new folder")
    return dict(document)


def _warn_of_arrivals(src: Path, plan: Plan) -> None:
    paths = plan.table["path"].iloc[sorted(plan.missing)].tolist()
    arrived = len(paths) - len(find_missing(src, paths))
    if arrived:
        _LOG.warning("%d files that were missing when the plan was made are there now; they stay rejected", arrived)


def _which_missing(paths: Sequence[str]) -> list[bool]:
    return [_is_missing(path) for path in paths]


def _is_missing(path: str) -> bool:
    try:
        # A pipe or device of that name would be waited for without end; to a reader it is as good as missing.
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise PackError(f"cannot tell whether {path} exists ({error.strerror}); see to the disk or network") from error
