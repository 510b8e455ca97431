"""DICOM: what the header says is checked before pixels are decoded.

pydicom reads the whole file into memory and its decoders trust the codestream, so the header's size and the
codestream's own are both judged first.
"""

import struct
import warnings
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from cxrfast.errors import ImageRejected
from cxrfast.imaging import jpeg
from cxrfast.imaging.dicom_gray import render
from cxrfast.imaging.gray import GrayImage, check_size

if TYPE_CHECKING:
    from pydicom import Dataset

# What pydicom lets through from damaged files, beside two errors of its own.
_PYDICOM_RAISES = (
    ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError, RuntimeError, StopIteration,
    struct.error, TypeError, ValueError,
)  # fmt: skip

_READ = {(1, 8), (1, 16), (3, 8)}  # samples a pixel and bits a sample
_J2K = b"\xff\x4f\xff\x51"


def looks_like_dicom(data: bytes) -> bool:
    """Tell DICOM by its prefix, or, in files without a preamble, by a first element of group 0002 or 0008."""
    if data[128:132] == b"DICM":
        return True
    return len(data) > 8 and data[:2] in (b"\x02\x00", b"\x08\x00") and data[3] == 0 and data[2] < 0x70


def read_dicom(data: bytes, max_pixels: int) -> GrayImage:
    """Decode a DICOM file of one frame: uint8 (h, w). Raises ImageRejected."""
    if b"1.2.840.10008.1.2.1.99" in data[:1024]:
        # Inflating the whole file comes before its first element, so its size cannot be judged beforehand.
        raise ImageRejected("unsupported", "a deflated DICOM; rewrite it as Explicit VR Little Endian")
    from pydicom.errors import BytesLengthException, InvalidDicomError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = _parse(data, max_pixels)
            _check_pixel_data(dataset, max_pixels)
            pixels = _pixels(dataset)
            is_gray = int(dataset.get("SamplesPerPixel") or 1) == 1
            return render(pixels, dataset) if is_gray else np.asarray(pixels, dtype=np.uint8)
        except (cv2.error, *_PYDICOM_RAISES, BytesLengthException, InvalidDicomError) as error:
            raise ImageRejected("truncated", f"pydicom cannot read it whole: {error}") from error


def _parse(data: bytes, max_pixels: int) -> "Dataset":
    from pydicom import dcmread

    _check_header(dcmread(BytesIO(data), force=True, stop_before_pixels=True), max_pixels)
    dataset = dcmread(BytesIO(data), force=True)
    if "PixelData" not in dataset:
        raise ImageRejected("truncated", f"the DICOM stops after {len(data)} bytes before the end of its pixels")
    return dataset


def _check_header(header: "Dataset", max_pixels: int) -> None:
    if "Rows" not in header or "Columns" not in header:
        kind = header.SOPClassUID.name if "SOPClassUID" in header else "a DICOM of no stated kind"
        code = "truncated" if "Image Storage" in kind or "SOPClassUID" not in header else "not-an-image"
        raise ImageRejected(code, f"{kind}, without Rows and Columns")
    check_size(int(header.Columns or 0), int(header.Rows or 0), max_pixels)
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ImageRejected("unsupported", f"a DICOM of {header.NumberOfFrames} frames; one is wanted")
    if header.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise ImageRejected("unsupported", "a DICOM of palette colours")
    samples, allocated = int(header.get("SamplesPerPixel") or 1), int(header.get("BitsAllocated") or 0)
    if (samples, allocated) not in _READ:
        kind = f"{samples} values of {allocated} bits a pixel"
        raise ImageRejected("unsupported", f"a DICOM of {kind}; gray of 8 or 16 bits and colours of 8 are read")


