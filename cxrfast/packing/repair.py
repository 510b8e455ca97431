"""Damaged files of a shard set made anew from the release, to the same bytes or not at all.

Packing is a function of the release, the recipe and the codecs, so a lost shard can be had again; what makes that safe
is that nothing is believed: the plan must be the one in plan.json, and a file only takes a damaged one's place when its
SHA-256 is the one that was recorded when the set was packed. What is whole is never touched.

Work goes on in a hidden folder beside the shards, so a rename puts a file in its place; a repair that is killed leaves
that folder, and each file damaged as before or whole.
"""

import csv
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from hashlib import file_digest
from pathlib import Path
from typing import Any

import pyarrow as pa

from cxrfast import sources
from cxrfast.durable import sync_folder
from cxrfast.errors import PackError
from cxrfast.packing.begin import find_missing, recipe_of
from cxrfast.packing.commit import commit, gather
from cxrfast.packing.encode import Job, Rejected, pack_job
from cxrfast.packing.executors import local_crew, usable_cpus
from cxrfast.packing.findings import Finding
from cxrfast.packing.plan import Plan, differences, documents, make_plan, wrong_plan
from cxrfast.packing.readback import Members, read_back
from cxrfast.packing.record import read_record
from cxrfast.packing.shards import pack_shards
from cxrfast.packing.slices import alone, held, remove_staging
from cxrfast.packing.tally import Progress, Tally
from cxrfast.packing.verify import WORK, verify
from cxrfast.packing.write import STAGING, FileRecord, Part, write_whole
from cxrfast.shardset import format as layout
from cxrfast.shardset.manifest import STORED_TYPES, schema_of
from cxrfast.sources.base import Release

_LOG = logging.getLogger(__name__)
_SUMMARIES = (layout.MANIFEST_FILE, layout.REJECTED_FILE)


def repair(
    folder: Path,
    src: Path,
    findings: Sequence[Finding],
    *,
    release: Release | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[Finding], list[str]]:
    """Repair what `findings` (of `verify`) say of a set, from the release under `src`.

    `release`: what the source found under `src`, where that is known already. Returns the findings that are left, such
    as extra files, and the names of the files that were replaced. Raises PackError where the release, the recipe or the
    packages are others than those of plan.json, naming what differs; where a file would not get its recorded bytes; and
    where another process packs into the folder.
    """
    folder, src = Path(folder).absolute(), Path(src).absolute()
    if not _damaged(findings) and not any((folder / name).exists() for name in (WORK, STAGING)):
        return list(findings), []
    work = _Work(folder, src, release, workers or usable_cpus(), progress)
    try:
        with held(folder), alone(folder):
            try:
                if layout.COMMIT_FILE in _damaged(findings):
                    work.restore_record()
                    findings = verify([folder], workers=workers).findings
                work.restore(_damaged(findings))
                if work.replaced:  # not by the names of what was replaced: a record may contradict what is whole
                    seen = [finding for finding in findings if finding.kind == "decode"]
                    findings = [*verify([folder], workers=workers).findings, *seen]
            finally:
                work.close()
                remove_staging(folder)
    except OSError as error:
        raise PackError(f"{error.filename or folder}: {error.strerror}; see to it and repair again") from error
    return list(findings), work.replaced


def _damaged(findings: Sequence[Finding]) -> set[str]:
    """Return the files that could be made anew; an extra one could not, nor can an image that was packed so."""
    return {finding.file for finding in findings if finding.kind not in ("extra", "decode")}


