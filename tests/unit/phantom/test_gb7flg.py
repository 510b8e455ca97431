"""The phantom GB7-FLG is DICOM without extension, in two folders that repeat names, with Cyrillic where it hurts."""

import pytest
from phantom_checks import drawn_findings
from pydicom import dcmread

from cxrfast.phantom import gb7flg

NORMAL, ILL = gb7flg.FOLDERS.values()


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return gb7flg.write_release(tmp_path_factory.mktemp("phantom"), images=24, seed=1)


@pytest.fixture(scope="module")
def headers(release):
    return {path.relative_to(release).as_posix(): dcmread(path) for path in release.rglob("IM_*")}


def test_names_repeat_and_have_gaps(headers):
    """24 files without extension; names of one folder occur in the other, and in its second study; some are missing."""
    names = {folder: {path.split("/")[-1] for path in headers if path.startswith(folder)} for folder in (NORMAL, ILL)}
    assert len(headers) == 24
    assert names[ILL] <= names[NORMAL]
    assert "IM_00007" not in names[NORMAL]
    assert "IM_00008" in names[NORMAL]
    assert {f"{ILL}/Undef/IM_00001", f"{ILL}/Исследование 2/IM_00001"} <= set(headers)


def test_pixels_are_inverted_twelve_bits_with_a_window(headers):
    """MONOCHROME1, 12 bits in 16, a window that covers them, what is dense at low values."""
    for header in headers.values():
        assert header.PhotometricInterpretation == "MONOCHROME1"
        assert (header.BitsAllocated, header.BitsStored, header.HighBit) == (16, 12, 11)
        assert (header.WindowCenter, header.WindowWidth) == (2048, 4096)
        pixels = header.pixel_array
        height, width = pixels.shape
        assert pixels[height // 3 : height // 2, 12 * width // 25 : 13 * width // 25].mean() < 1500  # the spine


def test_patients_are_named_in_cyrillic_with_spaces(headers):
    """Ids have Cyrillic and spaces, in both character sets; some patient has two images; none is in both folders."""
    patients = {path: header.PatientID for path, header in headers.items()}
    assert all(" " in patient and not patient.isascii() for patient in patients.values())
    assert {header.SpecificCharacterSet for header in headers.values()} == {"ISO_IR 144", "ISO_IR 192"}
    folders = [{patient for path, patient in patients.items() if path.startswith(folder)} for folder in (NORMAL, ILL)]
    assert not folders[0] & folders[1]
    assert len(folders[0] | folders[1]) < 24
    assert {header.PatientSex for header in headers.values()} == {"F", "M"}
    assert len({header.SOPInstanceUID for header in headers.values()}) == 24


def test_what_is_drawn_follows_the_folder(monkeypatch, tmp_path):
    """A pneumonia for every image of the one folder and for none of the other, 28 of 127."""
    drawn = drawn_findings(monkeypatch, gb7flg, tmp_path, 127)
    assert all(("Pneumonia" in findings) == path.startswith(ILL) for path, findings in drawn.items())
    assert sum(path.startswith(ILL) for path in drawn) == 28
