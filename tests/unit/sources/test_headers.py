"""What headers tell, and that no damage in one of them stops a scan."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian
from small_dicom import dicom_bytes, write

from cxrfast.errors import SourceError
from cxrfast.sources.headers import Header, kind, pseudonym, read_headers

ELEMENTS = {
    "PatientID": "77-Иванов", "StudyInstanceUID": "1.2.3.4", "PatientSex": "F", "PatientAge": "045Y",
    "ViewPosition": "PA",
}  # fmt: skip
HEADER = Header("77-Иванов", "1.2.3.4", "F", 45.0, "PA")


def read(tmp_path, content):
    write(tmp_path / "one", content)
    (header,) = read_headers(tmp_path, ["one"])
    return header


def with_elements(tmp_path, **elements):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, on values that releases have and the standard has not
        return read(tmp_path, dicom_bytes(**elements))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (dicom_bytes(), "dicom"),
        (dicom_bytes()[132:], "dicom"),
        (b"\x89PNG\r\n\x1a\n\0", "png"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (bytes(128) + b"DICM" + b"\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10", None),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None),
        (b"Patients 1 to 99 are normal", None),
        (b"", None),
    ],
)
def test_a_file_is_known_by_its_first_bytes(tmp_path, content, expected):
    """With or without a preamble; a DICOMDIR is DICOM and no image; an absent file is nothing."""
    assert kind(write(tmp_path / "IM_00001", content)) == expected
    assert kind(tmp_path / "absent") is None


def test_all_fields_are_read_in_any_form(tmp_path):
    """With a preamble or without, before pixels that are cut off, Cyrillic and all."""
    content = dicom_bytes(**ELEMENTS)
    for form in (content, content[132:], content[:-100]):
        assert read(tmp_path, form) == HEADER


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("045Y", 45), ("45", 45), ("013M", 13 / 12), ("006W", 6 * 7 / 365.25), ("010D", 10 / 365.25), ("120Y", 120),
        ("000Y", None), ("0200Y", None), ("121Y", None), ("Y", None), ("", None), ("-01Y", None), ("old", None),
    ],
)  # fmt: skip
def test_ages_are_years(tmp_path, text, age):
    """Of all four units; nobody is 0 or 200 years old, which anonymisers write."""
    found = with_elements(tmp_path, PatientAge=text).age
    assert found is None if age is None else found == pytest.approx(age)


@pytest.mark.parametrize(("text", "sex"), [("M", "M"), ("female", "F"), ("O", None), ("", None), ("M\\F", "M")])
def test_sex_is_f_or_m(tmp_path, text, sex):
    """Or missing; of several values the first counts."""
    assert with_elements(tmp_path, PatientSex=text).sex == sex


@pytest.mark.parametrize(("text", "view"), [("LL", "LL"), ("pa ", "PA"), ("", None)])
def test_view_positions_are_upper_case(tmp_path, text, view):
    """As the standard wants them; blank is missing."""
    assert with_elements(tmp_path, ViewPosition=text).view_position == view


@pytest.mark.parametrize("text", ["", " ", "ANONYMOUS", "anonymous^^", "Unknown", "000000", "N/A", "-"])
def test_what_anonymisers_write_is_no_patient(tmp_path, text):
    """A constant would make one person of all."""
    assert with_elements(tmp_path, PatientID=text).patient is None
    assert with_elements(tmp_path, PatientID=f"{text}7").patient is not None


def test_absent_elements_are_none(tmp_path):
    """As in VinBigData, whose headers name neither patient nor study."""
    assert read(tmp_path, dicom_bytes()) == Header()


def test_no_damage_is_an_error(tmp_path):
    """Cut or flipped at any place, a header gives what it still tells or nothing, without a warning."""
    whole = dicom_bytes(**ELEMENTS)
    broken = [whole[:length] for length in range(0, len(whole), 7)]
    for place in range(len(whole) - 128):
        flipped = bytearray(whole)
        flipped[place] ^= 0x5A
        broken.append(bytes(flipped))
    names = [write(tmp_path / f"{number}", content).name for number, content in enumerate(broken)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        headers = read_headers(tmp_path, names)
    assert len(headers) == len(broken)
    assert headers[0] == Header()
    assert sum(header == HEADER for header in headers) > 100


def test_other_files_have_no_header(tmp_path):
    """A PNG, a text and a file that is not there, each in its place among DICOMs."""
    write(tmp_path / "a", dicom_bytes(**ELEMENTS))
    write(tmp_path / "b", b"\x89PNG\r\n\x1a\n" + bytes(200))
    write(tmp_path / "c", b"text")
    assert read_headers(tmp_path, ["b", "a", "c", "absent", "a"]) == [Header(), HEADER, Header(), Header(), HEADER]


def test_a_deflated_file_is_not_inflated(tmp_path):
    """Some kilobytes may hide gigabytes; packing rejects these files."""
    content = dicom_bytes(syntax=DeflatedExplicitVRLittleEndian, **ELEMENTS)
    assert read(tmp_path, content) == Header()


def test_a_failing_disk_is_an_error(tmp_path):
    """An id that is missing because of the disk would make another release of the same files."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SourceError, match="loop cannot be read now"):
        read_headers(tmp_path, ["loop"])
    with pytest.raises(SourceError, match="loop cannot be read now"):
        kind(tmp_path / "loop")


@given(st.text(), st.text())
def test_a_pseudonym_tells_ids_apart_and_shows_none(first, second):
    """12 hex digits, the same for the same id of the same set alone."""
    assert len(pseudonym("set", first)) == 12
    assert set(pseudonym("set", first)) <= set("0123456789abcdef")
    assert (pseudonym("set", first) == pseudonym("set", second)) == (first == second)
    assert pseudonym("other", first) != pseudonym("set", first)


def test_no_id_has_no_pseudonym():
    """Missing stays missing; an id of undecodable bytes has one."""
    assert pseudonym("set", None) is None
    assert pseudonym("set", "\udce9") is not None


def test_real_headers(real_data):
    """A real radiograph, uncompressed and as JPEG 2000: a woman, from the front, of no stated age."""
    for header in read_headers(real_data / "dicom", ["RG1_UNCR.dcm", "RG1_J2KI.dcm"]):
        assert header == Header("9RG1", header.study, "F", None, "PA")
        assert header.study.startswith("1.3.6.1.4.1.5962.1.2.9.")
