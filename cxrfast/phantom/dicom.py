"""A radiograph as a DICOM file of each kind that releases hold: polarity, bits, window, rescale, compression.

The drawing has 256 levels and detectors have thousands, so the levels between are filled with noise from the dice:
the stored values use all their bits, and a reader that drops some is found out. Identifiers hang on the dice and no
time is written, so that the same seed gives the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cxrfast.phantom.dice import Dice
from cxrfast.phantom.radiograph import GrayImage

if TYPE_CHECKING:
    from pydicom import Dataset

_WRITER = "2.25.302043790172249692526321623266752743501"  # stands for this module; pydicom's would tell its version
_DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"  # for presentation
_COMPRESSING = Lock()  # pylibjpeg-openjpeg 2.6 crashes when two threads encode at once


@dataclass(frozen=True)
class Storing:
    """How a DICOM stores a radiograph.

    `bits`: of a value, in words of 16. `inverted`: MONOCHROME1, so low values are white. `window`: whether a window
    that shows it rightly is given. `rescale`: the modality's slope and intercept; None for none. `jpeg2000`: compressed
    without loss.
    """

    bits: int = 12
    inverted: bool = False
    window: bool = True
    rescale: tuple[float, float] | None = None
    jpeg2000: bool = False


def encode(gray: GrayImage, storing: Storing, dice: Dice, tags: Mapping[str, str | int]) -> bytes:
    """Encode uint8 (h, w) as a DICOM file; `tags` are further elements by keyword, such as PatientID."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(_WRITER)
    dataset.file_meta.ImplementationVersionName = "CXRFAST_PHANTOM"
    dataset.SOPClassUID = _DIGITAL_XRAY
    dataset.SOPInstanceUID = uid(dice)
    for keyword, value in {"Modality": "DX", "Manufacturer": "cxrfast-shard phantom", **tags}.items():
        setattr(dataset, keyword, value)
    _put_pixels(dataset, _stored(gray, storing, dice), storing)
    if storing.jpeg2000:
        with _COMPRESSING:
            dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _stored(gray: GrayImage, storing: Storing, dice: Dice) -> npt.NDArray[np.uint16]:
    """Spread 256 levels over all values of `bits` bits: uint16 (h, w)."""
    within = dice.uniforms("within a level", gray.size).reshape(gray.shape)
    values = ((gray + within) * (2**storing.bits / 256)).astype(np.uint16)
    return np.asarray(2**storing.bits - 1 - values if storing.inverted else values, dtype=np.uint16)


def _put_pixels(dataset: "Dataset", values: npt.NDArray[np.uint16], storing: Storing) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if storing.inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, storing.bits, storing.bits - 1
    dataset.PixelRepresentation = 0
    slope, intercept = storing.rescale or (1.0, 0.0)
    if storing.rescale:
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = str(slope), str(intercept), "US"
    if storing.window:  # all values that can occur, after the rescale
        dataset.WindowCenter = str(slope * 2 ** (storing.bits - 1) + intercept)
        dataset.WindowWidth = str(slope * 2**storing.bits)
    dataset.PixelData = values.astype("<u2").tobytes()


def uid(dice: Dice) -> str:
    """Return a UID of the form for UUIDs, 2.25 and a number of 128 bits, out of the dice."""
    return f"2.25.{dice.child('uid', 0).word << 64 | dice.child('uid', 1).word}"
