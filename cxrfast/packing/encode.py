"""What a worker process does: a chunk of files in, stored samples or reject codes out.

Jobs and results are plain values of a few hundred kilobytes, so any executor can carry them. A worker lays out the tar
members itself, which leaves the parent nothing but appending; this module imports OpenCV and NumPy, no pandas, so that
a worker starts in a third of a second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cxrfast.errors import ImageRejected, PackError
from cxrfast.imaging import plain_gray_codec, read_resized
from cxrfast.packing.recipe import MAX_JPEG_SIDE, Recipe
from cxrfast.shardset.format import EXTENSIONS, StoredSample, sample_bytes

Gray = npt.NDArray[np.uint8]

# All options that change bytes are named: OpenCV's defaults may move.
_OPTIONS = {
    "jpeg": (cv2.IMWRITE_JPEG_OPTIMIZE, 0, cv2.IMWRITE_JPEG_PROGRESSIVE, 0, cv2.IMWRITE_JPEG_RST_INTERVAL, 0),
    "png": (cv2.IMWRITE_PNG_COMPRESSION, 6, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED),
}


@dataclass(frozen=True)
class Job:
    """Some images of one shard: keys, paths relative to `src`, and their JSON documents without pixel sizes."""

    src: str
    recipe: Recipe
    keys: tuple[str, ...]
    paths: tuple[str, ...]
    documents: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Packed:
    """An image that is stored: its sample and its sizes in pixels."""

    sample: StoredSample
    width: int
    height: int
    source_width: int
    source_height: int
    bytes_in: int


@dataclass(frozen=True)
class Rejected:
    """An image that cannot be stored: the code, and the library's words for the log."""

    code: str
    detail: str
    bytes_in: int


def pack_job(job: Job) -> list[Packed | Rejected]:
    """Read, decode, shrink and encode each image of a job, in its order.

    Raises PackError where a file that was there when the plan was made cannot be read: that is the disk's or the
    network's trouble and no property of the image.
    """
    return [
        _pack_image(Path(job.src) / path, key, document, job.recipe)
        for key, path, document in zip(job.keys, job.paths, job.documents, strict=True)
    ]


def encode(gray: Gray, recipe: Recipe) -> bytes:
    """Return the stored form of uint8 (height, width); the same pixels always give the same bytes."""
    if recipe.codec == "raw":
        stream = BytesIO()
        np.lib.format.write_array(stream, np.ascontiguousarray(gray), version=(1, 0), allow_pickle=False)
        return stream.getvalue()
    options = [*_OPTIONS[recipe.codec]]
    if recipe.codec == "jpeg":
        options += [cv2.IMWRITE_JPEG_QUALITY, recipe.quality]
    done, payload = cv2.imencode(f".{recipe.extension}", gray, options)
    if not done:
        raise PackError(f"OpenCV could not write {gray.shape[1]} x {gray.shape[0]} pixels as {recipe.codec}")
    return payload.tobytes()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let OpenCV use one thread in this process, so that one worker means one core."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def ready_worker() -> None:
    """Make ready a worker process: processes share the work, so each has one OpenCV thread."""
    cv2.setNumThreads(1)


def _pack_image(path: Path, key: str, document: dict[str, Any], recipe: Recipe) -> Packed | Rejected:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackError(
            f"{path} cannot be read now ({error.strerror}) though it was there when the plan was made; "
            "see to the disk or network and run again to resume"
        ) from error
    try:
        extension, payload, sizes = _stored(data, recipe)
    except ImageRejected as rejected:
        return Rejected(rejected.code, rejected.detail, len(data))
    except Exception as error:
        error.add_note(f"while packing {path}")
        raise
    sample = sample_bytes(key, extension, payload, {**document, **sizes})
    return Packed(sample, bytes_in=len(data), **sizes)


def _stored(data: bytes, recipe: Recipe) -> tuple[str, bytes, dict[str, int]]:
    """Return a file's stored form: extension, payload, and sizes in pixels. Raises ImageRejected.

    What is copied is decoded all the same: a damaged image must not get into a shard.
    """
    gray, (source_height, source_width) = read_resized(
        data, long_side=recipe.long_side, stretch=recipe.stretch == "minmax", max_pixels=recipe.max_pixels
    )
    height, width = gray.shape
    sizes = {"width": width, "height": height, "source_width": source_width, "source_height": source_height}
    codec = plain_gray_codec(data, max_pixels=recipe.max_pixels) if recipe.copies else None
    if codec is not None:
        return EXTENSIONS[codec], data, sizes
    if recipe.codec == "jpeg" and max(height, width) > MAX_JPEG_SIDE:
        detail = f"{width} x {height} pixels, of which a JPEG holds {MAX_JPEG_SIDE:,} a side: pack with --codec png"
        raise ImageRejected("too-large", detail)
    return recipe.extension, encode(gray, recipe), sizes
