"""A stored payload to gray pixels: JPEG, PNG or a plain array, told apart by their first bytes.

OpenCV decodes outside the GIL. The npy header is read here and not by `numpy.load`, so that nothing but 8-bit gray
ever comes out of a file: no object array, no pickle, no other type or layout.
"""

import ast
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import numpy.typing as npt

from cxrfast.errors import DamagedSample

if TYPE_CHECKING:
    from cxrfast.loading.samples import Samples

Gray = npt.NDArray[np.uint8]

_NPY = b"\x93NUMPY"
_PREFIX = 10  # magic, two bytes of version, two bytes of header length (version 1.0)
_USUAL = 128
_FLAGS = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION


class UndecodableError(Exception):
    """A payload is not an image as packing writes them; the caller knows whose it is."""


def decode(payload: memoryview) -> Gray:
    """Return the pixels: uint8 (height, width), read-only where they were stored raw. Raises UndecodableError."""
    if payload[: len(_NPY)] == _NPY:
        return _array(payload)
    try:
        image = cv2.imdecode(np.frombuffer(payload, dtype=np.uint8), _FLAGS)
    except cv2.error as error:
        raise UndecodableError(f"OpenCV cannot decode it: {error.err}") from error
    if image is None:
        raise UndecodableError("OpenCV cannot decode it")
    return cast(Gray, image)


def decode_sample(samples: "Samples", row: int, payload: memoryview | Gray | DamagedSample) -> Gray:
    """Return a row's pixels, uint8 (height, width); raises DamagedSample, which names it, where it has none."""
    if isinstance(payload, DamagedSample):
        raise payload
    try:
        image = payload if isinstance(payload, np.ndarray) else decode(payload)
    except UndecodableError as error:
        raise samples.damaged(row, f"{error}: pack again") from error
    height, width = int(samples.height[row]), int(samples.width[row])
    if image.shape != (height, width):
        raise samples.damaged(
            row, f"it is {image.shape[1]} x {image.shape[0]} pixels, the manifest says {width} x {height}: pack again"
        )
    return image


def _array(payload: memoryview) -> Gray:
    # Nearly all headers are of this length; a longer one is parsed from what it says of itself.
    start, shape = _header(bytes(payload[:_USUAL]))
    if shape is None:
        start, shape = _header(bytes(payload[:start]))
    if shape is None:
        raise UndecodableError("its npy header is cut off")
    if len(payload) - start != shape[0] * shape[1]:
        raise UndecodableError(f"it holds {len(payload) - start} bytes of pixels, not {shape[1]} x {shape[0]}")
    return np.ndarray(shape, dtype=np.uint8, buffer=payload, offset=start)


@lru_cache(maxsize=4096)
def _header(prefix: bytes) -> tuple[int, tuple[int, int] | None]:
    """Return where the pixels start and their (height, width), None where the header is longer than the prefix.

    Headers repeat, and parsing one takes longer than a warp.
    """
    if prefix[6:8] != b"\x01\x00":
        raise UndecodableError("its npy version is not 1.0")
    start = _PREFIX + int.from_bytes(prefix[8:_PREFIX], "little")
    if start > len(prefix):
        return start, None
    try:
        fields = ast.literal_eval(prefix[_PREFIX:start].decode("latin-1"))
        kind, order, shape = fields["descr"], fields["fortran_order"], fields["shape"]
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise UndecodableError("its npy header cannot be read") from error
    flat = isinstance(shape, tuple) and len(shape) == 2 and all(isinstance(side, int) and side > 0 for side in shape)
    if kind not in ("|u1", "u1") or order is not False or not flat:
        raise UndecodableError(f"its npy header says {fields}, not 8-bit gray rows")
    return start, (int(shape[0]), int(shape[1]))