class _Work:
    """One repair; `folder` is where files are made before they are checked and take their places."""

    def __init__(self, out: Path, src: Path, release: Release | None, workers: int, progress: Progress | None) -> None:
        self.folder = out / WORK
        self.replaced: list[str] = []
        self._unchanged: list[str] = []
        self._out, self._src, self._release = out, src, release
        self._workers, self._progress = workers, progress

    def restore(self, damaged: set[str]) -> None:
        """Make the damaged files again, and put each in its place that has its recorded bytes."""
        record = self._record()
        damaged &= set(record["files"])
        if not damaged:
            return
        plan = self._plan(record["recipe"], damaged)
        failed: list[str] = []
        if layout.PLAN_FILE in damaged:
            self._empty()
            write_whole(self.folder / layout.PLAN_FILE, layout.readable_json(plan.document()))
            failed += self._install({layout.PLAN_FILE}, record)
        failed += self._shards(plan, damaged, record)
        if not failed and damaged & set(_SUMMARIES):
            self._summaries(plan, layout.REJECTED_FILE not in damaged)
            failed += self._install(damaged & set(_SUMMARIES), record)
        if failed and failed == self._unchanged:  # the files were right, so it is their record that is not
            self.restore_record()
        elif failed:
            raise PackError(
                f"{', '.join(failed)} would get other bytes from {self._src} than were packed (have the images there "
                f"changed since, or is {layout.COMMIT_FILE} wrong?); left as before. "
                f"Replaced: {', '.join(self.replaced) or 'nothing'}"
            )

    def _shards(self, plan: Plan, damaged: set[str], record: dict[str, Any]) -> list[str]:
        """Pack damaged tars again, one after the other, and make damaged indexes; return what could not be had."""
        failed = []
        shards = [shard for shard in range(plan.num_shards) if damaged & set(_names(plan, shard))]
        planned = sum(len(plan.rows_of(shard)) for shard in shards if _names(plan, shard)[0] in damaged)
        tally = Tally(planned, len(plan.table), self._progress)
        for shard in shards:
            self._empty()
            tar, index = _names(plan, shard)
            if tar in damaged:
                with local_crew(self._workers) as crew:
                    list(pack_shards(self._src, self.folder, plan, [shard], crew, tally))
            else:
                members = read_back(self._out / tar).members
                write_whole(self.folder / index, b"" if members is None else members.index())
            failed += self._install({tar, index} & damaged, record)
        return failed

    def restore_record(self) -> None:
        """Write shardset.json anew where everything else bears it out, to the byte; PackError where it does not.

        Nothing records the hash of shardset.json itself. So the plan must be that of the release, and what the tars
        hold must give the very manifest, indexes and rejects that lie there.
        """
        plan_json = self._read_plan()
        if plan_json is None:
            raise PackError(
                f"{layout.COMMIT_FILE} and {layout.PLAN_FILE} of {self._out} are damaged, so nothing tells what was "
                "packed; pack again into an empty folder"
            )
        plan = self._plan(plan_json["recipe"], set())
        self._summaries(plan, True)
        others = [name for name in _SUMMARIES if not _same(self.folder / name, self._out / name)]
        if others:
            raise PackError(
                f"{layout.COMMIT_FILE} of {self._out} is damaged, and {', '.join(others)} with the shards do not bear "
                "out what it said; pack again into an empty folder"
            )
        self._move(layout.COMMIT_FILE)

    def close(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _record(self) -> dict[str, Any]:
        record, _ = read_record(self._out / layout.COMMIT_FILE)
        if record is None:
            raise PackError(f"{self._out / layout.COMMIT_FILE} is damaged; pack again into an empty folder")
        return record

    def _plan(self, settings: dict[str, Any], damaged: set[str]) -> Plan:
        """Return the plan by which the set was packed, made anew from the release."""
        recipe = recipe_of(settings, self._out)
        if self._release is None:
            self._release = sources.find(recipe.dataset).scan(self._src)
        plan = make_plan(self._release.table, recipe)
        old = None if layout.PLAN_FILE in damaged else self._read_plan()
        if old is not None and (found := differences(old, plan.document())):
            raise PackError(
                f"{self._out} cannot be repaired from {self._src}, since other bytes would come out: {'; '.join(found)}"
            )
        if old is not None:
            absent = set(old["missing"])
        elif layout.REJECTED_FILE not in damaged:
            absent = {key for key, code in self._rejected().items() if code == "missing"}
        else:
            paths = plan.table["path"].tolist()
            absent = set(plan.table["key"].iloc[find_missing(self._src, paths)])
        rows = plan.table["key"].isin(list(absent)).to_numpy().nonzero()[0]
        return replace(plan, missing=frozenset(rows.tolist()))

    def _read_plan(self) -> dict[str, Any] | None:
        try:
            plan = json.loads((self._out / layout.PLAN_FILE).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return plan if wrong_plan(plan) is None else None

    def _rejected(self) -> dict[str, str]:
        path = self._out / layout.REJECTED_FILE
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                return {row["key"]: row["code"] for row in rows}
        except KeyError as error:
            raise PackError(
                f"{path} is damaged (it has no column {error}) beside other files; pack into an empty folder"
            ) from error
        except (ValueError, csv.Error) as error:
            raise PackError(f"{path} is damaged ({error}) beside other files; pack into an empty folder") from error

    def _summaries(self, plan: Plan, keep_codes: bool) -> None:
        """Make manifest, rejects and shardset.json in the work folder from what the set's tars hold."""
        self._empty()
        content = (self._out / layout.PLAN_FILE).read_bytes()
        if content != layout.readable_json(plan.document()):
            raise PackError(
                f"{self._out / layout.PLAN_FILE} is damaged and {layout.COMMIT_FILE} does not say how; pack again into "
                "an empty folder"
            )
        write_whole(self.folder / layout.PLAN_FILE, content)
        codes = self._rejected() if keep_codes else {}
        commit(self.folder, plan, gather(self._part(plan, shard, codes) for shard in range(plan.num_shards)))

    def _part(self, plan: Plan, shard: int, codes: dict[str, str]) -> Part:
        """Return what packing a shard has found, from its tar; why the rest was rejected from `codes` or the images."""
        tar, index = _names(plan, shard)
        rows, keys = plan.rows_of(shard), plan.table["key"]
        part = Part(shard)
        if (self._out / tar).exists():
            seen = read_back(self._out / tar)
            place = {key: row for row, key in zip(rows, keys.iloc[rows.start : rows.stop], strict=True)}
            table = None if seen.members is None else _table(seen.members, shard, plan)
            if seen.members is None or table is None or not place.keys() >= set(seen.members.keys):
                raise PackError(f"{self._out / tar} does not hold what was planned; pack again into an empty folder")
            if (self._out / index).read_bytes() != seen.members.index():
                raise PackError(f"{self._out / index} is not that of its tar; pack again into an empty folder")
            part.rows = [place[key] for key in seen.members.keys]
            part.stored = {name: table[name].to_pylist() for name in STORED_TYPES}
            part.files = {
                tar: {"size": seen.size, "sha256": seen.sha256},
                index: _file_record(self._out / index),
            }
        stored = set(part.rows)
        part.rejected = [(row, codes.get(keys.iloc[row]) or self._code(plan, row)) for row in rows if row not in stored]
        return part

    def _code(self, plan: Plan, row: int) -> str:
        """Return why an image is rejected, by trying it again."""
        if row in plan.missing:
            return "missing"
        one = plan.table.iloc[[row]]
        job = Job(str(self._src), plan.recipe, tuple(one["key"]), tuple(one["path"]), tuple(documents(one)))
        (outcome,) = pack_job(job)
        return outcome.code if isinstance(outcome, Rejected) else "stored"

    def _install(self, names: set[str], record: dict[str, Any]) -> list[str]:
        """Put files in their places that have their recorded bytes; return the names of those that do not."""
        failed = []
        for name in sorted(names):
            made = self.folder / name
            if made.exists() and _file_record(made) == record["files"][name]:
                self._move(name)
                continue
            failed.append(name)
            if made.exists() and _same(made, self._out / name):
                self._unchanged.append(name)
        return failed

    def _move(self, name: str) -> None:
        (self.folder / name).replace(self._out / name)
        sync_folder(self._out)
        self.replaced.append(name)
        _LOG.info("repaired %s", self._out / name)

    def _empty(self) -> None:
        """Leave an empty work folder, in which packing finds its own staging folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / STAGING).mkdir(parents=True)


def _names(plan: Plan, shard: int) -> tuple[str, str]:
    name = plan.recipe.dataset
    return layout.tar_name(name, shard), layout.index_name(name, shard)


def _table(members: Members, shard: int, plan: Plan) -> pa.Table | None:
    try:
        return members.table(shard, schema_of(plan.table))
    except (pa.ArrowException, KeyError, ValueError):
        return None


def _file_record(path: Path) -> FileRecord:
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}


def _same(first: Path, second: Path) -> bool:
    return second.is_file() and first.read_bytes() == second.read_bytes()
