"""DICOM: what the header says is checked before pixels are decoded.

pydicom reads the whole file into memory and its decoders trust the codestream, so the header's size and the
codestream's own are both judged first.
"""

import struct
import warnings
from io import BytesIO
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
            return render(_pixels(dataset), dataset)
        except (*_PYDICOM_RAISES, BytesLengthException, InvalidDicomError) as error:
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
    if int(header.get("BitsAllocated") or 0) > 16:
        raise ImageRejected("unsupported", f"a DICOM of {header.BitsAllocated} bits a pixel; at most 16 are read")


def _check_pixel_data(dataset: "Dataset", max_pixels: int) -> None:
    """See that all pixels are there and that a compressed frame is no larger than it may be, before decoding."""
    from pydicom.encaps import generate_frames
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        samples = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
        expected = samples * int(dataset.BitsAllocated) // 8
        if len(dataset.PixelData) < expected:
            detail = f"{len(dataset.PixelData)} bytes of pixels where {expected} should be"
            raise ImageRejected("truncated", detail)
        return
    _check_codestream(next(generate_frames(dataset.PixelData, number_of_frames=1)), max_pixels)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ImageRejected("unsupported", f"a DICOM compressed as {syntax.name}; decompress it first") from error
    if not decoder.is_available:
        remedy = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
        raise ImageRejected(
            "unsupported", f"a DICOM compressed as {syntax.name}, for which no decoder is here: {remedy}"
        )


def _check_codestream(frame: bytes, max_pixels: int) -> None:
    if frame.startswith(b"\xff\x4f\xff\x51"):  # JPEG 2000: SOC, SIZ (ITU-T T.800 A.5.1)
        right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
        check_size(right - left, bottom - top, max_pixels)
    elif frame.startswith(jpeg.SIGNATURE):
        jpeg.walk_jpeg(frame, max_pixels)


def _pixels(dataset: "Dataset") -> npt.NDArray[Any]:
    """Return stored values (h, w), a colour image as its luma."""
    from pydicom.pixels.utils import pixel_array

    pixels = pixel_array(dataset)
    if pixels.ndim == 3:
        if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
            raise ImageRejected("unsupported", f"a colour DICOM of shape {pixels.shape}, {pixels.dtype}")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return pixels