def _check_pixel_data(dataset: "Dataset", max_pixels: int) -> None:
    """See that all pixels are there and that a compressed frame is no larger than it may be, before decoding."""
    from pydicom.encaps import generate_frames
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        expected = _native_size(dataset)
        if len(dataset.PixelData) < expected:
            raise ImageRejected("truncated", f"{len(dataset.PixelData)} bytes of pixels where {expected} should be")
        if len(dataset.PixelData) >= 2 * expected > 2:
            detail = f"{len(dataset.PixelData)} bytes of pixels where one frame has {expected}"
            raise ImageRejected("unsupported", f"a DICOM of {detail}")
        return
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        dataset.pop(name, None)  # one frame needs none, and pydicom would decode another place than is judged here
    frame, *more = islice(generate_frames(dataset.PixelData, number_of_frames=1), 2)
    if more:
        raise ImageRejected("unsupported", "a DICOM of several compressed frames under a header of one")
    if syntax == RLELossless:
        _check_rle(frame, int(dataset.Rows) * int(dataset.Columns))
    _check_codestream(frame, int(dataset.get("SamplesPerPixel") or 1), max_pixels)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ImageRejected("unsupported", f"a DICOM compressed as {syntax.name}; decompress it first") from error
    if not decoder.is_available:
        remedy = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
        raise ImageRejected(
            "unsupported", f"a DICOM compressed as {syntax.name}, for which no decoder is here: {remedy}"
        )


def _native_size(dataset: "Dataset") -> int:
    """Return how many bytes uncompressed pixels take; 4:2:2 colours share two of their three values."""
    samples = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
    expected = samples * int(dataset.BitsAllocated) // 8
    return expected * 2 // 3 if dataset.get("PhotometricInterpretation") == "YBR_FULL_422" else expected


def _check_rle(frame: bytes, plane: int) -> None:
    """Walk the headers of each segment's runs (PS3.5 annex G), and stop where it gives more than a plane of bytes."""
    count, *starts = struct.unpack_from("<16I", frame)
    for at, end in zip(starts[:count], [*starts[1:count], len(frame)], strict=True):
        given = 0
        while at < min(end, len(frame)):
            code = frame[at]
            at += code + 2 if code < 128 else 2 if code > 128 else 1
            given += code + 1 if code < 128 else 257 - code if code > 128 else 0
            if given > plane + 2:  # an encoder may pad a segment to an even length
                raise ImageRejected("too-large", f"an RLE segment holds more than the {plane} bytes of its plane")


def _check_codestream(frame: bytes, num_samples: int, max_pixels: int) -> None:
    """Judge what a JPEG or JPEG 2000 codestream says of itself, which decoders believe over Rows and Columns."""
    found = num_samples
    start = frame.find(_J2K, 0, 4096)  # some writers keep the boxes of a JP2 file around it
    if frame.startswith(jpeg.SIGNATURE):
        found = jpeg.walk_jpeg(frame, max_pixels).num_components
    elif start >= 0:  # SOC, SIZ (ITU-T T.800 A.5.1)
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        check_size(right - left, bottom - top, max_pixels)
        (found,) = struct.unpack_from(">H", frame, start + 40)
    if found != num_samples:
        raise ImageRejected(
            "unsupported", f"a DICOM whose header says {num_samples} values a pixel, its pixels {found}"
        )


def _pixels(dataset: "Dataset") -> npt.NDArray[Any]:
    """Return stored values (h, w), a colour image as its luma."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import RLELossless

    syntax = dataset.file_meta.TransferSyntaxUID
    as_written = not syntax.is_encapsulated or syntax == RLELossless
    options: dict[str, Any] = {"view_only": True, "correct_unused_bits": not as_written}
    pixels, properties = get_decoder(syntax).as_array(dataset, raw=True, **options)
    if pixels.ndim != (3 if int(dataset.get("SamplesPerPixel") or 1) == 3 else 2):
        raise ImageRejected("unsupported", f"a DICOM whose pixels are of shape {pixels.shape}")
    if pixels.ndim == 3:
        if str(properties["photometric_interpretation"]).startswith("YBR"):
            return np.ascontiguousarray(pixels[..., 0])
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return _without_unused_bits(pixels, dataset) if as_written else pixels


def _without_unused_bits(pixels: npt.NDArray[Any], dataset: "Dataset") -> npt.NDArray[Any]:
    """Take each value out of its cell (PS3.5 8.1.1); old files keep overlays in the bits beside it, or noise."""
    allocated = 8 * pixels.dtype.itemsize
    stored = int(dataset.get("BitsStored") or allocated)
    above = allocated - 1 - int(dataset.get("HighBit", stored - 1))
    if not 1 <= stored < allocated:
        return pixels
    if not 0 <= above <= allocated - stored:
        above = allocated - stored
    return np.asarray(np.right_shift(np.left_shift(pixels, above), allocated - stored))
