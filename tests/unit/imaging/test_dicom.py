"""DICOM: the standard's formulas, computed independently in float64, for every depth, sign, LUT and compression."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import GRAY, RAMP, code_of, dicom, encoded, jpeg_claiming, pillow
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

from cxrfast.errors import ImageRejected
from cxrfast.imaging import read_gray

FILES = Path(pydicom.__file__).parent / "data" / "test_files"


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


# The whole pipeline against the formulas


def formula(stored, *, bits, slope=1.0, intercept=0.0, window=None, function="LINEAR", inverse=False):
    """Return what the standard asks for, pixel by pixel in float64 (PS3.3 C.11.1.1.2, C.11.2.1.2, C.11.2.1.3)."""
    x = stored.astype(np.float64) * slope + intercept
    if window is None:
        low, high = x.min(), x.max()
        y = (x - low) / (high - low) if high > low else x / (2**bits - 1)
    elif function == "SIGMOID":
        y = 1 / (1 + np.exp(np.minimum(-4 * (x - window[0]) / window[1], 700)))
    elif function == "LINEAR_EXACT":
        c, w = window
        y = np.where(x <= c - w / 2, 0, np.where(x > c + w / 2, 1, (x - c) / w + 0.5))
    else:
        c, w = window
        inside = (x - (c - 0.5)) / max(w - 1, 1e-6) + 0.5
        y = np.where(x <= c - 0.5 - (w - 1) / 2, 0, np.where(x > c - 0.5 + (w - 1) / 2, 1, inside))
    return in_bytes(1 - y if inverse else y)


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_pipeline_is_the_standards(data):
    """Any depth, sign, slope, window, function and polarity: within a level of the formulas, nearly always exact."""
    bits = data.draw(st.sampled_from([8, 10, 12, 14, 16]))
    signed = data.draw(st.booleans())
    low = -(2 ** (bits - 1)) if signed else 0
    kind = f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    stored = rng.integers(low, low + 2**bits, (16, 12)).astype(kind)
    slope = data.draw(st.sampled_from([1.0, 0.5, 2.25, -1.0]))
    intercept = data.draw(st.sampled_from([0.0, -1024.0, 17.5]))
    window = data.draw(st.none() | st.tuples(st.integers(-500, 3000), st.integers(1, 5000)))
    function = data.draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    polarity = data.draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"]))
    elements = {"RescaleSlope": slope, "RescaleIntercept": intercept, "PhotometricInterpretation": polarity}
    if window:
        elements |= {"WindowCenter": window[0], "WindowWidth": window[1], "VOILUTFunction": function}
    syntax = data.draw(st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless]))
    read = read_gray(dicom(stored, bits=bits, syntax=syntax, **elements))
    expected = formula(
        stored, bits=bits, slope=slope, intercept=intercept, window=window, function=function,
        inverse=polarity == "MONOCHROME1",
    )  # fmt: skip
    assert np.abs(read - expected).max() <= 1
    assert (read != expected).mean() < 0.02


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


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_padding_is_black_and_takes_no_part_in_the_range(syntax, polarity):
    """The range is that of the image alone, for one padding value or a range of them, signed or not."""
    image = RAMP[:32] + 1000
    expected = in_bytes((image - 1000.0) / (image.max() - 1000.0))
    expected = expected if polarity == "MONOCHROME2" else 255 - expected
    elements = {"syntax": syntax, "PhotometricInterpretation": polarity}
    for kind, low in ((np.uint16, 0), (np.int16, -2000)):
        stored = np.concatenate([np.full((8, 64), low), image, np.full((8, 64), low + 3)]).astype(kind)
        read = read_gray(dicom(stored, PixelPaddingValue=low, PixelPaddingRangeLimit=low + 3, **elements))
        assert np.abs(read[8:40] - expected).max() <= 1
        assert not read[:8].any()
        assert not read[40:].any()
        read = read_gray(dicom(stored[:40], PixelPaddingValue=low, **elements))
        assert np.abs(read[8:] - expected).max() <= 1
    assert not read_gray(dicom(np.full((5, 6), 9, np.uint16), PixelPaddingValue=9)).any()


@pytest.mark.parametrize(
    ("polarity", "shape", "inverse"),
    [
        ("MONOCHROME1", "INVERSE", True), ("MONOCHROME2", "IDENTITY", False), ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", None, True), ("MONOCHROME2", None, False),
    ],
)  # fmt: skip
def test_a_presentation_lut_shape_inverts_once(polarity, shape, inverse):
    """MONOCHROME1 and INVERSE say the same thing, and saying it twice does not undo it."""
    elements = {"PhotometricInterpretation": polarity} | ({"PresentationLUTShape": shape} if shape else {})
    unit = RAMP / 4095
    assert np.array_equal(read_gray(dicom(RAMP, bits=12, **elements)), in_bytes(1 - unit if inverse else unit))


def lut(entries, first, bits, *, vr="OW", signed=False):
    """Return an item of a LUT sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries) % 65536, first, bits])
    packed = np.asarray(entries, dtype=np.uint8 if bits == 8 and vr == "OW" else np.uint16)
    item.add_new("LUTData", vr, packed.tobytes() if vr == "OW" else packed.tolist())
    return item


