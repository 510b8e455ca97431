import csv
import json
import os
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from small_releases import NAME, contents, release_of, write_release

from cxrfast.errors import PackError
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack
from cxrfast.shardset.shardset import ShardSet

COUNT = 50
RECIPE = Recipe(NAME, long_side=64, samples_per_shard=20)


@pytest.fixture(scope="module")
def src(tmp_path_factory):
    return tmp_path_factory.mktemp("release")


@pytest.fixture(scope="module")
def release(src):
    return write_release(src, COUNT)


@pytest.fixture(scope="module")
def whole(src, release, tmp_path_factory):
    """Return a set packed without disturbance by one process."""
    out = tmp_path_factory.mktemp("whole") / "set"
    pack(release, src, out, recipe=RECIPE, workers=1)
    return out


@pytest.fixture
def broken(tmp_path):
    """Return a release of 40 images, one of each kind of reject among them, and the expected codes by path."""
    src = tmp_path / "broken"
    release = write_release(src, 40)
    paths = release.table["path"].tolist()
    jpeg = (src / paths[1]).read_bytes()
    (src / paths[1]).write_bytes(jpeg[: len(jpeg) // 2])
    (src / paths[2]).write_bytes(b"")
    (src / paths[3]).write_text("<html>404 not found</html>")
    (src / paths[5]).unlink()
    cv2.imwrite(str(src / paths[8]), np.zeros((400, 400), np.uint8))
    (src / paths[9]).write_bytes(b"GIF89a" + bytes(100))
    codes = {1: "truncated", 2: "empty", 3: "not-an-image", 5: "missing", 8: "too-large", 9: "unsupported"}
    return src, release, {paths[row]: code for row, code in codes.items()}


def read_rejected(out):
    with (out / "rejected.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("workers", [3, 4])
def test_the_bytes_do_not_depend_on_the_number_of_workers(src, release, whole, tmp_path, workers):
    """One process and several give the same files with the same bytes, none more and none less."""
    pack(release, src, tmp_path / "set", recipe=RECIPE, workers=workers)
    assert contents(tmp_path / "set") == contents(whole)


def test_a_set_holds_exactly_the_designs_files(whole):
    """A finished folder has plan, tars, indices, manifest, rejects and the commit file, and nothing hidden."""
    shards = [f"{NAME}-0000{shard}.{ext}" for shard in range(3) for ext in ("idx", "tar")]
    assert sorted(contents(whole)) == sorted(
        [*shards, "manifest.parquet", "plan.json", "rejected.csv", "shardset.json"]
    )


def test_the_commit_file_tells_counts_and_every_files_hash(whole):
    """shardset.json counts images, rejects, shards and release splits, and lists each other file with its SHA-256."""
    commit = json.loads((whole / "shardset.json").read_text())
    assert commit["counts"] == {
        "planned": 50, "images": 50, "rejected": 0, "shards": 3,
        "release_split": {"none": 12, "test": 12, "train": 13, "val": 13},
    }  # fmt: skip
    assert commit["labels"] == ["Edema", "Nodule/Mass"]
    hashes = contents(whole)
    hashes.pop("shardset.json")
    assert {name: record["sha256"] for name, record in commit["files"].items()} == hashes
    assert all((whole / name).stat().st_size == record["size"] for name, record in commit["files"].items())


def test_what_was_released_can_be_read_from_the_set(release, src, whole):
    """Every image is there with its record, labels and sizes, in the table and in its own JSON, pixels shrunk only."""
    shards = ShardSet.open(whole)
    records = release.table.set_index("key")
    stored = shards.table.set_index("key").loc[records.index]
    pd.testing.assert_frame_equal(stored[records.columns], records)
    for row in shards.table.itertuples():
        content = shards.tar_path(0, row.shard).read_bytes()
        image = cv2.imdecode(np.frombuffer(content, np.uint8, row.nbytes, row.offset), cv2.IMREAD_UNCHANGED)
        original = cv2.imread(str(src / row.path), cv2.IMREAD_GRAYSCALE)
        assert image.shape == (row.height, row.width)
        assert original.shape == (row.source_height, row.source_width)
        assert max(image.shape) == min(64, max(original.shape))
        wanted = cv2.resize(original, image.shape[::-1], interpolation=cv2.INTER_AREA)
        error = wanted.astype(float) - image
        halved = row.path.endswith(".jpg") and max(original.shape) >= 1.3 * 2 * 64
        # What is decoded at half the size may be 38 dB from the whole; all else differs by JPEG's own loss.
        assert (error**2).mean() <= 255**2 / 10**3.8 if halved else np.abs(error).mean() < 2


@pytest.mark.parametrize("workers", [1, 2])
def test_broken_images_are_rejected_by_code_and_the_rest_is_packed(broken, tmp_path, workers):
    """Each kind of broken file has its code in rejected.csv; its shard is shorter and no image moves up."""
    src, release, codes = broken
    recipe = Recipe(NAME, samples_per_shard=10, max_pixels=100_000)
    summary = pack(release, src, tmp_path / "set", recipe=recipe, workers=workers, max_rejects=6)
    assert {row["path"]: row["code"] for row in read_rejected(tmp_path / "set")} == codes
    assert (summary.images, summary.rejected, summary.codes) == (34, 6, dict.fromkeys(sorted(codes.values()), 1))
    table = ShardSet.open(tmp_path / "set").table
    undisturbed = tmp_path / "undisturbed"
    pack(write_release(tmp_path / "good", 40), tmp_path / "good", undisturbed, recipe=recipe, workers=1)
    wanted = ShardSet.open(undisturbed).table
    wanted = wanted[~wanted["path"].isin(codes)]
    assert list(zip(table["key"], table["shard"], strict=True)) == list(
        zip(wanted["key"], wanted["shard"], strict=True)
    )


def test_too_many_rejects_stop_with_their_list_and_a_larger_budget_goes_on(broken, tmp_path):
    """The message counts codes and names files; what is packed is kept; the end is as if the budget had been large."""
    src, release, codes = broken
    out, recipe = tmp_path / "set", Recipe(NAME, samples_per_shard=5, max_pixels=100_000)
    with pytest.raises(PackError, match=r"2 of 40 planned images are rejected so far .*more than the 1 allowed"):
        pack(release, src, out, recipe=recipe, workers=1, max_rejects=0.03)
    listed = read_rejected(out)
    assert len(listed) == 2
    assert {row["path"] for row in listed} <= set(codes)
    assert not (out / "shardset.json").exists()
    summary = pack(release, src, out, recipe=recipe, workers=1, max_rejects=0.15)
    assert summary.rejected == 6
    other = tmp_path / "other"
    pack(release, src, other, recipe=recipe, workers=1, max_rejects=1.0)
    assert contents(out) == contents(other)


def test_missing_files_beyond_the_budget_stop_before_anything_is_packed(broken, tmp_path):
    """A wrong folder is found out at once; when the files have come, the same command packs them."""
    src, release, _ = broken
    out, good = tmp_path / "set", tmp_path / "good"
    absent = release_of([f"{path}x" for path in release.table["path"]])
    with pytest.raises(PackError, match=r"(?s)40 of 40 planned images .*40 missing.*and 20 more"):
        pack(absent, src, out, recipe=RECIPE)
    assert not (out / "plan.json").exists()
    pack(write_release(good, 40), good, out, recipe=RECIPE, workers=1)
    assert read_rejected(out) == []


def test_a_shard_of_rejects_alone_leaves_a_gap(tmp_path):
    """Where every image of a shard is rejected there is no tar, and the set opens all the same."""
    src = tmp_path / "src"
    release = write_release(src, 6)
    recipe = Recipe(NAME, samples_per_shard=1)
    pack(release, src, tmp_path / "whole", recipe=recipe, workers=1)
    table = ShardSet.open(tmp_path / "whole").table
    (src / table.loc[table["shard"] == 2, "path"].item()).write_bytes(b"")
    summary = pack(release, src, tmp_path / "gap", recipe=recipe, workers=1, max_rejects=1)
    assert summary.shards == 5
    assert not (tmp_path / "gap" / f"{NAME}-00002.tar").exists()
    assert ShardSet.open(tmp_path / "gap").table["shard"].tolist() == [0, 1, 3, 4, 5]


def test_a_second_run_does_nothing(src, release, whole):
    """A finished set says so, whatever the workers and the budget, and no byte or time stamp of it changes."""
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    summary = pack(release, src, whole, recipe=RECIPE, workers=4, max_rejects=0)
    assert (summary.complete, summary.images, summary.resumed) == (True, 50, 3)
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir()} == before


@pytest.mark.parametrize("finished", [True, False])
def test_another_plan_is_refused_naming_what_differs(src, release, whole, tmp_path, finished):
    """Recipe, table and package versions: each is named with both values, in a finished folder and a begun one."""
    out = shutil.copytree(whole, tmp_path / "set")
    if not finished:
        (out / "shardset.json").unlink()
    before = contents(out)
    with pytest.raises(PackError, match="recipe: long_side is 64 there, 65 here"):
        pack(release, src, out, recipe=Recipe(NAME, long_side=65, samples_per_shard=20))
    with pytest.raises(PackError, match=r"table of keys and paths is another one \(50 images there, 49 here"):
        pack(release_of(release.table["path"].tolist()[:49]), src, out, recipe=RECIPE)
    plan = json.loads((out / "plan.json").read_text())
    plan["packages"]["opencv"] = "4.0.0"
    (out / "plan.json").write_text(json.dumps(plan))
    words = "package opencv is 4.0.0 there" if not finished else "plan.json is missing or changed"
    with pytest.raises(PackError, match=words):
        pack(release, src, out, recipe=RECIPE)
    after = contents(out)
    assert {name: after[name] for name in before if name != "plan.json"} == {
        name: before[name] for name in before if name != "plan.json"
    }


def test_a_file_that_changed_after_packing_is_noticed(src, release, whole, tmp_path):
    """A finished set whose tar was cut or removed is not said to be packed."""
    out = shutil.copytree(whole, tmp_path / "set")
    os.truncate(out / f"{NAME}-00001.tar", 512)
    with pytest.raises(PackError, match=r"00001\.tar is missing or changed since"):
        pack(release, src, out, recipe=RECIPE)


def test_a_folder_of_other_things_is_left_alone(src, release, tmp_path):
    """Nothing is written among a user's own files; hidden ones of the system do not count."""
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / "thesis.tex").write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(PackError, match=r"holds other things \(thesis.tex\)"):
        pack(release, src, tmp_path, recipe=RECIPE)
    assert contents(tmp_path) == before
    (tmp_path / "thesis.tex").unlink()
    assert pack(release, src, tmp_path, recipe=RECIPE, workers=1).images == COUNT


def test_a_release_of_another_set_is_refused(src, release, tmp_path):
    """A recipe names the data set that it is for."""
    with pytest.raises(PackError, match="recipe is for chexpert, but the release is tiny"):
        pack(release, src, tmp_path / "set", recipe=Recipe("chexpert"))


@pytest.mark.parametrize("budget", [-1, 1.5])
def test_a_budget_out_of_range_is_refused(src, release, tmp_path, budget):
    """A fraction lies between 0.0 and 1.0, a count is not negative."""
    with pytest.raises(PackError, match="max_rejects"):
        pack(release, src, tmp_path / "set", recipe=RECIPE, max_rejects=budget)


def test_progress_counts_up_to_the_end(src, release, tmp_path):
    """Reports begin before the first image, never go back, and end with all images and the bytes of this run."""
    seen = []
    pack(release, src, tmp_path / "set", recipe=RECIPE, workers=1, progress=lambda *counts: seen.append(counts))
    assert seen[0] == (0, COUNT, 0, 0, 0)
    assert seen == sorted(seen)
    done, planned, rejects, bytes_in, bytes_out = seen[-1]
    assert (done, planned, rejects) == (COUNT, COUNT, 0)
    assert bytes_in == sum((src / path).stat().st_size for path in release.table["path"])
    assert bytes_out == int(ShardSet.open(tmp_path / "set").table["sample_nbytes"].sum())


def test_a_file_that_vanishes_while_packing_stops_the_run(tmp_path):
    """It was there when the plan was made, so this is trouble of the disk and no reject; mended, the run goes on."""
    src, out = tmp_path / "src", tmp_path / "set"
    release = write_release(src, 30)
    shutil.copytree(src, tmp_path / "copy")

    def unplug(done, *_):
        if done == 10:
            shutil.rmtree(src)

    recipe = Recipe(NAME, samples_per_shard=10)
    with pytest.raises(PackError, match="cannot be read now"):
        pack(release, src, out, recipe=recipe, workers=1, progress=unplug)
    shutil.copytree(tmp_path / "copy", src)
    assert pack(release, src, out, recipe=recipe, workers=1).resumed == 1
    pack(release, src, tmp_path / "whole", recipe=recipe, workers=1)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_plan_that_changes_while_packing_is_not_sealed(src, release, tmp_path):
    """Another program's hand in plan.json: the run ends with its name, and nothing says that the set is whole."""
    out = tmp_path / "set"

    def scribble(done, *_):
        if done:
            (out / "plan.json").write_text("{")

    with pytest.raises(PackError, match=r"plan\.json"):
        pack(release, src, out, recipe=RECIPE, workers=1, progress=scribble)
    assert not (out / "shardset.json").exists()
