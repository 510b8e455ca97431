"""The options of `cxrfast-shard pack` that decide what is stored."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cxrfast.cli.shard import shard
from cxrfast.shardset.shardset import ShardSet


@pytest.fixture
def src(tmp_path):
    """Return a release of two gray JPEGs of 700 x 400, as Kermany's is laid out."""
    for kind, name in (("NORMAL", "IM-0115-0001"), ("PNEUMONIA", "person1_virus_6")):
        folder = tmp_path / "chest_xray/train" / kind
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / f"{name}.jpeg"), np.tile(np.arange(50, 120, dtype=np.uint8), (400, 10)))
    return tmp_path / "chest_xray"


def packed(src, tmp_path, *options):
    """Pack with the command and return the one payload that both images have."""
    out = tmp_path / "out"
    done = CliRunner().invoke(shard, ["pack", "kermany", str(src), "--out", str(out), "--workers", "1", *options])
    assert done.exit_code == 0, done.output
    shards = ShardSet.open(out)
    payloads = {
        next(sample[key] for key in ("jpg", "npy") if key in sample) for sample in shards.webdataset(decode=False)
    }
    assert len(payloads) == 1
    return payloads.pop(), shards.table, json.loads((out / "plan.json").read_text())["recipe"]


def test_a_long_side_of_0_copies_the_originals(src, tmp_path):
    """Full size, and the very bytes."""
    payload, table, recipe = packed(src, tmp_path, "--long-side", "0")
    assert payload == next(src.rglob("*.jpeg")).read_bytes()
    assert set(table["width"]) == {700}
    assert recipe["long_side"] == 0


@pytest.mark.parametrize(("option", "ends"), [("none", (50, 119)), ("minmax", (0, 255))])
def test_stretch_is_the_users_choice(src, tmp_path, option, ends):
    """By default an image keeps its grays; minmax spreads them, and the plan says so."""
    options = ["--codec", "raw", "--long-side", "700"] + (["--stretch", option] if option != "none" else [])
    payload, _, recipe = packed(src, tmp_path, *options)
    pixels = np.frombuffer(payload[-700 * 400 :], dtype=np.uint8)
    assert abs(int(pixels.min()) - ends[0]) <= 5
    assert abs(int(pixels.max()) - ends[1]) <= 5
    assert recipe["stretch"] == option


@pytest.mark.parametrize("options", [("--stretch", "clahe"), ("--long-side", "-1")])
def test_what_cannot_be_asked_for_is_refused(src, options):
    """A wrong choice ends with status 2 before anything is read."""
    assert CliRunner().invoke(shard, ["pack", "kermany", str(src), *options]).exit_code == 2
