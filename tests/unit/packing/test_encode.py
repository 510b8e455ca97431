import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrfast.errors import PackError
from cxrfast.imaging import read_gray
from cxrfast.loading.decode import decode
from cxrfast.packing.encode import Job, Packed, Rejected, encode, pack_job
from cxrfast.packing.recipe import Recipe
from cxrfast.shardset.format import EXTENSIONS


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


def stored_bytes(packed):
    start = packed.sample.payload_offset
    return packed.sample.blob[start : start + packed.sample.payload_nbytes]


def pillow_bytes(gray, kind, *, mode="L", **options):
    stream = io.BytesIO()
    Image.fromarray(gray).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def rotated(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


PLAIN = {
    "jpeg": pillow_bytes(picture(70, 50), "JPEG"),
    "progressive": pillow_bytes(picture(70, 50), "JPEG", progressive=True),
    "upright": pillow_bytes(picture(70, 50), "JPEG", exif=rotated(1)),
    "png": pillow_bytes(picture(70, 50), "PNG"),
    "trailer": pillow_bytes(picture(70, 50), "JPEG") + b"trailer",
}
OTHERS = {
    "rgb": pillow_bytes(picture(70, 50), "JPEG", mode="RGB"),
    "turned": pillow_bytes(picture(70, 50), "JPEG", exif=rotated(6)),
    "turned-png": pillow_bytes(picture(70, 50), "PNG", exif=rotated(3)),
    "bilevel": pillow_bytes(picture(70, 50), "PNG", mode="1"),
    "transparent": pillow_bytes(picture(70, 50), "PNG", mode="LA"),
    "palette": pillow_bytes(picture(70, 50), "PNG", mode="P"),
    "deep": pillow_bytes(picture(70, 50).astype(np.uint16) * 257, "PNG", mode="I;16"),
}


def packed_files(folder, files, **recipe):
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return dict(zip(files, pack_job(job(folder, *files, **recipe)), strict=True))


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_at_full_size_what_is_gray_already_is_copied(tmp_path, codec):
    """With a long side of 0, 8-bit gray JPEGs and PNGs keep their bytes and extension, whatever codec was asked."""
    for name, packed in packed_files(tmp_path, PLAIN, codec=codec, long_side=0).items():
        assert stored_bytes(packed) == PLAIN[name], name
        assert packed.sample.extension == ("png" if name == "png" else "jpg")
        assert (packed.height, packed.width, packed.source_height, packed.source_width) == (70, 50, 70, 50)


@pytest.mark.parametrize("codec", ["jpeg", "png", "raw"])
def test_at_full_size_everything_else_is_encoded_by_the_recipe(tmp_path, codec):
    """Colour, other depths, transparency and rotation cannot be copied; they become upright gray of full size."""
    for name, packed in packed_files(tmp_path, OTHERS, codec=codec, long_side=0).items():
        assert packed.sample.extension == EXTENSIONS[codec], name
        expected = read_gray(OTHERS[name])
        stored = decode(memoryview(stored_bytes(packed)))
        assert stored.shape == expected.shape == ((50, 70) if name == "turned" else (70, 50))
        assert np.abs(stored.astype(int) - expected).max() <= (12 if codec == "jpeg" else 0), name


@pytest.mark.parametrize("recipe", [{"codec": "raw"}, {"codec": "png", "stretch": "minmax"}, {"long_side": 500}])
def test_nothing_is_copied_under_other_settings(tmp_path, recipe):
    """Raw arrays, stretched pixels and bounded sides are always made anew."""
    for name, packed in packed_files(tmp_path, PLAIN, **{"long_side": 0, **recipe}).items():
        assert stored_bytes(packed) != PLAIN[name]


def test_a_damaged_file_is_not_copied(tmp_path):
    """A gray file that does not decode is rejected at full size as at any."""
    png = PLAIN["png"]
    cut = {"cut.jpg": PLAIN["jpeg"][:-40], "cut.png": png[:-5], "flipped.png": png[:60] + b"\xff\x01" + png[62:]}
    for name, result in packed_files(tmp_path, cut, long_side=0).items():
        assert isinstance(result, Rejected), name
        assert result.code == "truncated"


def test_an_image_too_wide_for_jpeg_is_rejected_with_the_way_out(tmp_path):
    """A JPEG's side ends at 65,500 pixels; one such image must not end the run."""
    wide = pillow_bytes(np.zeros((2, 65_501), dtype=np.uint8), "PNG", mode="RGB")
    (rejected,) = packed_files(tmp_path, {"wide.png": wide}, long_side=0).values()
    assert rejected.code == "too-large"
    assert "--codec png" in rejected.detail
    (packed,) = packed_files(tmp_path, {"wide.png": wide}, long_side=0, codec="png").values()
    assert packed.width == 65_501


def test_stretching_comes_before_the_resize(tmp_path):
    """Each image's own range at full size becomes 0 to 255; a flat image stays as it is."""
    gray = (picture(640, 480) // 3 + 60).astype(np.uint8)
    files = {"a.png": pillow_bytes(gray, "PNG"), "a.jpg": pillow_bytes(gray, "JPEG", quality=100)}
    files["flat.png"] = pillow_bytes(np.full((640, 480), 77, dtype=np.uint8), "PNG")
    packed = packed_files(tmp_path, files, codec="raw", long_side=64, stretch="minmax")
    stored = {name: decode(memoryview(stored_bytes(result))).astype(float) for name, result in packed.items()}
    whole = (gray.astype(np.float64) - gray.min()) * 255 / (int(gray.max()) - int(gray.min()))
    expected = cv2.resize(whole, (48, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(stored["a.png"] - expected).max() <= 1
    assert np.abs(stored["a.jpg"] - expected).max() <= 6
    assert (stored["flat.png"] == 77).all()


def test_sizes_are_those_of_the_upright_whole_image(tmp_path):
    """A JPEG that is decoded at a half and turned still tells its full sides, and its stored ones fit them."""
    files = {str(turn): pillow_bytes(picture(900, 701), "JPEG", exif=rotated(turn)) for turn in (1, 6)}
    upright, turned = packed_files(tmp_path, files, long_side=200).values()
    assert (upright.source_height, upright.source_width, upright.height, upright.width) == (900, 701, 200, 156)
    assert (turned.source_height, turned.source_width, turned.height, turned.width) == (701, 900, 156, 200)
