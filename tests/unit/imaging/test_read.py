"""Reading images: every mode rightly, every broken file by its name, no valid file refused."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import CODES, GRAY, RAMP, code_of, dicom, encoded, jpeg_claiming, pillow, png_chunk, png_claiming, png_of
from PIL import Image, ImageOps

from cxrfast.errors import ImageRejected
from cxrfast.imaging import read_gray


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_a_png_of_any_mode_is_read_exactly(mode):
    """Gray stored in colours, with transparency, by palette or in 16 bits is the same gray."""
    assert np.abs(read_gray(encoded(pillow(mode), "PNG")).astype(int) - GRAY).max() == 0


def test_a_16_bit_png_is_rescaled_not_clipped():
    """Its 65,536 levels become 256 by rounding."""
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(levels / 65535 * 255).astype(np.uint8)
    assert np.array_equal(read_gray(encoded(Image.fromarray(levels), "PNG")), expected)


# Colour type, channels and depths of every mode that the format has (PNG, third edition, table 8).
PNG_MODES = [
    (colour_type, channels, bits)
    for colour_type, channels, depths in (
        (0, 1, (1, 2, 4, 8, 16)), (2, 3, (8, 16)), (3, 1, (1, 2, 4, 8)), (4, 2, (8, 16)), (6, 4, (8, 16)),
    )
    for bits in depths
]  # fmt: skip


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour_type", "channels", "bits"), PNG_MODES)
def test_a_png_of_any_depth_is_spread_over_all_levels(colour_type, channels, bits, interlaced):
    """All fifteen modes of the format, in plain and Adam7 order: the lowest value is 0, the highest 255."""
    levels = np.rint(GRAY[:33, :50] / 255 * (2**bits - 1)).astype(np.int64)
    samples = np.stack([levels] * channels, axis=2)
    if colour_type in (4, 6):
        samples[..., -1] = np.arange(50) * (2**bits - 1) // 49
    palette = (
        np.repeat(np.rint(np.linspace(0, 255, 2**bits)), 3).astype(np.uint8).tobytes() if colour_type == 3 else b""
    )
    read = read_gray(png_of(samples, bits, colour_type, interlaced=interlaced, palette=palette))
    assert np.array_equal(read, np.rint(levels / (2**bits - 1) * 255))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_of_any_mode_is_read(mode, options):
    """Baseline and progressive, gray, colour and Adobe's inverted inks: within what JPEG loses."""
    read = read_gray(encoded(pillow(mode), "JPEG", quality=95, **options))
    assert np.abs(read.astype(int) - GRAY).mean() < 2


def test_colour_becomes_luma():
    """Red, green and blue weigh 0.299, 0.587 and 0.114 (ITU-R BT.601), in PNG and JPEG alike."""
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 50]], dtype=np.uint8)
    image = Image.fromarray(np.repeat(np.repeat(colours[None], 16, axis=0), 16, axis=1))
    for kind, options in (("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0})):
        row = read_gray(encoded(image, kind, **options))[8, 8::16]
        assert np.abs(row - colours @ [0.299, 0.587, 0.114]).max() <= 2, kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, kind):
    """All eight orientations come out as Pillow turns them, the sides swapped where they must be."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(pillow("L"), kind, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    read = read_gray(data)
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).max() <= 2


def test_a_png_orientation_behind_jpegs_prefix_is_applied():
    """A common wrong writer repeats JPEG's "Exif" in the eXIf chunk; it is turned as Pillow turns it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(pillow("L"), "PNG")
    data = data[:33] + png_chunk(b"eXIf", b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")) + data[33:]
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert upright.shape == GRAY.shape[::-1]
    assert np.array_equal(read_gray(data), upright)


def test_an_animated_png_is_unsupported():
    """Which of its frames is wanted cannot be told."""
    frames = [pillow("L"), pillow("L").rotate(180)]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert b"acTL" in data
    with pytest.raises(ImageRejected, match="unsupported: an animated PNG"):
        read_gray(data)


def test_what_an_image_is_goes_by_its_bytes():
    """Known other formats are unsupported, anything else is no image, nothing is empty."""
    assert code_of(b"") == "empty"
    for kind in ("GIF", "BMP", "TIFF", "WEBP", "JPEG2000"):
        assert code_of(encoded(pillow("L"), kind)) == "unsupported", kind
    for data in (b"<html>404</html>", b"\0" * 500, b"Path,Sex\n", b"\x7fELF", bytes(range(256)) * 3):
        assert code_of(data) == "not-an-image", data[:9]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"restart_marker_rows": 1}), ("PNG", {})],
)
def test_every_cut_of_a_file_is_rejected_or_harmless(kind, options):
    """Cut at every byte, a file is either rejected or still decodes to the whole image; never half gray in silence."""
    data = encoded(pillow("RGB"), kind, **options)
    whole = read_gray(data)
    for cut in range(len(data)):
        code = code_of(data[:cut])
        if code is None:
            assert np.array_equal(read_gray(data[:cut]), whole), cut
        else:
            assert code == ("empty" if cut == 0 else "truncated"), cut


def test_a_thumbnails_end_is_not_the_images_end():
    """A JPEG inside the EXIF segment has an end-of-image marker of its own, which must not hide a cut."""
    thumbnail = encoded(pillow("L").resize((40, 30)), "JPEG")
    data = encoded(pillow("L"), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 8) + b"Exif\0\0" + thumbnail
    data = data[:2] + segment + data[2:]
    assert code_of(data) is None
    assert code_of(data[:-2]) == "truncated"
    assert code_of(data[: len(segment) + 400]) == "truncated"