@pytest.mark.parametrize("vr", ["OW", "US"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("count", "first", "bits"), [(4096, 0, 16), (4096, 0, 8), (300, 500, 12), (65536, 0, 10)])
def test_a_voi_lut_of_any_shape_is_looked_up(count, first, bits, syntax, vr):
    """Values before the first entry take it, those after the last that; entries are of 8 to 16 bits."""
    if vr == "US" and count == 65536:
        count = 32767  # explicit VR has 16 bits for the length of US
    entries = np.linspace(2**bits - 1, 0, count).astype(np.int64)
    read = read_gray(dicom(RAMP, bits=12, syntax=syntax, VOILUTSequence=Sequence([lut(entries, first, bits, vr=vr)])))
    chosen = entries[np.clip(RAMP.astype(int) - first, 0, count - 1)]
    assert np.array_equal(read, in_bytes(chosen / (2**bits - 1)))


@pytest.mark.parametrize("signed", [False, True])
def test_a_lut_may_begin_below_zero(signed):
    """A negative first value is read from a signed element and from one that pretends to be unsigned."""
    entries = np.arange(4096) * 16
    first = -2048 if signed else 2**16 - 2048
    stored = RAMP.astype(np.int16) - 2048
    item = lut(entries, first, 16, signed=signed)
    window = {"WindowCenter": 2**15, "WindowWidth": 2**16}
    expected = read_gray(dicom((RAMP * 16).astype(np.uint16), **window))
    assert np.array_equal(read_gray(dicom(stored, bits=12, ModalityLUTSequence=Sequence([item]), **window)), expected)


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


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"WindowCenter": "nan", "WindowWidth": "100"}, "WindowCenter is nan"),
        ({"WindowCenter": "100", "WindowWidth": "inf"}, "WindowWidth is inf"),
        ({"RescaleSlope": "nan"}, "RescaleSlope is nan"),
        ({"RescaleSlope": "1e308"}, "mean nothing"),
        ({"VOILUTSequence": [([], 0, 8)]}, "0 entries of 8 bits where 4"),
        ({"VOILUTSequence": [([0, 1, 2, 3], 0, 0)]}, "of 0 bits"),
    ],
)
def test_numbers_that_mean_nothing_are_rejected(elements, words):
    """Not finite, too large, or a lookup table without entries: a constant image would look like a radiograph."""
    for name, value in elements.items():
        if isinstance(value, list):
            entries, first, bits = value[0]
            item = Dataset()
            item.add_new(0x00283002, "US", [4, first, bits])
            item.add_new(0x00283006, "OW", np.array(entries, "<u2").tobytes())
            elements = {name: Sequence([item])}
    with pytest.raises(ImageRejected, match=words) as rejected:
        read_gray(dicom(np.arange(100, dtype=np.uint16).reshape(10, 10), **elements))
    assert rejected.value.code == "unsupported"


def test_a_window_of_width_1_is_a_step():
    """Values to center - 0.5, that one too, are black (PS3.3 C.11.2.1.2.1)."""
    stored = np.arange(8, dtype=np.uint16).reshape(2, 4)
    assert read_gray(dicom(stored, WindowCenter="3.5", WindowWidth="1")).ravel().tolist() == [0] * 4 + [255] * 4


def test_twice_the_pixels_are_no_colours():
    """Pixel data of two frames under a header of one is rejected, not taken for an image of two values a pixel."""
    dataset = dcmread(io.BytesIO(dicom(np.arange(100, dtype=np.uint16).reshape(10, 10))))
    dataset.PixelData *= 2
    stream = io.BytesIO()
    dataset.save_as(stream)
    with pytest.raises(ImageRejected, match="400 bytes of pixels where one frame has 200") as rejected:
        read_gray(stream.getvalue())
    assert rejected.value.code == "unsupported"
