"""Stored values to gray: the standard's formulas, computed independently in float64, for every depth, sign and LUT."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import RAMP, dicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from cxrfast.errors import ImageRejected
from cxrfast.imaging import read_gray


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


@pytest.mark.parametrize("width", [0, 0.5, -3, ""])
def test_an_impossible_window_is_passed_over(width):
    """A linear window narrower than 1 is not one; the image's own range serves."""
    read = read_gray(dicom(RAMP, bits=12, WindowCenter=2000, WindowWidth=width))
    assert np.array_equal(read, in_bytes(RAMP / 4095))


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
