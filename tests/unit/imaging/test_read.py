"""Reading images: every mode rightly, every broken file by its name, no valid file refused."""

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from cxrfast.errors import ImageRejected
from cxrfast.imaging import read_gray, shrink

CODES = {"missing", "empty", "truncated", "not-an-image", "unsupported", "too-large"}


def scene(height=60, width=84):
    """Return a smooth picture without symmetry: uint8 (h, w)."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    ramp = np.linspace(0, 120, width, dtype=np.float32)[None] + np.linspace(0, 60, height, dtype=np.float32)[:, None]
    return np.clip(smooth.astype(np.float32) - 90 + ramp, 0, 255).astype(np.uint8)


GRAY = scene()


def encoded(image, kind, **options):
    """Return a Pillow image as bytes of a file of that kind."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pillow(mode):
    """Return the scene in one of Pillow's modes."""
    gray = Image.fromarray(GRAY)
    if mode == "I;16":
        return Image.fromarray(GRAY.astype(np.uint16) * 257)
    if mode == "RGBA":
        alpha = Image.fromarray(np.tile(np.arange(84, dtype=np.uint8) * 3, (60, 1)))
        return Image.merge("RGBA", (gray, gray, gray, alpha))
    if mode == "P":
        return gray.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    if mode == "CMYK":
        return gray.convert("RGB").convert("CMYK")
    return gray.convert(mode)


def code_of(data, **options):
    """Return the code with which the bytes are rejected, or None where they are read."""
    try:
        read_gray(data, **options)
    except ImageRejected as error:
        rejected = error
    else:
        return None
    assert rejected.code in CODES
    assert str(rejected).startswith(rejected.code)
    return rejected.code


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_a_png_of_any_mode_is_read_exactly(mode):
    """Gray stored in colours, with transparency, by palette or in 16 bits is the same gray."""
    assert np.abs(read_gray(encoded(pillow(mode), "PNG")).astype(int) - GRAY).max() == 0


def test_a_16_bit_png_is_rescaled_not_clipped():
    """Its 65,536 levels become 256 by rounding."""
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.rint(levels / 65535 * 255).astype(np.uint8)
    assert np.array_equal(read_gray(encoded(Image.fromarray(levels), "PNG")), expected)


def test_a_bilevel_and_an_interlaced_png_are_read():
    """One bit becomes 0 and 255, and Adam7 order is undone."""
    bits = np.where(GRAY > 100, 255, 0)
    assert np.array_equal(read_gray(encoded(Image.fromarray(GRAY > 100), "PNG")), bits)
    assert np.array_equal(read_gray(cv2.imencode(".png", GRAY, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()), GRAY)


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


def png_claiming(width, height, pixels=b"\0"):
    """Return a well-formed gray PNG whose header claims a size."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def jpeg_claiming(width, height, **options):
    """Return a JPEG whose frame header claims a size."""
    data = encoded(pillow("L"), "JPEG", **options)
    at = data.index(b"\xff\xc2" if options else b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


@pytest.mark.parametrize(
    "data",
    [
        png_claiming(100_000, 100_000),
        png_claiming(2**31 - 1, 2**31 - 1),
        jpeg_claiming(65_000, 65_000),
        jpeg_claiming(65_000, 65_000, progressive=True),
    ],
)
def test_a_decompression_bomb_costs_no_memory(data):
    """The size is judged from the header: under 1 MB is ever asked for."""
    tracemalloc.start()
    assert code_of(data) == "too-large"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


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
    """12 bits, lossless and four plain inks are not guessed at."""
    data = encoded(pillow("L"), "JPEG")
    at = data.index(b"\xff\xc0")
    assert code_of(data[: at + 4] + b"\x0c" + data[at + 5 :]) == "unsupported"
    assert code_of(data[:at] + b"\xff\xc3" + data[at + 2 :]) == "unsupported"
    inks = encoded(pillow("CMYK"), "JPEG")
    start = inks.index(b"\xff\xee")
    assert (
        code_of(inks[:start] + inks[start + 2 + int.from_bytes(inks[start + 2 : start + 4], "big") :]) == "unsupported"
    )


# DICOM


def dicom(pixels, *, bits=None, syntax=ExplicitVRLittleEndian, pixel_data=None, **elements):
    """Return the bytes of a small DICOM file of these stored values (h, w)."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = DigitalXRayImageStorageForPresentation
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    data.BitsAllocated = pixels.dtype.itemsize * 8
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes() if pixel_data is None else pixel_data
    data["PixelData"].VR = "OW"
    if syntax.is_encapsulated:
        data["PixelData"].is_undefined_length = True
    for name, value in elements.items():
        setattr(data, name, value)
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


RAMP = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)


