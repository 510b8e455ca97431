"""What a loader's state is compared by: everything that decides which pixels come in which batch.

The parts are kept apart in the state, so that a refusal can say what differs and not only that a hash does. Ranks,
threads, device, backend and the reader's settings are no part of it: they change nothing in the batches, and a run may
go on with others.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from cxrfast.errors import StateMismatch

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

VERSION = 2

_WORDS = {
    "samples": "number of samples",
    "data": "samples (keys, pixels or labels, in their order)",
    "layout": "shards that the samples lie in (how they were packed)",
    "targets": "targets",
    "views": "views",
    "size": "size",
    "order": "order",
    "sampling": "sampling",
    "batch_size": "batch size",
    "last": "last",
    "seed": "seed",
}


def described(setting: "DataclassInstance") -> dict[str, Any]:
    """Return a frozen dataclass as plain values with its name: what a state can hold and a person can read."""
    return {"name": type(setting).__name__, **json.loads(json.dumps(asdict(setting)))}


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Return 32 hex digits that differ where any part does."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def check_state(state: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Raise StateMismatch, naming what differs, where a state was not saved by a loader of these parts."""
    if state.get("version") != VERSION:
        raise StateMismatch(f"the loader's state has version {state.get('version')!r}, this cxrfast reads {VERSION}")
    if state.get("fingerprint") == fingerprint(parts):
        return
    saved = state.get("parts", {})
    differing = [name for name in parts if saved.get(name) != parts[name]]
    told = "; ".join(_difference(name, saved.get(name), parts[name]) for name in differing)
    raise StateMismatch(
        f"the saved state is of another loader. {told or 'its fingerprint was changed'}. "
        "Go on with the settings and data it was saved with, or start anew"
    )


def _difference(name: str, saved: object, here: object) -> str:
    if name in ("data", "layout"):
        return f"The {_WORDS[name]} are not the same"
    return f"{_WORDS[name].capitalize()}: {_short(saved)} then, {_short(here)} now"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else text[:197] + "..."
