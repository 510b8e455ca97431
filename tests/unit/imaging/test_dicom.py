"""DICOM files: every compression and layout gives the same values, and what cannot be read says why."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pictures import GRAY, RAMP, code_of, dicom, encoded, jpeg_claiming, pillow
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

from cxrfast.errors import ImageRejected
from cxrfast.imaging import read_gray

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def test_a_colour_dicom_becomes_luma():
    """Secondary captures come in RGB."""
    assert np.abs(read_gray(dicom(np.stack([GRAY] * 3, axis=2))).astype(int) - GRAY).max() == 0


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


def test_a_missing_decoder_is_named_with_the_package_to_install(tmp_path):
    """In an interpreter where pylibjpeg cannot be imported, what needs it is unsupported, not truncated."""
    (tmp_path / "a.dcm").write_bytes(lossless_jpeg_dicom(RAMP, 12))
    code = (
        "import sys; sys.modules['pylibjpeg'] = None; from pathlib import Path; from cxrfast.imaging import read_gray\n"
        "try: read_gray(Path(sys.argv[1]).read_bytes())\nexcept Exception as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.dcm")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unsupported:")
    assert "pip install pylibjpeg" in done.stdout


def test_a_compressed_frame_larger_than_its_header_says_is_rejected():
    """A bomb may hide in the codestream behind a modest Rows and Columns."""
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


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_lossless_compression_changes_nothing(bits, signed, syntax):
    """Every depth and sign reads as its uncompressed twin."""
    low = -(2 ** (bits - 1)) if signed else 0
    stored = (RAMP.astype(np.int64) * (2**bits - 1) // 4095 + low).astype(f"{'i' if signed else 'u'}{1 + (bits > 8)}")
    plain = dicom(stored, bits=bits, WindowCenter=low + 2 ** (bits - 1), WindowWidth=2 ** (bits - 1))
    assert np.array_equal(read_gray(recompressed(plain, syntax)), read_gray(plain))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("predictor", [1, 4, 7])
def test_lossless_jpeg_changes_nothing(predictor, bits):
    """Process 14 with any predictor; its selection value 1 is what most archives hold."""
    stored = (RAMP.astype(np.int64) * (2**bits - 1) // 4095).astype("u1" if bits == 8 else "u2")
    data = lossless_jpeg_dicom(stored, bits, predictor=predictor)
    assert np.array_equal(read_gray(data), read_gray(dicom(stored, bits=bits)))


def test_lossy_compression_stays_close():
    """Baseline JPEG and lossy JPEG 2000 of one picture are near it."""
    window = {"WindowCenter": 128, "WindowWidth": 256}
    frame = encapsulate([encoded(pillow("L"), "JPEG", quality=95)])
    read = read_gray(dicom(GRAY, syntax=JPEGBaseline8Bit, pixel_data=frame, **window))
    assert np.abs(read.astype(int) - GRAY).mean() < 2
    read = read_gray(recompressed(dicom(GRAY, **window), JPEG2000, j2k_psnr=[45]))
    assert 0 < np.abs(read.astype(int) - GRAY).mean() < 2


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("MR_small_jpeg_ls_lossless", "MR_small"), ("MR_small_jp2klossless", "MR_small"), ("MR_small_RLE", "MR_small"),
        ("MR_small_bigendian", "MR_small"), ("MR_small_implicit", "MR_small"), ("MR_small_padded", "MR_small"),
        ("SC_rgb_jpeg_gdcm", "SC_rgb_rle"), ("SC_rgb_small_odd_big_endian", "SC_rgb_small_odd"),
    ],
)  # fmt: skip
def test_other_writers_files_read_as_their_twins(name, twin):
    """Files of pydicom's own collection, written by dcmtk, gdcm and scanners: JPEG-LS, lossless JPEG, big endian."""
    one, other = (read_gray((FILES / f"{stem}.dcm").read_bytes()) for stem in (name, twin))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("name", ["JPEGLSNearLossless_08", "JPEGLSNearLossless_16", "JPGExtended", "JPEG2000"])
def test_rare_compressions_are_read(name):
    """Near-lossless JPEG-LS, 12-bit JPEG: a picture comes out, not a rejection."""
    read = read_gray((FILES / f"{name}.dcm").read_bytes())
    assert np.ptp(read) > 100


def test_bits_beside_a_value_do_not_count():
    """Whatever fills a cell's other bits, an old overlay or noise, and wherever the high bit is, the value is read."""
    noise = np.random.default_rng(0).integers(0, 16, RAMP.shape).astype(np.uint16)
    plain = read_gray(dicom(RAMP, bits=12))
    assert np.array_equal(read_gray(dicom(RAMP | noise << 12, bits=12)), plain)
    assert np.array_equal(read_gray(dicom(RAMP << 4 | noise, bits=12, HighBit=15)), plain)
    assert np.array_equal(read_gray(dicom(RAMP << 2 | noise % 4 | noise >> 2 << 14, bits=12, HighBit=13)), plain)
    assert np.array_equal(read_gray(dicom(RAMP, bits=12, HighBit=0)), plain)
    signed = RAMP.astype(np.int16) - 2048
    assert np.array_equal(read_gray(dicom((signed & 0xFFF).astype(np.int16), bits=12)), plain)
    assert np.array_equal(read_gray(dicom(signed << 4, bits=12, HighBit=15)), plain)


def colours():
    """Return a picture in colours: uint8 (h, w, 3)."""
    return np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=2)