def test_bytes_after_the_end_do_no_harm():
    """Cameras and archives append; the image is whole."""
    for kind in ("JPEG", "PNG"):
        data = encoded(pillow("L"), kind)
        assert np.array_equal(read_gray(data + b"\0" * 100 + b"\xff\xd8trailer"), read_gray(data))


def test_any_changed_byte_of_a_png_is_noticed():
    """Each chunk's checksum is looked at, so a PNG is never read with a flipped bit."""
    data = bytearray(encoded(pillow("L"), "PNG"))
    for at in range(8, len(data), 7):
        data[at] ^= 0x10
        assert code_of(bytes(data)) in {"truncated", "not-an-image", "too-large"}, at
        data[at] ^= 0x10


def test_a_png_whose_pixels_end_early_is_truncated():
    """Whole chunks around half a picture do not make it whole."""
    assert code_of(png_claiming(84, 60, np.zeros((30, 85), dtype=np.uint8).tobytes())) == "truncated"


def test_the_limit_is_inclusive_and_can_be_moved():
    """An image of exactly the limit is read; one pixel less of limit rejects it, naming both numbers."""
    for data in (encoded(pillow("L"), "PNG"), encoded(pillow("L"), "JPEG"), dicom(GRAY)):
        assert read_gray(data, max_pixels=60 * 84).shape == (60, 84)
        with pytest.raises(ImageRejected, match="84 x 60 pixels, over the limit of 5039"):
            read_gray(data, max_pixels=60 * 84 - 1)


def test_a_very_wide_image_is_read():
    """100,000 pixels are no reason, if the whole is within the limit."""
    wide = np.tile(np.arange(250, dtype=np.uint8), (3, 400))
    assert np.array_equal(read_gray(encoded(Image.fromarray(wide), "PNG")), wide)


def test_a_frame_without_pixels_is_no_image():
    """A side of 0 pixels is said to be one."""
    assert code_of(png_claiming(0, 10)) == "not-an-image"
    assert code_of(jpeg_claiming(10, 0)) == "not-an-image"


def test_rare_jpegs_are_named_as_unsupported():
    """12 bits, lossless, arithmetic coding and four plain inks are not guessed at."""
    data = encoded(pillow("L"), "JPEG")
    at = data.index(b"\xff\xc0")
    assert code_of(data[: at + 4] + b"\x0c" + data[at + 5 :]) == "unsupported"
    for frame in (b"\xff\xc3", b"\xff\xc9", b"\xff\xca"):
        assert code_of(data[:at] + frame + data[at + 2 :]) == "unsupported"
    inks = encoded(pillow("CMYK"), "JPEG")
    start = inks.index(b"\xff\xee")
    assert (
        code_of(inks[:start] + inks[start + 2 + int.from_bytes(inks[start + 2 : start + 4], "big") :]) == "unsupported"
    )


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(["JPEG", "PNG", "DICOM"]), at=st.floats(0, 1), changed=st.binary(min_size=1, max_size=6))
def test_a_damaged_file_is_read_or_rejected_and_nothing_else(kind, at, changed):
    """Whatever stands in a file, no other error comes out, so no file can stop a packing run."""
    data = SAMPLES[kind]
    start = int(at * len(data))
    assert code_of(data[:start] + changed + data[start + len(changed) :]) in {None, *CODES}


SAMPLES = {
    "JPEG": encoded(pillow("RGB"), "JPEG"),
    "PNG": encoded(pillow("L"), "PNG"),
    "DICOM": dicom(RAMP, bits=12, WindowCenter=2000, WindowWidth=1000, RescaleSlope=2, RescaleIntercept=1),
}


# Real radiographs


def test_no_real_radiograph_is_rejected(real_data):
    """All 6,075 Kermany files (the 235 originals with 22 progressive ones) and all ChestX-ray14 files are valid."""
    paths = [*real_data.glob("kermany_*/**/*.jpeg"), *real_data.glob("nih_*/**/*.png")]
    assert len(paths) >= 7000
    rejected = {path.name: code for path in paths if (code := code_of(path.read_bytes()))}
    assert not rejected


def test_real_files_cut_anywhere_are_rejected(real_data):
    """Real JPEGs (baseline, progressive), PNGs and DICOMs, cut at 60 places and near their ends."""
    paths = [
        *sorted(real_data.glob("kermany_orig/**/*.jpeg"), key=lambda path: path.stat().st_size)[:3],
        real_data / "nih_512/00000001_000.png",
        *real_data.glob("dicom/*.dcm"),
    ]
    for path in paths:
        data = path.read_bytes()
        whole = read_gray(data)
        cuts = {*np.linspace(0, len(data) - 1, 60).astype(int).tolist(), *range(len(data) - 12, len(data))}
        for cut in cuts:
            if code_of(data[:cut]) is None:
                assert np.array_equal(read_gray(data[:cut]), whole), (path.name, cut)


def test_the_real_dicom_reads_the_same_from_both_compressions(real_data):
    """Uncompressed and lossy JPEG 2000 of one chest differ by a level; MONOCHROME1 makes the lungs darker than bone."""
    plain, packed = (read_gray((real_data / f"dicom/RG1_{kind}.dcm").read_bytes()) for kind in ("UNCR", "J2KI"))
    assert plain.shape == (1955, 1841)
    assert np.abs(plain.astype(int) - packed).mean() < 1
    lung, spine = plain[500:700, 350:550], plain[500:700, 880:960]
    assert lung.mean() + 30 < spine.mean()
