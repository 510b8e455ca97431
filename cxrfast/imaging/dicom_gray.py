"""DICOM's stored values to 8-bit gray: modality LUT, VOI LUT or window, polarity (PS3.3 C.11.1, C.11.2, C.7.6.3).

Values, not pixels, go through the float formulas: those that occur, at most 65,536, once, into a table. So an image of
20 megapixels costs its own bytes and no float copies of them. LUTs are read here and not by pydicom, whose VOI LUT
counts entries in as many bits as it has for their values.
"""

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from cxrfast.errors import ImageRejected
from cxrfast.imaging.gray import GrayImage

if TYPE_CHECKING:
    from pydicom import Dataset

Floats = npt.NDArray[np.float64]
_BEYOND = 1e15  # no modality has such values, and integers of 64 bits still hold them


def render(pixels: npt.NDArray[Any], dataset: "Dataset") -> GrayImage:
    """Map stored values, (h, w) integers of 8 or 16 bits, to uint8 (h, w), low values black.

    Padding (PS3.3 C.7.5.1.1.2) becomes black and has no part in the image's own range.
    """
    bits = 8 * pixels.dtype.itemsize
    codes = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder("="), copy=False)).view(f"u{bits // 8}")
    occurring = np.flatnonzero(cv2.calcHist([codes], [0], None, [2**bits], [0, 2**bits]))
    stored = occurring.astype(codes.dtype).view(pixels.dtype.newbyteorder("=")).astype(np.int64)
    image = ~_is_padding(stored, dataset)
    unit = _apply_voi(_apply_modality(stored, dataset), dataset, image if image.any() else ~image)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE":
        unit = 1 - unit
    table = np.zeros(2**bits, dtype=np.uint8)
    table[occurring] = np.where(image, np.rint(np.clip(unit, 0, 1) * 255), 0)
    return np.asarray(cv2.LUT(codes, table), dtype=np.uint8)


def _is_padding(stored: npt.NDArray[np.int64], dataset: "Dataset") -> npt.NDArray[np.bool_]:
    """Tell which stored values stand for no image: the padding value, or all from it to the padding range's limit."""
    ends = [_number(dataset, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None:
        return np.zeros(len(stored), dtype=np.bool_)
    known = [_signed(int(end), dataset.get("PixelRepresentation") == 1) for end in ends if end is not None]
    return (stored >= min(known)) & (stored <= max(known))


def _apply_modality(stored: npt.NDArray[np.int64], dataset: "Dataset") -> Floats:
    """Map stored values by the modality LUT, else by slope and intercept."""
    items = dataset.get("ModalityLUTSequence")
    if items:
        return _look_up(stored, items[0], dataset)[0]
    slope, intercept = _number(dataset, "RescaleSlope"), _number(dataset, "RescaleIntercept")
    with np.errstate(over="ignore"):
        values = stored.astype(np.float64) * (1 if slope is None else slope) + (intercept or 0)
    if not np.abs(values).max() < _BEYOND:
        raise ImageRejected(
            "unsupported", f"a DICOM whose rescale slope {slope} and intercept {intercept} mean nothing"
        )
    return values


def _apply_voi(values: Floats, dataset: "Dataset", image: npt.NDArray[np.bool_]) -> Floats:
    """Map modality values to 0..1 by VOI LUT, else by the first window, else by the range of those of the image."""
    items = dataset.get("VOILUTSequence")
    if items:
        looked_up, bits = _look_up(np.rint(values).astype(np.int64), items[0], dataset)
        return np.asarray(looked_up / (2**bits - 1))
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    function = dataset.get("VOILUTFunction") or "LINEAR"
    if center is not None and width is not None and width > 0:
        if function == "SIGMOID":
            return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)))
        if function == "LINEAR_EXACT":
            return (values - center) / width + 0.5
        if width >= 1:
            ramp = (values - (center - 0.5)) / max(width - 1, 1e-6) + 0.5
            return np.where(
                values <= center - 0.5 - (width - 1) / 2, 0, ramp
            )  # width 1 is a step that excludes its end
    low, high = values[image].min(), values[image].max()
    if low == high:  # a flat image has no range of its own; its place among all values it might have had is kept
        return np.asarray(values / (2 ** int(dataset.get("BitsStored") or 16) - 1))
    return np.asarray((values - low) / (high - low))


def _look_up(values: npt.NDArray[np.int64], item: "Dataset", dataset: "Dataset") -> tuple[Floats, int]:
    """Return a LUT's entries for the values, the ends' for those beyond, and the bits of an entry (C.11.1.1)."""
    num_entries, first, bits = (int(value) for value in item.LUTDescriptor)
    num_entries = num_entries % 2**16 or 2**16
    first = _signed(first, bool(values.min() < 0))
    data = b"" if item.LUTData is None else item.LUTData
    if isinstance(data, bytes):
        order = "<" if dataset.original_encoding[1] is not False else ">"
        data = np.frombuffer(data, dtype=np.uint8 if bits <= 8 and len(data) <= num_entries + 1 else f"{order}u2")
    entries = np.atleast_1d(np.asarray(data, dtype=np.float64))[:num_entries]
    if len(entries) < num_entries or not 8 <= bits <= 16:
        detail = f"{len(entries)} entries of {bits} bits where {num_entries} are announced"
        raise ImageRejected("unsupported", f"a DICOM whose lookup table holds {detail}")
    return entries[np.clip(values - first, 0, len(entries) - 1)], bits


def _signed(value: int, is_signed: bool) -> int:
    """Undo a negative 16-bit value that was written as an unsigned one."""
    return value - 2**16 if is_signed and value >= 2**15 else value


def _number(dataset: "Dataset", name: str) -> float | None:
    """Return the first of an element's one or many values; None where it is absent or empty."""
    value: Any = dataset.get(name)
    if isinstance(value, list | tuple) or (hasattr(value, "__iter__") and not isinstance(value, str)):
        value = next(iter(value), None)
    if value in (None, ""):
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ImageRejected("unsupported", f"a DICOM whose {name} is {value}")
    return number