def test_colours_of_every_layout_become_luma():
    """RGB by pixel and by plane, YBR_FULL and YBR_FULL_422, uncompressed and RLE: 0.299 R + 0.587 G + 0.114 B."""
    rgb = colours()
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    by_plane = np.ascontiguousarray(rgb.transpose(2, 0, 1)).tobytes()
    ybr = np.stack([np.rint(luma), np.full(luma.shape, 128), np.full(luma.shape, 90)], axis=2).astype(np.uint8)
    half = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=2).tobytes()
    files = {
        "pixel": dicom(rgb),
        "plane": dicom(rgb, PlanarConfiguration=1, pixel_data=by_plane),
        "rle": dicom(rgb, syntax=RLELossless),
        "ybr": dicom(ybr, PhotometricInterpretation="YBR_FULL"),
        "422": dicom(ybr, PhotometricInterpretation="YBR_FULL_422", pixel_data=half),
        "j2k": recompressed(dicom(rgb), JPEG2000Lossless),
    }
    for name, data in files.items():
        assert np.abs(read_gray(data) - luma).max() <= 1, name


def test_colours_of_16_bits_are_unsupported_by_name():
    """They are rejected before anything is decoded."""
    assert code_of(dicom(colours().astype(np.uint16))) == "unsupported"


def test_a_codestream_of_other_components_is_rejected():
    """A header of one value a pixel over a codestream of three, or of thousands, is not believed."""
    data = encapsulate([encoded(pillow("RGB"), "JPEG")])
    assert code_of(dicom(GRAY, syntax=JPEGBaseline8Bit, pixel_data=data)) == "unsupported"
    siz = struct.pack(">HH8IH", 41, 0, 84, 60, 0, 0, 84, 60, 0, 0, 16000)
    for boxes in (b"", b"\0\0\0\x0cjP  \r\n\x87\n"):
        frame = boxes + b"\xff\x4f\xff\x51" + siz + bytes(40)
        assert code_of(dicom(GRAY, syntax=JPEG2000, pixel_data=encapsulate([frame]))) == "unsupported"


def recompressed(data, syntax, **options):
    """Return the bytes of a DICOM file with its pixels compressed."""
    dataset = dcmread(io.BytesIO(data))
    dataset.compress(syntax, generate_instance_uid=False, **options)
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def lossless_jpeg_dicom(stored, bits, *, predictor=1):
    """Return a DICOM of a lossless JPEG (ITU-T T.81 annex H) of unsigned (h, w); each category's code has 5 bits."""
    left, above = np.roll(stored, 1, axis=1).astype(int), np.roll(stored, 1, axis=0).astype(int)
    corner = np.roll(stored, (1, 1), axis=(0, 1)).astype(int)
    predicted = {1: left, 4: left + above - corner, 7: (left + above) >> 1}[predictor]
    predicted[0], predicted[:, 0], predicted[0, 0] = left[0], above[:, 0], 2 ** (bits - 1)
    differences = (stored.astype(int) - predicted + 2**15) % 2**16 - 2**15
    text = []
    for value in differences.ravel().tolist():
        size = 16 if value == -(2**15) else abs(value).bit_length()
        rest = value if value > 0 else value + 2**size - 1
        text.append(f"{size:05b}" + (f"{rest:0{size}b}" if 0 < size < 16 else ""))
    joined = "".join(text)
    joined += "1" * (-len(joined) % 8)
    scan = int(joined, 2).to_bytes(len(joined) // 8, "big").replace(b"\xff", b"\xff\0")
    height, width = stored.shape
    frame = (
        b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB3B", 11, bits, height, width, 1, 1, 0x11, 0)
        + b"\xff\xc4" + struct.pack(">HB16B", 36, 0, 0, 0, 0, 0, 17, *[0] * 11) + bytes(range(17))
        + b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, predictor, 0, 0) + scan + b"\xff\xd9"
    )  # fmt: skip
    syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    return dicom(stored, bits=bits, syntax=syntax, pixel_data=encapsulate([frame]))


def test_twice_the_pixels_are_no_colours():
    """Pixel data of two frames under a header of one is rejected, not taken for an image of two values a pixel."""
    dataset = dcmread(io.BytesIO(dicom(np.arange(100, dtype=np.uint16).reshape(10, 10))))
    dataset.PixelData *= 2
    stream = io.BytesIO()
    dataset.save_as(stream)
    with pytest.raises(ImageRejected, match="400 bytes of pixels where one frame has 200") as rejected:
        read_gray(stream.getvalue())
    assert rejected.value.code == "unsupported"


def test_an_offset_table_cannot_point_past_the_size_limit():
    """The frame that is judged is decoded, not a larger one that an extended offset table names."""
    small, large = (encoded(Image.new("L", size, 90), "JPEG") for size in ((84, 60), (3000, 3000)))
    content = dicom(GRAY, syntax=JPEGBaseline8Bit, pixel_data=encapsulate([small, large], has_bot=False))
    dataset = dcmread(io.BytesIO(content))
    at = 8 + len(small) + len(small) % 2
    dataset.ExtendedOffsetTable = struct.pack("<Q", at)
    dataset.ExtendedOffsetTableLengths = struct.pack("<Q", len(large))
    stream = io.BytesIO()
    dataset.save_as(stream)
    assert read_gray(stream.getvalue(), max_pixels=84 * 60).shape == (60, 84)
    two = dicom(GRAY, syntax=JPEGBaseline8Bit, pixel_data=encapsulate([small, small]))
    assert code_of(two) == "unsupported"
