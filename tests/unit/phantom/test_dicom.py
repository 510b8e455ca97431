"""DICOM files of each kind hold the picture, say how it is stored, and are the same bytes each time."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from cxrfast.imaging import read_gray
from cxrfast.phantom.dice import Dice
from cxrfast.phantom.dicom import Storing, encode, uid

GRAY = np.linspace(0, 255, 70 * 90).reshape(70, 90).astype(np.uint8)
KINDS = [
    Storing(bits, inverted, window, rescale, jpeg2000)
    for bits, inverted, window, rescale, jpeg2000 in itertools.product(
        (12, 16), (False, True), (False, True), (None, (2.0, -1024.0)), (False, True)
    )
]


@pytest.mark.parametrize("storing", KINDS, ids=str)
def test_every_kind_shows_the_picture(storing):
    """Whatever the storing, our reader gives the drawing back within a level; the header tells the storing."""
    data = encode(GRAY, storing, Dice.of("x"), {"PatientID": "a"})
    header = dcmread(BytesIO(data))
    assert np.abs(read_gray(data).astype(int) - GRAY).max() <= 1
    assert header.PhotometricInterpretation == ("MONOCHROME1" if storing.inverted else "MONOCHROME2")
    assert (header.BitsAllocated, header.BitsStored) == (16, storing.bits)
    assert ("WindowCenter" in header) == storing.window
    assert ("RescaleSlope" in header) == (storing.rescale is not None)
    syntax = JPEG2000Lossless if storing.jpeg2000 else ExplicitVRLittleEndian
    assert header.file_meta.TransferSyntaxUID == syntax
    assert len(np.unique(header.pixel_array)) > 1000  # not 256 levels spread out


@pytest.mark.parametrize("charset", ["ISO_IR 144", "ISO_IR 192"])
def test_cyrillic_survives_both_ways_to_write_it(charset):
    """A patient's id in Cyrillic, with spaces, is read back as it was."""
    tags = {"SpecificCharacterSet": charset, "PatientID": "Ёлкин Щ Ы 1950"}
    assert dcmread(BytesIO(encode(GRAY, Storing(), Dice.of("x"), tags))).PatientID == "Ёлкин Щ Ы 1950"


def test_threads_and_repetition_change_no_byte():
    """Many threads encode JPEG 2000 at once, which its library does not bear by itself: the same bytes each."""
    storing = Storing(jpeg2000=True)
    with ThreadPoolExecutor(4) as pool:
        files = set(pool.map(lambda _: encode(GRAY, storing, Dice.of("x"), {}), range(24)))
    assert len(files) == 1


def test_identifiers_hang_on_the_dice_alone():
    """A UID is one of the standard's form, at most 64 characters, and another for other dice."""
    assert uid(Dice.of("x")) == uid(Dice.of("x")) != uid(Dice.of("y"))
    assert all(len(uid(Dice.of(number))) <= 64 for number in range(50))
