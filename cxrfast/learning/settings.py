"""Settings are small frozen objects that know which of their fields change a result.

A run folder must refuse other settings, yet let a run go on with more epochs or rarer checkpoints. If the run decided
that, each new field could be forgotten there; so each object says it of its own fields, beside them.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of all settings of this room: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    NEUTRAL: ClassVar[frozenset[str]] = frozenset()
    """Fields that change no result, whatever the others say."""

    def neutral(self) -> frozenset[str]:
        """Return the names of the fields that change no result, given the values of the others."""
        return self.NEUTRAL

    def identity(self) -> dict[str, Any]:
        """Return what counts for the result as plain JSON types; equal identities give equal runs."""
        plain = self.model_dump(mode="json", exclude=set(self.neutral()))
        nested = {name: value for name in plain if isinstance(value := getattr(self, name), Settings)}
        return plain | {name: settings.identity() for name, settings in nested.items()}


def differences(ours: dict[str, Any], theirs: dict[str, Any], *, prefix: str = "") -> list[str]:
    """Name every entry in which two identities differ, as `optimizer.lr: 0.1, was 0.01`."""
    found = []
    for name in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(name), theirs.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, prefix=f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name}: {a!r}, was {b!r}")
    return found
