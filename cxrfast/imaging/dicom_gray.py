"""DICOM's stored values to 8-bit gray: modality LUT, VOI LUT or window, polarity (PS3.3 C.11.1, C.11.2).

Values, not pixels, go through the float formulas: at most 65,536 of them, once, into a table.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxrfast.imaging.gray import GrayImage

if TYPE_CHECKING:
    from pydicom import Dataset


def render(pixels: npt.NDArray[Any], dataset: "Dataset") -> GrayImage:
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
