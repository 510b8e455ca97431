"""shardset.json against everything that it says: it has no checksum of its own, so each of its words is held to a file.

A flipped bit there must not pass: the text must be the one text that packing writes for its content, and each value in
it must follow from the plan, the manifest, the rejects or a file's size and SHA-256.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cxrfast.labels import PREFIX, VOTES_PREFIX
from cxrfast.shardset import format as layout
from cxrfast.shardset.commit import wrong_form, wrong_version

# What packing writes beside that by which a set is opened.
_FIELDS: dict[str, type] = {"votes": list, "recipe": dict, "plan": str, "counts": dict}


def read_record(path: Path) -> tuple[dict[str, Any] | None, list[tuple[str, int | None]]]:
    """Return shardset.json's content, None where it is of no use, and what is wrong with it: (message, offset)."""
    content = path.read_bytes()
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        return None, [(f"it is no JSON: {error}", getattr(error, "pos", getattr(error, "start", None)))]
    wrong = list(_wrong_form(document))
    if wrong:
        return None, [(message, None) for message in wrong]
    try:
        expected = layout.readable_json(document)
    except ValueError as error:  # half a character, or NaN
        return None, [(f"it holds what packing cannot write: {error}", None)]
    if content == expected:
        return document, []
    return document, [("its text is not as packing writes it", first_difference(content, expected))]


def _wrong_form(document: object) -> Iterator[str]:
    if not isinstance(document, dict):
        yield "it holds no fields"
        return
    version = wrong_version(document)
    if version is not None:
        yield f"it is {version}"
    yield from wrong_form(document)
    for name, kind in _FIELDS.items():
        if not isinstance(document.get(name), kind):
            yield f"its field {name!r} is missing or of another kind"
    counts = document.get("counts")
    for name in ("planned", "images", "rejected", "shards"):
        if isinstance(counts, dict) and not isinstance(counts.get(name), int):
            yield f"it does not count {name!r}"
    for name in (layout.PLAN_FILE, layout.REJECTED_FILE):
        if isinstance(document.get("files"), dict) and name not in document["files"]:
            yield f"it does not list {name}"


def contradictions(
    document: Mapping[str, Any], *, plan: Mapping[str, Any] | None, manifest: pa.Table | None, rejected: int | None
) -> Iterator[str]:
    """Yield where shardset.json contradicts what lies beside it; None for what cannot be read."""
    counts = document["counts"]
    if document["plan"] != document["files"][layout.PLAN_FILE]["sha256"]:
        yield "it gives two SHA-256 of plan.json"
    if document["name"] != document["recipe"].get("dataset"):
        yield f"its name {document['name']!r} is not that in its recipe"
    if plan is not None and document["recipe"] != plan.get("recipe"):
        yield "its recipe is not that of plan.json"
    if plan is not None and counts.get("planned") != plan.get("images"):
        yield f"it counts {counts.get('planned')} planned images, plan.json {plan.get('images')}"
    if rejected is not None and counts.get("rejected") != rejected:
        yield f"it counts {counts.get('rejected')} rejected images, rejected.csv lists {rejected:,}"
    if manifest is not None:
        yield from _against_manifest(document, manifest, rejected)


def _against_manifest(document: Mapping[str, Any], manifest: pa.Table, rejected: int | None) -> Iterator[str]:
    counts = document["counts"]
    for field, prefix in (("labels", PREFIX), ("votes", VOTES_PREFIX)):
        if document[field] != [name.removeprefix(prefix) for name in manifest.column_names if name.startswith(prefix)]:
            yield f"its {field} are not those of the manifest"
    shards = len(manifest["shard"].unique())
    splits = dict(sorted(Counter(manifest["release_split"].fill_null("none").to_pylist()).items()))
    for what, found in (("images", len(manifest)), ("shards", shards), ("release_split", splits)):
        if counts.get(what) != found:
            yield f"it counts {what} {counts.get(what)}, the manifest {found}"
    if rejected is not None and len(manifest) + rejected != counts.get("planned"):
        yield f"{counts.get('planned')} images were planned; {len(manifest):,} are stored and {rejected:,} rejected"


def first_difference(first: bytes, second: bytes) -> int:
    """Return the first place at which two texts differ; the length of the shorter where it begins the longer."""
    length = min(len(first), len(second))
    a, b = (np.frombuffer(text, np.uint8, count=length) for text in (first, second))
    unequal = np.flatnonzero(a != b)
    return int(unequal[0]) if len(unequal) else length


def shard_files(document: Mapping[str, Any], shards: list[int]) -> set[str]:
    """Return the names of all files that a set of these shards has, shardset.json not among them."""
    name = str(document["name"])
    files = {layout.PLAN_FILE, layout.MANIFEST_FILE, layout.REJECTED_FILE}
    return files | {make(name, shard) for shard in shards for make in (layout.tar_name, layout.index_name)}
