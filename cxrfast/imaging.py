"""Any chest X-ray file to 8-bit gray, read rightly or rejected by name.

Decoders are lenient: they fill what is missing with gray, clip 16 bits, forget the rotation, and believe a header that
claims a million megapixels. So a file's structure is read here first, in microseconds and without pixels: what it is
by its first bytes (never its extension), how large it says it is, and whether it reaches its own end. Only then OpenCV
or pydicom decode it.

The gray of a colour image is its luma; transparency is ignored. DICOM takes the modality LUT, then the VOI LUT or the
first window (PS3.3 C.11.1, C.11.2), then polarity; without LUT and window the image's own range becomes 0 to 255.
"""

import re
import struct
import warnings
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from cxrfast.errors import ImageRejected

if TYPE_CHECKING:
    from pydicom import Dataset

GrayImage = npt.NDArray[np.uint8]

MAX_PIXELS = 40_000_000

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_KNOWN_OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"II*\0": "a TIFF",
    b"MM\0*": "a TIFF",
    b"RIFF": "a WebP or another RIFF file",
    b"\0\0\0\x0cjP  ": "a bare JPEG 2000",
    b"\xff\x4f\xff\x51": "a bare JPEG 2000",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
}
# Markers that may stand between a scan's bytes: stuffed zeros, fill bytes and restarts.
_END_OF_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
_START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_DECODABLE_FRAMES = {0xC0, 0xC1, 0xC2}

# What pydicom lets through from damaged files, beside two errors of its own.
_PYDICOM_RAISES = (
    ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError, RuntimeError, StopIteration,
    struct.error, TypeError, ValueError,
)  # fmt: skip

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # a broken file is told of by ImageRejected alone


def read_gray(data: bytes, *, max_pixels: int = MAX_PIXELS) -> GrayImage:
    """Decode the bytes of one JPEG, PNG or DICOM file: uint8 (height, width), low values black.

    EXIF orientation is applied. Raises ImageRejected with code `empty`, `truncated`, `not-an-image`, `unsupported` or
    `too-large`; the size is judged from the header, before a pixel is decoded.
    """
    if not data:
        raise ImageRejected("empty", "the file holds 0 bytes")
    if data.startswith(_JPEG):
        return _read_jpeg(data, max_pixels)
    if data.startswith(_PNG):
        return _read_png(data, max_pixels)
    if _looks_like_dicom(data):
        return _read_dicom(data, max_pixels)
    if _JPEG.startswith(data[:3]) or _PNG.startswith(data[:8]):
        raise ImageRejected("truncated", f"only {len(data)} bytes of an image's signature are there")
    for magic, name in _KNOWN_OTHERS.items():
        if data.startswith(magic):
            raise ImageRejected("unsupported", f"it is {name}; convert it to PNG without loss")
    raise ImageRejected("not-an-image", f"it begins with {data[:8]!r}, which is no JPEG, PNG or DICOM")