def in_bytes(unit):
    """Return values of 0 to 1 as 0 to 255, clipped."""
    return np.rint(np.clip(unit, 0, 1) * 255)


def test_a_dicom_without_a_window_uses_its_own_range():
    """12 bits in 16 become 0 to 255 between the image's ends."""
    assert np.array_equal(read_gray(dicom(RAMP + 100, bits=16)), in_bytes(RAMP / 4095))


def test_monochrome1_is_inverted():
    """Low stored values of MONOCHROME1 are white."""
    read = read_gray(dicom(RAMP, bits=12, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(read, in_bytes(1 - RAMP / 4095))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (None, lambda x: (x - 1999.5) / 999 + 0.5),
        ("LINEAR", lambda x: (x - 1999.5) / 999 + 0.5),
        ("LINEAR_EXACT", lambda x: (x - 2000) / 1000 + 0.5),
        ("SIGMOID", lambda x: 1 / (1 + np.exp(-4 * (x - 2000) / 1000))),
    ],
)
def test_the_window_is_the_standards(function, expected):
    """The three functions of PS3.3 C.11.2.1, after the modality's slope and intercept; the first window counts."""
    elements = {"WindowCenter": [2000, 50], "WindowWidth": [1000, 5], "RescaleSlope": 2, "RescaleIntercept": -1000}
    if function:
        elements["VOILUTFunction"] = function
    read = read_gray(dicom(RAMP, bits=12, **elements))
    assert np.array_equal(read, in_bytes(expected(RAMP.astype(np.float64) * 2 - 1000)))


def test_signed_values_are_read():
    """Negative stored values lie below zero, not above 32,767."""
    read = read_gray(dicom(RAMP.astype(np.int16) - 2048, bits=12))
    assert np.array_equal(read, in_bytes(RAMP / 4095))


