"""From experiment files to an `Experiment`: a name or path, `extends`, overrides, and errors in words.

A file that extends another holds only what differs, so two experiments can be compared by reading one short file. The
cost is a lookup through the chain; `config.yaml` in the run folder therefore always holds the whole, resolved.
"""

from collections.abc import Hashable
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from cxrfast.errors import ConfigError
from cxrfast.experiment.config import Experiment

Tree = dict[str, Any]


def load(name: str | Path, overrides: tuple[str, ...] = ()) -> Experiment:
    """Load the experiment of a path or packaged name, with `key=value` overrides laid over it.

    Raises ConfigError naming the file, the key and the nearest known key or packaged experiment.
    """
    tree = _resolve(str(name), Path(), ())
    for override in overrides:
        _lay_override(tree, override)
    return _check(tree, str(name))


def dump(experiment: Experiment) -> str:
    """Return the whole experiment as YAML, readable by `load`."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def packaged() -> list[str]:
    """Return the names of the experiments that come with the package."""
    folder = resources.files("cxrfast.experiment") / "configs"
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _resolve(name: str, beside: Path, seen: tuple[str, ...]) -> Tree:
    """Read a file and everything that it extends. `beside`: the folder of the file that named it."""
    where, text = _find(name, beside)
    if where in seen:
        raise ConfigError(f"{' extends '.join((*seen, where))}: an experiment cannot extend itself")
    tree = _parse(text, where)
    base = tree.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise ConfigError(f"{where}: extends names one file, found {base!r}")
    extended = _resolve(base, Path(where).parent, (*seen, where))
    merged = _merge(extended, tree)
    if isinstance(extended.get("notes"), list) and isinstance(tree.get("notes"), list):
        # A reading of the file that is extended stays a reading: notes are added to, never lost.
        merged["notes"] = extended["notes"] + tree["notes"]
    return merged


def _find(name: str, beside: Path) -> tuple[str, str]:
    for path in (beside / name, Path(name)):
        if path.is_file():
            return str(path.resolve()), _read_text(path)
    file = name if name.endswith(".yaml") else f"{name}.yaml"
    if "/" not in name and file in packaged():
        entry = resources.files("cxrfast.experiment") / "configs" / file
        return file, entry.read_text(encoding="utf-8")
    near = get_close_matches(file, packaged(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"packaged experiments: {', '.join(packaged())}"
    raise ConfigError(f"there is no experiment file {name!r}, neither here nor in the package; {hint}")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text file in UTF-8 ({error.reason} at byte {error.start})") from error


class _Loader(yaml.SafeLoader):
    """Safe, and strict on what YAML lets pass: a key given twice would lose the first value without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping, refusing a key that stands there twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for number, key in enumerate(keys) if key in keys[:number]]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _parse(text: str, where: str) -> Tree:
    try:
        tree = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{where}: an experiment file holds keys and values, found {type(tree).__name__}")
    return tree


def _merge(base: Tree, over: Tree) -> Tree:
    """Lay one tree over another: mappings merge key by key, everything else (lists too) is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _lay_override(tree: Tree, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r} is not key=value; for example -o classifier.fit.epochs=3")
    *parents, last = key.split(".")
    node = tree
    for depth, parent in enumerate(parents):
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {'.'.join(parents[: depth + 1])} holds a value, not keys")
        node = child
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not valid YAML: {error}") from error


def _check(tree: Tree, where: str) -> Experiment:
    try:
        return Experiment.model_validate(tree)
    except ValidationError as error:
        faults = [_in_words(fault["loc"], fault["msg"], fault["type"], fault.get("input")) for fault in error.errors()]
        raise ConfigError("\n".join(f"{where}: {fault}" for fault in faults)) from error


def _in_words(location: tuple[int | str, ...], message: str, kind: str, found: object) -> str:
    key = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        return f"unknown key {key!r}; {_nearest(key)}"
    if kind == "missing":
        return f"{key!r} is missing"
    if kind == "value_error":
        return f"{key + ': ' if key else ''}{message.removeprefix('Value error, ')}"
    return f"{key!r} is {found!r}: {message[0].lower()}{message[1:]}"


def _nearest(key: str) -> str:
    """Name the known key that resembles an unknown one most: among its siblings first, then anywhere."""
    known = _known_keys(Experiment)
    parent, _, last = key.rpartition(".")
    siblings = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == parent}
    if near := get_close_matches(last, siblings, n=1):
        return f"did you mean {siblings[near[0]]!r}?"
    tails = {name.rpartition(".")[2]: name for name in known}
    if near := get_close_matches(last, tails, n=1):
        return f"did you mean {tails[near[0]]!r}?"
    return f"known keys{' under ' + repr(parent) if parent else ''}: {', '.join(sorted(siblings))}"


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for inner in _models_in(field.annotation):
            keys += _known_keys(inner, f"{prefix}{name}.")
    return keys


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if get_origin(annotation) in (Union, UnionType):
        return [model for part in get_args(annotation) for model in _models_in(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
