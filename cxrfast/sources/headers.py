"""What DICOM headers say of a person, an examination and a view: fast, for all files of a release, and never in doubt.

Some sets have no table, and their headers are all there is. Only the bytes before the pixels are read, by threads that
wait for the disk together; parsing them is Python's work and bounds it at some thousands of files a second. A header
that cannot be parsed says nothing here, since packing reads each file again and rejects it by name and reason.

`kind` looks at first bytes, because hospital exports have no file name extensions.
"""

import re
import struct
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from cxrfast.errors import SourceError

if TYPE_CHECKING:
    from pydicom import Dataset

_THREADS = 16  # more than cores: on a network disk they mostly wait
_SNIFFED = 1024
_TAGS = ["PatientID", "StudyInstanceUID", "PatientSex", "PatientAge", "ViewPosition"]
_DICOMDIR = b"1.2.840.10008.1.3.10"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_AGE = re.compile(r"(\d+) ?([YMWD]?)", re.IGNORECASE)
_PER_YEAR = {"": 1.0, "Y": 1.0, "M": 12.0, "W": 365.25 / 7, "D": 365.25}
_OLDEST = 120
_SEXES = {"F": "F", "FEMALE": "F", "M": "M", "MALE": "M"}
_NOBODY = {"ANON", "ANONYMISED", "ANONYMIZED", "ANONYMOUS", "NA", "NONE", "NULL", "UNKNOWN"}

# What pydicom lets through from damaged headers, beside two errors of its own.
_PYDICOM_RAISES = (ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError, RuntimeError,
                   StopIteration, struct.error, TypeError, ValueError)  # fmt: skip


class Header(NamedTuple):
    """What one header says; None where it does not.

    `patient` and `study` are the header's own ids, which may be a name or a clinic's number: store `pseudonym` of them.
    `sex` is F or M, `age` in years; an age of 0 or beyond 120 years is an anonymiser's, and None.
    """

    patient: str | None = None
    study: str | None = None
    sex: str | None = None
    age: float | None = None
    view_position: str | None = None


def kind(path: Path) -> str | None:
    """Return `dicom`, `png` or `jpeg` by a file's first bytes, None for anything else, a DICOMDIR too."""
    try:
        if not S_ISREG(path.stat().st_mode):  # a pipe would be waited for without end
            return None
        with path.open("rb", buffering=0) as file:
            return _kind(file.read(_SNIFFED))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, error) from error


def read_headers(src: Path, paths: Iterable[str]) -> list[Header]:
    """Return the header of each DICOM file, paths relative to `src`; a blank one for a file that is absent or no DICOM.

    Raises SourceError where the disk fails, since ids that come and go with it would make another release each time.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(_THREADS) as threads:
        warnings.simplefilter("ignore")  # pydicom's, on values outside the standard; filters are the process's
        return list(threads.map(_read_header, (src / path for path in paths)))


def describe(data: bytes) -> str:
    """Say of a DICOM file that can be read what its pixels are: `DICOM, 12 bits, MONOCHROME1, uncompressed`."""
    from pydicom import dcmread

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tags = ["BitsStored", "PhotometricInterpretation"]
        dataset = dcmread(BytesIO(data), force=True, stop_before_pixels=True, specific_tags=list(tags))
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    coding = syntax.name if syntax and syntax.is_encapsulated else "uncompressed"
    bits, colours = dataset.get("BitsStored", "unknown"), dataset.get("PhotometricInterpretation", "unknown polarity")
    return f"DICOM, {bits} bits, {colours}, {coding}"


def pseudonym(dataset: str, identifier: str | None) -> str | None:
    """Return 12 hex digits of the SHA-256 of `dataset/identifier`: the same for the same id, and no one's name.

    Who knows the set's name can try ids until one fits, so this keeps ids out of sight and is no anonymisation.
    """
    return (
        None
        if identifier is None
        else sha256(f"{dataset}/{identifier}".encode(errors="surrogatepass")).hexdigest()[:12]
    )


def _read_header(path: Path) -> Header:
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        with path.open("rb") as file:
            return _parse(file)
    except FileNotFoundError:
        return Header()
    except (*_PYDICOM_RAISES, BytesLengthException, InvalidDicomError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's; pydicom's own have no number
            raise _unreadable(path, error) from error
        return Header()


def _parse(file: BinaryIO) -> Header:
    from pydicom import dcmread

    start = file.read(_SNIFFED)
    if _kind(start) != "dicom" or _DEFLATED in start:  # a deflated one would be inflated whole
        return Header()
    file.seek(0)
    dataset = dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
    sex, view = _text(dataset, "PatientSex"), _text(dataset, "ViewPosition")
    return Header(
        patient=_someone(_text(dataset, "PatientID")),
        study=_text(dataset, "StudyInstanceUID"),
        sex=_SEXES.get((sex or "").upper()),
        age=_years(_text(dataset, "PatientAge")),
        view_position=view and view.upper(),
    )


def _kind(start: bytes) -> str | None:
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if start[128:132] == b"DICM":
        return None if _DICOMDIR in start else "dicom"
    # Without a preamble the first element is of group 0002 or 0008.
    bare = len(start) > 8 and start[:2] in (b"\x02\x00", b"\x08\x00") and start[3] == 0 and start[2] < 0x70
    return "dicom" if bare else None


def _text(dataset: "Dataset", name: str) -> str | None:
    """Return an element's text, the first of several; None where it is absent or blank."""
    value = dataset.get(name)
    first = value if value is None or isinstance(value, str) else next(iter(value), None)
    return str(first or "").strip("\0 \t\r\n") or None


def _someone(identifier: str | None) -> str | None:
    """Return a patient's id, None where it is what anonymisers write for everyone."""
    letters = re.sub(r"[\W_]", "", identifier or "").upper()
    return None if letters in _NOBODY or not letters.strip("0") else identifier


def _years(text: str | None) -> float | None:
    found = _AGE.fullmatch(text or "")
    age = int(found[1]) / _PER_YEAR[found[2].upper()] if found else 0
    return age if 0 < age <= _OLDEST else None


def _unreadable(path: Path, error: OSError) -> SourceError:
    return SourceError(f"{path} cannot be read now ({error.strerror}); see to the disk or network and run again")