def test_luts_are_applied():
    """A modality LUT, then a VOI LUT, each by the standard's descriptor (entries, first value, bits)."""
    voi = Dataset()
    voi.LUTDescriptor = [4096, 0, 10]
    voi.LUTData = (1023 - np.arange(4096) // 4).astype(np.uint16).tobytes()
    voi["LUTData"].VR = "OW"
    read = read_gray(dicom(RAMP, bits=12, VOILUTSequence=Sequence([voi]), WindowCenter=1, WindowWidth=2))
    assert np.array_equal(read, in_bytes((1023 - RAMP // 4) / 1023))
    modality = Dataset()
    modality.LUTDescriptor = [4096, 0, 16]
    modality.LUTData = (np.arange(4096) * 16).astype(np.uint16).tobytes()
    modality["LUTData"].VR = "OW"
    modality.ModalityLUTType = "US"
    elements = {"ModalityLUTSequence": Sequence([modality]), "WindowCenter": 30000, "WindowWidth": 20000}
    read = read_gray(dicom(RAMP, bits=12, **elements))
    assert np.array_equal(read, in_bytes((RAMP * 16.0 - 29999.5) / 19999 + 0.5))


@pytest.mark.parametrize("value", [0, 700, 4095])
def test_a_flat_dicom_stays_flat(value):
    """No range means no division by zero, and one gray level."""
    read = read_gray(dicom(np.full((20, 30), value, dtype=np.uint16), bits=12))
    assert np.array_equal(read, np.full((20, 30), round(value / 4095 * 255)))


def test_a_colour_dicom_becomes_luma():
    """Secondary captures come in RGB."""
    assert np.abs(read_gray(dicom(np.stack([GRAY] * 3, axis=2))).astype(int) - GRAY).max() == 0


@pytest.mark.parametrize("width", [0, 0.5, -3, ""])
def test_an_impossible_window_is_passed_over(width):
    """A linear window narrower than 1 is not one; the image's own range serves."""
    read = read_gray(dicom(RAMP, bits=12, WindowCenter=2000, WindowWidth=width))
    assert np.array_equal(read, in_bytes(RAMP / 4095))


def test_dicoms_that_cannot_be_read_say_why():
    """Frames, palettes, deflation, missing decoders and reports are told apart."""
    stored = np.zeros((4, 4), dtype=np.uint16)
    assert code_of(dicom(stored, NumberOfFrames=3, pixel_data=bytes(96))) == "unsupported"
    assert code_of(dicom(stored.astype(np.uint8), PhotometricInterpretation="PALETTE COLOR")) == "unsupported"
    assert code_of(dicom(stored, syntax=DeflatedExplicitVRLittleEndian)) == "unsupported"
    assert code_of(dicom(stored.astype(np.uint32))) == "unsupported"
    assert code_of(dicom(stored, pixel_data=bytes(30))) == "truncated"
    assert code_of(dicom(stored, Rows=0, pixel_data=b"")) == "not-an-image"
    assert code_of(dicom(stored, Rows=60_000, Columns=60_000)) == "too-large"


def test_a_missing_decoder_is_named_with_the_package_to_install():
    """Lossless JPEG needs a package that is no dependency."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    if get_decoder(JPEGLosslessSV1).is_available:
        pytest.skip("a decoder for lossless JPEG is installed here")
    frame = encoded(pillow("L"), "JPEG")
    data = dicom(GRAY, syntax=JPEGLosslessSV1, pixel_data=encapsulate([frame]))
    with pytest.raises(ImageRejected, match="pip install pylibjpeg") as rejected:
        read_gray(data)
    assert rejected.value.code == "unsupported"


def test_a_compressed_frame_larger_than_its_header_says_is_rejected():
    """A bomb may hide in the codestream behind a modest Rows and Columns."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000, JPEGBaseline8Bit

    bomb = dicom(GRAY, syntax=JPEGBaseline8Bit, pixel_data=encapsulate([jpeg_claiming(65_000, 65_000)]))
    assert code_of(bomb) == "too-large"
    header = b"\xff\x4f\xff\x51" + struct.pack(">HH8I", 41, 0, 90_000, 90_000, 0, 0, 90_000, 90_000, 0, 0)
    assert code_of(dicom(GRAY, syntax=JPEG2000, pixel_data=encapsulate([header + bytes(40)]))) == "too-large"


def test_every_cut_of_a_dicom_is_rejected_or_harmless():
    """As for JPEG and PNG; only the loss of padding may pass."""
    data = dicom(GRAY[:24, :24].copy(), WindowCenter=128, WindowWidth=256)
    whole = read_gray(data)
    for cut in range(len(data)):
        if code_of(data[:cut]) is None:
            assert np.array_equal(read_gray(data[:cut]), whole), cut


def test_a_dicom_without_preamble_is_read():
    """Old archives keep the data set alone."""
    data = dicom(GRAY)
    assert np.array_equal(read_gray(data[132:]), read_gray(data))


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


# Shrinking


def test_shrinking_keeps_the_aspect_and_never_enlarges():
    """For sides 1 to 70 by several limits: the longer side is the limit, the other within half a pixel, at least 1."""
    for height in range(1, 70, 4):
        for width in range(1, 70, 3):
            for limit in (1, 7, 32, 64):
                result = shrink(np.zeros((height, width), dtype=np.uint8), limit).shape
                longer = max(height, width)
                if longer <= limit:
                    assert result == (height, width)
                    continue
                assert max(result) == limit
                for side, new in zip((height, width), result, strict=True):
                    assert new == 1 or abs(new - side * limit / longer) <= 0.5


def test_shrinking_takes_area_means():
    """A quarter of the size is the mean of 4 x 4 blocks, rounded; a flat image stays flat."""
    means = scene(64, 64).reshape(16, 4, 16, 4).mean(axis=(1, 3))
    assert np.abs(shrink(scene(64, 64), 16) - means).max() <= 0.5
    assert (shrink(np.full((300, 201), 77, dtype=np.uint8), 130) == 77).all()


def test_zero_leaves_an_image_as_it_is():
    """No limit, no change."""
    assert shrink(GRAY, 0) is GRAY
