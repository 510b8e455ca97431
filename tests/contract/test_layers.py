"""The house has floors: imports run one way, and heavy or optional packages stay in their rooms."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "cxrfast"

# What each room may import, besides itself. The lazy face of the package (`cxrfast/__init__.py`) stands outside.
GROUND = {"amounts", "errors", "chance", "durable"}
ROOMS: dict[str, set[str]] = {
    "amounts": {"errors"},
    "errors": set(),
    "chance": set(),
    "durable": set(),
    "labels": GROUND,
    "imaging": {"errors"},
    "sources": GROUND | {"labels"},
    "phantom": GROUND | {"labels"},
    "shardset": GROUND | {"labels"},
    "packing": GROUND | {"labels", "sources", "imaging", "shardset"},
    "loading": GROUND | {"labels", "shardset"},
    "learning": GROUND | {"labels"},
    "evaluation": GROUND | {"labels"},
    "experiment": GROUND | {"labels", "shardset", "imaging", "loading", "learning", "evaluation"},
    "bench": GROUND | {"shardset", "loading"},
    "cli": GROUND
    | {"labels", "imaging", "sources", "phantom", "shardset", "packing", "loading", "learning", "evaluation"}
    | {"experiment", "bench"},
}

# Packages that only these files may name (a folder ends with a slash).
CONFINED: dict[str, tuple[str, ...]] = {
    "nvidia": ("loading/render_dali.py",),
    "pydicom": ("imaging/", "phantom/", "sources/"),
    "webdataset": ("shardset/shardset.py",),
    "torch": ("loading/", "learning/", "experiment/", "bench/"),
    "torchvision": ("learning/", "experiment/"),
    "fsspec": ("shardset/transfer.py",),
    "aiohttp": (),
    "s3fs": (),
    "sklearn": ("evaluation/",),
}


def modules() -> list[str]:
    """Return every module's path relative to the package."""
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def imports(module: str) -> set[str]:
    """Return the dotted names that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str:
    return module.split("/")[0].removesuffix(".py")


@pytest.mark.parametrize("module", [module for module in modules() if module != "__init__.py"])
def test_imports_run_one_way(module: str) -> None:
    """A module imports only rooms below its own; nothing imports `cli`."""
    room = room_of(module)
    assert room in ROOMS, f"{room} is a room that the house does not have"
    rooms = {name.split(".")[1] for name in imports(module) if name.startswith("cxrfast.")}
    beyond = {name for name in rooms if name in ROOMS} - ROOMS[room] - {room}
    assert not beyond, f"{module} must not import {sorted(beyond)}"


@pytest.mark.parametrize("package", sorted(CONFINED))
def test_heavy_packages_stay_in_their_rooms(package: str) -> None:
    """A heavy or optional package is imported only where the design says."""
    users = {module for module in modules() if any(name.split(".")[0] == package for name in imports(module))}
    strangers = {module for module in users if not module.startswith(CONFINED[package])}
    assert not strangers, f"{package} must not be imported in {sorted(strangers)}"


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import cxrfast", ("torch", "cv2", "pandas", "numpy")),
        ("from cxrfast import ShardSet", ("torch", "cv2", "webdataset", "matplotlib", "fsspec", "asyncio")),
        ("import cxrfast.packing.run, cxrfast.packing.doctor", ("torch", "webdataset", "matplotlib")),
        ("import cxrfast.cli.shard, cxrfast.cli.train, cxrfast.cli.bench", ("torch", "cv2", "pandas", "matplotlib")),
        ("import cxrfast.learning.engine", ("cv2", "webdataset")),
    ],
)
def test_importing_brings_nothing_that_is_not_needed(statement: str, absent: tuple[str, ...]) -> None:
    """In a fresh interpreter, an import does not load packages that its use does not need."""
    code = f"{statement}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
