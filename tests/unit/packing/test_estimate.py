"""Estimates: close to what packing then takes, and silent about what it cannot read."""

import os

import pytest
from small_releases import NAME, write_release

from cxrfast.packing.estimate import Estimate, estimate_packed, free_bytes
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack


@pytest.mark.parametrize("recipe", [Recipe(NAME, long_side=64), Recipe(NAME, long_side=64, codec="raw")])
def test_the_estimate_is_near_the_packed_size(recipe, tmp_path):
    """From a sample of 40 of 120 images it is within a fifth of what the folder then takes."""
    release = write_release(tmp_path / "src", 120)
    estimate = estimate_packed(tmp_path / "src", release.table["path"].tolist(), recipe, samples=40)
    summary = pack(release, tmp_path / "src", tmp_path / "out", recipe=recipe, workers=1)
    assert estimate.images == 40
    assert estimate.seconds_per_image > 0
    assert summary.bytes * 0.8 < estimate.bytes_per_image * 120 < summary.bytes * 1.2


def test_files_that_cannot_be_packed_are_passed_over(tmp_path):
    """Absent and broken files are left out; with nothing else the estimate says that it knows nothing."""
    paths = write_release(tmp_path / "src", 4).table["path"].tolist()
    (tmp_path / "src" / paths[0]).unlink()
    (tmp_path / "src" / paths[1]).write_bytes(b"")
    assert estimate_packed(tmp_path / "src", paths, Recipe(NAME)).images == 2
    assert estimate_packed(tmp_path / "src", paths[:2], Recipe(NAME)) == Estimate(0.0, 0.0, 0)
    assert estimate_packed(tmp_path / "src", [], Recipe(NAME)) == Estimate(0.0, 0.0, 0)


def test_free_space_is_that_of_the_nearest_folder(tmp_path):
    """A folder that is still to be made counts as its parent's disk."""
    disk = os.statvfs(tmp_path)
    free = free_bytes(tmp_path / "a" / "b" / "c")
    assert abs(free - disk.f_bavail * disk.f_frsize) < 1e9
