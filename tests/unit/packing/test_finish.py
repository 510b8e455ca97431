"""A folder that packing has ended in is believed only as far as its records hold; else `finish` and `pack` say why."""

import json
import shutil

import pytest
from small_releases import NAME, write_release

from cxrfast.errors import PackError
from cxrfast.packing.finish import finish
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack

RECIPE = Recipe(NAME, long_side=48, samples_per_shard=8)
ENTRY = {"sha256": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finish")
    pack(write_release(folder / "src", 10), folder / "src", folder / "set", recipe=RECIPE, workers=1)
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"files": None}, {"files": []}, {"files": {}}, {"files": {"manifest.parquet": ENTRY}}, {"name": None},
        {"labels": None}, {"counts": {}}, {"plan": "\ud800"}, [],
    ],
)  # fmt: skip
def test_a_damaged_record_is_no_packed_set(folder, tmp_path, changes):
    """Whatever is gone from shardset.json, neither says that the set is packed already."""
    out = shutil.copytree(folder / "set", tmp_path / "set")
    path = out / "shardset.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes} if changes else changes))
    release = write_release(tmp_path / "src", 10)
    for again in (lambda: finish(out), lambda: pack(release, tmp_path / "src", out, recipe=RECIPE, workers=1)):
        with pytest.raises(PackError, match=r"shardset\.json is damaged"):
            again()


@pytest.mark.parametrize("changes", [{"missing": 5}, {"packages": [1]}, {"recipe": {}}, {"recipe": {"dataset": 5}}])
def test_a_damaged_plan_is_no_plan_to_go_on_by(folder, tmp_path, changes):
    """A packed folder whose plan.json lost its form is refused by its name."""
    out = shutil.copytree(folder / "set", tmp_path / "set")
    path = out / "plan.json"
    text = json.dumps({**json.loads(path.read_bytes()), **changes})
    path.write_text(text)
    release = write_release(tmp_path / "src", 10)
    with pytest.raises(PackError, match=r"plan\.json"):
        pack(release, tmp_path / "src", out, recipe=RECIPE, workers=1)
    (out / "shardset.json").unlink()
    with pytest.raises(PackError, match=r"plan\.json"):
        finish(out)


def test_a_file_is_no_folder_to_finish(tmp_path):
    """It is said so, and the file stays."""
    (tmp_path / "afile").write_text("mine")
    with pytest.raises(PackError, match="is a file"):
        finish(tmp_path / "afile")
    assert (tmp_path / "afile").read_text() == "mine"
