"""Decoding a sample: an even draw, broken files by name and reason, and an honest interval."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from small_releases import write_release

from cxrfast.packing.trial import Trial, Unreadable, draw, try_images


def test_broken_files_are_named_with_their_reason(tmp_path):
    """Each kind of damage among whole images, is told in the table's order by code and reason."""
    table = write_release(tmp_path, 40).table
    paths = table["path"].tolist()
    (tmp_path / paths[3]).write_bytes(b"")
    (tmp_path / paths[7]).write_text("<html>404</html>")
    whole = (tmp_path / paths[18]).read_bytes()
    (tmp_path / paths[18]).write_bytes(whole[:-40])
    (tmp_path / paths[30]).unlink()
    (tmp_path / paths[31]).unlink()
    (tmp_path / paths[31]).mkdir()
    trial = try_images(tmp_path, table, 100)
    assert (trial.drawn, trial.total) == (40, 40)
    codes = ["empty", "not-an-image", "truncated", "unreadable", "unreadable"]
    assert [image.code for image in trial.unreadable] == codes
    assert [image.path for image in trial.unreadable] == [paths[row] for row in (3, 7, 18, 30, 31)]
    assert all(image.reason for image in trial.unreadable)
    assert trial.kinds == {"JPEG": 25, "PNG, 8 bits, gray": 10}
    assert trial.share() == (5 / 40, 5 / 40)


def test_kinds_and_sizes_are_those_of_the_files(tmp_path):
    """16-bit and colour PNGs are told apart; least, median and largest sides are in pixels."""
    table = write_release(tmp_path, 3).table
    shapes = [np.zeros((30, 50), np.uint16), np.zeros((20, 70, 3), np.uint8), np.zeros((10, 60, 4), np.uint8)]
    names = [f"{number}.png" for number in range(3)]
    for name, pixels in zip(names, shapes, strict=True):
        cv2.imwrite(str(tmp_path / name), pixels)
    trial = try_images(tmp_path, table.assign(path=names), 3)
    assert set(trial.kinds) == {"PNG, 16 bits, gray", "PNG, 8 bits, RGB", "PNG, 8 bits, RGBA"}
    assert trial.sides("width") == (50, 60, 70)
    assert trial.sides("height") == (10, 20, 30)


def test_the_kinds_of_real_dicom_are_told(real_data, tmp_path):
    """Bits, polarity and compression, as the headers have them."""
    names = [path.name for path in sorted((real_data / "dicom").glob("*.dcm"))]
    table = write_release(tmp_path, len(names)).table.assign(path=names)
    trial = try_images(real_data / "dicom", table, len(names))
    assert trial.unreadable == []
    assert set(trial.kinds) == {
        "DICOM, 15 bits, MONOCHROME1, uncompressed",
        "DICOM, 15 bits, MONOCHROME1, JPEG 2000 Image Compression",
    }


def test_the_draw_is_even_the_same_each_time_and_grows(tmp_path):
    """A larger sample holds the smaller one; over many draws' worth of rows no tenth of the table is favoured."""
    table = write_release(tmp_path, 1).table
    table = table.loc[[0] * 20_000].reset_index(drop=True)
    table["key"] = [f"tiny-{row}" for row in range(20_000)]
    table["path"] = [str(row) for row in range(20_000)]
    drawn = draw(table, 2000)
    assert drawn == draw(table, 2000)
    assert set(draw(table, 500)) < set(drawn)
    assert [int(path) for path in drawn] == sorted(int(path) for path in drawn)
    tenths = np.bincount(np.array(drawn, dtype=int) // 2000, minlength=10)
    assert tenths.min() > 150
    assert tenths.max() < 250


@pytest.mark.parametrize(
    ("bad", "drawn", "low", "high"), [(0, 100, 0, 0.0370), (5, 100, 0.0215, 0.1118), (100, 100, 0.963, 1)]
)
def test_the_share_is_wilsons_interval(bad, drawn, low, high):
    """Against published values (Brown, Cai and DasGupta's form at z = 1.96); of the whole set it is exact."""
    broken = Unreadable("x", "truncated", "cut")
    trial = try_of(bad, drawn, 10_000, broken)
    assert trial.share() == pytest.approx((low, high), abs=1e-4)
    assert replace(trial, total=drawn).share() == (bad / drawn, bad / drawn)


def try_of(bad, drawn, total, broken):
    from cxrfast.packing.trial import Readable

    return Trial(total, [Readable("JPEG", 1, 1)] * (drawn - bad), [broken] * bad)


def test_nothing_drawn_says_nothing():
    """Without a sample any share is possible."""
    assert Trial(0, [], []).share() == (0, 1)
    assert Trial(0, [], []).sides("width") is None


def test_progress_reaches_the_whole(tmp_path):
    """It is told from 0 to all."""
    from contextlib import contextmanager

    told = []

    @contextmanager
    def counting(verb):
        yield lambda done, total: told.append((verb, done, total))

    try_images(tmp_path, write_release(tmp_path, 20).table, 20, counting=counting)
    assert told[0] == ("decoding", 0, 20)
    assert told[-1] == ("decoding", 20, 20)
