import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cxrfast.errors import PackError
from cxrfast.packing.encode import Job, Packed, Rejected, encode, pack_job
from cxrfast.packing.recipe import Recipe


def picture(height, width):
    small = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def job(folder, *paths, **recipe):
    keys = tuple(f"tiny-{number}" for number in range(len(paths)))
    return Job(str(folder), Recipe("tiny", **recipe), keys, paths, tuple({"path": path} for path in paths))


@pytest.mark.parametrize("codec", ["png", "raw"])
def test_lossless_codecs_give_back_every_pixel(codec):
    """The codecs png and raw hold the very pixels, as one gray channel."""
    gray = picture(41, 30)
    payload = encode(gray, Recipe("tiny", codec=codec))
    back = np.load(io.BytesIO(payload)) if codec == "raw" else cv2.imdecode(np.frombuffer(payload, np.uint8), -1)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, gray)


def test_jpeg_is_gray_and_close():
    """JPEG at quality 95 has one channel and stays within a few gray levels; a lower quality takes fewer bytes."""
    gray = picture(200, 160)
    payload = encode(gray, Recipe("tiny"))
    back = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_UNCHANGED)
    assert back.shape == (200, 160)
    assert np.abs(back.astype(int) - gray).max() <= 6
    assert len(encode(gray, Recipe("tiny", quality=50))) < len(payload)


def test_encoding_again_gives_the_same_bytes():
    """The same pixels give the same bytes, contiguous in memory or not."""
    gray = picture(64, 64)
    for codec in ("jpeg", "png", "raw"):
        recipe = Recipe("tiny", codec=codec)
        assert encode(gray, recipe) == encode(gray.T.copy().T, recipe)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(640, 320, (320, 160)), (100, 90, (100, 90)), (64, 900, (23, 320))]
)
def test_the_long_side_is_bounded_and_nothing_is_enlarged(tmp_path, height, width, expected):
    """The longer side becomes 320 where it was more; the document and the result say both sizes."""
    cv2.imwrite(str(tmp_path / "a.png"), picture(height, width))
    (packed,) = pack_job(job(tmp_path, "a.png"))
    assert isinstance(packed, Packed)
    assert (packed.height, packed.width, packed.source_height, packed.source_width) == (*expected, height, width)
    start = packed.sample.document_offset
    document = json.loads(packed.sample.blob[start : start + packed.sample.document_nbytes])
    assert document == {
        "path": "a.png", "height": expected[0], "width": expected[1], "source_height": height, "source_width": width,
    }  # fmt: skip


def test_a_broken_image_is_rejected_and_its_neighbours_are_packed(tmp_path):
    """Results keep the job's order; a reject carries its code and the library's words."""
    cv2.imwrite(str(tmp_path / "good.jpg"), picture(50, 50))
    whole = (tmp_path / "good.jpg").read_bytes()
    broken = {"empty": b"", "truncated": whole[: len(whole) // 2], "not-an-image": b"%PDF-1.4 this is no image at all"}
    for code, content in broken.items():
        (tmp_path / code).write_bytes(content)
    results = pack_job(job(tmp_path, "empty", "good.jpg", "truncated", "not-an-image"))
    assert isinstance(results[1], Packed)
    rejected = [result for result in results if isinstance(result, Rejected)]
    assert [result.code for result in rejected] == ["empty", "truncated", "not-an-image"]
    assert all(result.detail for result in rejected)


def test_a_file_that_claims_too_many_pixels_is_rejected(tmp_path):
    """The limit of the recipe is the one that counts."""
    cv2.imwrite(str(tmp_path / "a.png"), picture(50, 50))
    (rejected,) = pack_job(job(tmp_path, "a.png", max_pixels=2499))
    assert isinstance(rejected, Rejected)
    assert rejected.code == "too-large"


def test_a_file_that_vanished_stops_the_run(tmp_path):
    """A read error is the disk's trouble and no property of the image, so it is no reject."""
    with pytest.raises(PackError, match=r"gone\.png cannot be read now .*run again to resume"):
        pack_job(job(tmp_path, "gone.png"))


def test_a_worker_imports_no_table_library_torch_or_webdataset():
    """A worker loads OpenCV and NumPy; the rest would cost each process time and memory."""
    code = (
        "import sys, cxrfast.packing.encode; "
        "print([name for name in ('torch', 'webdataset', 'pandas', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
