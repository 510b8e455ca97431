"""Which images have the pixels of a test image, under whatever name, patient and data set.

Where images were packed alike, equal pixels are equal stored bytes, so checksum and length from the manifest tell, and
no image is read. Where files' own bytes are kept (long_side 0) one picture may be stored as JPEG and as PNG: there,
images of a test image's size are decoded and compared, which costs some milliseconds each.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from cxrfast.errors import DamagedSample
from cxrfast.loading.decode import UndecodableError, decode
from cxrfast.shardset.shardset import ShardSet

Mask = npt.NDArray[np.bool_]


def has_pixels_of(pool: ShardSet, other: ShardSet) -> Mask:
    """Tell which images of `pool` have the stored pixels of one of `other`: bool (n,).

    Raises DamagedSample where an image that must be decoded cannot be.
    """
    found = np.isin(_stored_bytes(pool), _stored_bytes(other))
    if not any(recipe.get("long_side") == 0 for part in (pool, other) for recipe in part.recipes):
        return found
    alike = np.flatnonzero(~found & np.isin(_sizes(pool), _sizes(other)))
    against = np.flatnonzero(np.isin(_sizes(other), _sizes(pool.rows(alike))))
    found[alike] = np.isin(_pixels(pool.rows(alike)), _pixels(other.rows(against)))
    return found


def _stored_bytes(part: ShardSet) -> npt.NDArray[np.uint64]:
    checksum = part.table["crc32"].to_numpy().astype(np.uint64)
    return (checksum << np.uint64(32)) | part.table["nbytes"].to_numpy().astype(np.uint64)


def _sizes(part: ShardSet) -> npt.NDArray[np.int64]:
    width, height = (part.table[name].to_numpy().astype(np.int64) for name in ("width", "height"))
    return (width << 32) | height


def _pixels(part: ShardSet) -> npt.NDArray[np.bytes_]:
    """Return a hash of each image's decoded pixels: bytes (n,)."""
    with ThreadPoolExecutor() as threads:
        return np.array(list(threads.map(partial(_hash, part), range(len(part)))), dtype="S32")


def _hash(part: ShardSet, row: int) -> bytes:
    place = part.table.iloc[row]
    where = int(place["shardset"]), int(place["shard"])
    tar = part.tar_place(*where)
    try:
        with os.fdopen(part.open_tar(*where), "rb") as file:
            file.seek(int(place["offset"]))
            pixels = decode(memoryview(file.read(int(place["nbytes"]))))
    except (OSError, UndecodableError) as error:
        raise DamagedSample(
            f"{place['dataset']}: {place['key']} in {tar} cannot be read ({error}); "
            f"run `cxrfast-shard verify {part.folders[where[0]]}`"
        ) from error
    return blake2b(f"{pixels.shape}".encode() + pixels.tobytes(), digest_size=16).hexdigest().encode()