def shrink(gray: GrayImage, long_side: int) -> GrayImage:
    """Resize uint8 (h, w) so that its longer side is `long_side`, by area means; never enlarge; 0 leaves it as it is.

    The other side is rounded to the nearest pixel (halves up), at least 1.
    """
    height, width = gray.shape
    longer = max(height, width)
    if long_side <= 0 or longer <= long_side:
        return gray
    new_height, new_width = (max(1, (2 * side * long_side + longer) // (2 * longer)) for side in (height, width))
    return np.asarray(cv2.resize(gray, (new_width, new_height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageRejected("not-an-image", f"its header says {width} x {height} pixels")
    if width * height > max_pixels:
        raise ImageRejected(
            "too-large",
            f"its header says {width} x {height} pixels, over the limit of {max_pixels}: raise --max-pixels",
        )


def _read_jpeg(data: bytes, max_pixels: int) -> GrayImage:
    frame, precision, height, width, num_components, adobe = _walk_jpeg(data, max_pixels)
    if frame not in _DECODABLE_FRAMES or precision != 8:
        kind = f"marker {frame:02X}, {precision} bits"
        raise ImageRejected("unsupported", f"a JPEG of a rare kind ({kind}); convert it to PNG without loss")
    if num_components == 4 and not adobe:
        raise ImageRejected("unsupported", "a four-colour JPEG that does not say whether its inks are inverted")
    return _decode(data, f"the JPEG of {width} x {height} pixels is damaged")


def _walk_jpeg(data: bytes, max_pixels: int) -> tuple[int, int, int, int, int, bool]:
    """Walk the segments to the end-of-image marker (ITU-T T.81 annex B).

    Returns frame marker, bits, height, width, components, and whether an Adobe segment is there.
    """
    at, frame, adobe = 2, None, False
    while True:
        marker, at = _next_marker(data, at)
        if marker == 0xD9:
            break
        if 0xD0 <= marker <= 0xD8 or marker == 0x01:
            continue
        if at + 2 > len(data):
            raise _cut_jpeg(len(data))
        length = int.from_bytes(data[at : at + 2], "big")
        segment = data[at + 2 : at + length]
        if len(segment) < length - 2 or length < 2:
            raise _cut_jpeg(len(data))
        if marker in _START_OF_FRAME and frame is None and len(segment) >= 6:
            frame = (marker, *struct.unpack(">BHHB", segment[:6]))
            _check_size(frame[3], frame[2], max_pixels)
        adobe |= marker == 0xEE and segment.startswith(b"Adobe")
        at += length
        if marker == 0xDA:
            at = _end_of_scan(data, at, is_only=_is_whole(frame, segment))
    if frame is None:
        raise ImageRejected("truncated", "the JPEG ends before its frame")
    return (*frame, adobe)


def _is_whole(frame: tuple[int, int, int, int, int] | None, scan: bytes) -> bool:
    """Tell whether a scan holds all components of a sequential frame."""
    return frame is not None and frame[0] in (0xC0, 0xC1) and scan[:1] == bytes([frame[4]])


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """Return the marker at or after `at` and where its segment begins; bytes before it are skipped, as by libjpeg."""
    start = data.find(b"\xff", at)
    while start >= 0 and start + 1 < len(data):
        code = data[start + 1]
        if code not in (0x00, 0xFF):
            return code, start + 2
        start = data.find(b"\xff", start + 1)
    raise _cut_jpeg(len(data))


def _end_of_scan(data: bytes, at: int, *, is_only: bool) -> int:
    """Return where the marker after a scan stands.

    A sequential scan of all components is the only one, so a plain search for the end-of-image marker serves, 15 times
    as fast: entropy-coded bytes cannot hold it.
    """
    if is_only:
        end = data.find(b"\xff\xd9", at)
        if end < 0:
            raise _cut_jpeg(len(data))
        return end
    found = _END_OF_SCAN.search(data, at)
    if found is None:
        raise _cut_jpeg(len(data))
    return found.end() - 2


def _cut_jpeg(num_bytes: int) -> ImageRejected:
    return ImageRejected("truncated", f"the JPEG stops after {num_bytes} bytes without an end-of-image marker")


def _read_png(data: bytes, max_pixels: int) -> GrayImage:
    """Check the chunks and their checksums up to IEND (PNG, third edition, clause 5), then decode."""
    at, kind, num_chunks = len(_PNG), b"", 0
    while kind != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if num_chunks == 0:
            _check_png_header(data, max_pixels)
        if end > len(data):
            raise ImageRejected("truncated", f"the PNG stops after {len(data)} bytes without its last chunk")
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ImageRejected("truncated", f"the PNG's {kind!r} chunk at byte {at} does not match its checksum")
        at, num_chunks = end, num_chunks + 1
    return _decode(data, "the PNG's chunks are whole but its pixels are not")


def _check_png_header(data: bytes, max_pixels: int) -> None:
    header = data[len(_PNG) :]
    if len(header) < 25:
        raise ImageRejected("truncated", f"the PNG stops after {len(data)} bytes, inside its header")
    if header[:8] != b"\0\0\0\rIHDR":
        raise ImageRejected("not-an-image", "a PNG signature without a header")
    width, height = struct.unpack(">II", header[8:16])
    _check_size(width, height, max_pixels)


def _decode(data: bytes, complaint: str) -> GrayImage:
    """Decode with OpenCV: luma of colours, EXIF orientation, all 16 bits."""
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise ImageRejected("unsupported", f"OpenCV refuses it: {str(error).strip()}") from error
    if image is None:
        raise ImageRejected("truncated", complaint)
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return np.asarray(image, dtype=np.uint8)


def _looks_like_dicom(data: bytes) -> bool:
    """Tell DICOM by its prefix, or, in files without a preamble, by a first element of group 0002 or 0008."""
    if data[128:132] == b"DICM":
        return True
    return len(data) > 8 and data[:2] in (b"\x02\x00", b"\x08\x00") and data[3] == 0 and data[2] < 0x70


def _read_dicom(data: bytes, max_pixels: int) -> GrayImage:
    if b"1.2.840.10008.1.2.1.99" in data[:1024]:
        # Inflating the whole file comes before its first element, so its size cannot be judged beforehand.
        raise ImageRejected("unsupported", "a deflated DICOM; rewrite it as Explicit VR Little Endian")
    from pydicom.errors import BytesLengthException, InvalidDicomError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = _parse_dicom(data, max_pixels)
            _check_pixel_data(dataset, max_pixels)
            return _render_dicom(_dicom_pixels(dataset), dataset)
        except (*_PYDICOM_RAISES, BytesLengthException, InvalidDicomError) as error:
            raise ImageRejected("truncated", f"pydicom cannot read it whole: {error}") from error


def _parse_dicom(data: bytes, max_pixels: int) -> "Dataset":
    from pydicom import dcmread

    _check_dicom_header(dcmread(BytesIO(data), force=True, stop_before_pixels=True), max_pixels)
    dataset = dcmread(BytesIO(data), force=True)
    if "PixelData" not in dataset:
        raise ImageRejected("truncated", f"the DICOM stops after {len(data)} bytes before the end of its pixels")
    return dataset


def _check_dicom_header(header: "Dataset", max_pixels: int) -> None:
    if "Rows" not in header or "Columns" not in header:
        kind = header.SOPClassUID.name if "SOPClassUID" in header else "a DICOM of no stated kind"
        code = "truncated" if "Image Storage" in kind or "SOPClassUID" not in header else "not-an-image"
        raise ImageRejected(code, f"{kind}, without Rows and Columns")
    _check_size(int(header.Columns or 0), int(header.Rows or 0), max_pixels)
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
        _check_size(right - left, bottom - top, max_pixels)
    elif frame.startswith(_JPEG):
        _walk_jpeg(frame, max_pixels)


def _dicom_pixels(dataset: "Dataset") -> npt.NDArray[Any]:
    """Return stored values (h, w), a colour image as its luma."""
    from pydicom.pixels.utils import pixel_array

    pixels = pixel_array(dataset)
    if pixels.ndim == 3:
        if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
            raise ImageRejected("unsupported", f"a colour DICOM of shape {pixels.shape}, {pixels.dtype}")
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return pixels


def _render_dicom(pixels: npt.NDArray[Any], dataset: "Dataset") -> GrayImage:
    """Take every value that can occur through the LUTs once, then look pixels up: exact, and small in memory."""
    from pydicom.pixels.processing import apply_modality_lut

    low, high = int(pixels.min()), int(pixels.max())
    stored = np.arange(low, high + 1, dtype=np.int32)
    if dataset.get("SamplesPerPixel", 1) == 3:
        return np.asarray(pixels, dtype=np.uint8)
    unit = _apply_voi(np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64), dataset)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        unit = 1 - unit
    table = np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)
    return np.asarray(table[pixels.astype(np.int32) - low], dtype=np.uint8)


def _apply_voi(values: npt.NDArray[np.float64], dataset: "Dataset") -> npt.NDArray[np.float64]:
    """Map modality values to 0..1 by VOI LUT, else by the first window, else by their own range."""
    from pydicom.pixels.processing import apply_voi

    lut = dataset.get("VOILUTSequence")
    if lut:
        return np.asarray(apply_voi(np.rint(values).astype(np.int64), dataset) / (2 ** lut[0].LUTDescriptor[2] - 1))
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    function = dataset.get("VOILUTFunction") or "LINEAR"
    if center is not None and width is not None and width > 0:
        if function == "SIGMOID":
            return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)))
        if function == "LINEAR_EXACT":
            return (values - center) / width + 0.5
        if width >= 1:
            return (values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5
    span = values.max() - values.min()
    if span == 0:  # a flat image has no range of its own; its place among all values it might have had is kept
        return np.asarray(values / (2 ** int(dataset.get("BitsStored") or 16) - 1))
    return np.asarray((values - values.min()) / span)


def _first(value: Any) -> float | None:  # noqa: ANN401
    """Return the first of a DICOM element's one or many values; None where it is absent or empty."""
    if isinstance(value, list | tuple) or (hasattr(value, "__iter__") and not isinstance(value, str)):
        value = next(iter(value), None)
    return None if value in (None, "") else float(value)
