"""Small shard sets written for one test: any pixels, codec and shard size, in the format that packing writes."""

import io
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from cxrfast.shardset import format as layout
from cxrfast.shardset import manifest
from cxrfast.shardset.shardset import ShardSet

CLASSES = ("Edema", "Fracture")


def noise_images(count, *, seed=0, low=20, high=60):
    """Return images of random sizes and pixels."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, rng.integers(low, high, 2), dtype=np.uint8) for _ in range(count)]


def encoded(image, codec, quality=95):
    """Return (extension, payload)."""
    if codec == "raw":
        stream = io.BytesIO()
        np.save(stream, image)
        return "npy", stream.getvalue()
    extension = layout.EXTENSIONS[codec]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if codec == "jpeg" else []
    return extension, cv2.imencode(f".{extension}", image, options)[1].tobytes()


def write_set(folder, images, *, name="phantom", codec="png", per_shard=16, payloads=None):
    """Write images as a shard set; `payloads` (extension, bytes) take the place of encoding them."""
    folder.mkdir(parents=True)
    payloads = payloads or [encoded(image, codec) for image in images]
    rows = []
    for shard, start in enumerate(range(0, len(images), per_shard)):
        tar = bytearray()
        for number in range(start, min(start + per_shard, len(images))):
            rows.append(_add(tar, shard, number, name, images[number], *payloads[number]))
        (folder / layout.tar_name(name, shard)).write_bytes(bytes(tar) + layout.ARCHIVE_END)
    manifest.write_manifest(pd.DataFrame(rows), folder / layout.MANIFEST_FILE)
    _commit(folder, name)
    return folder


def open_set(folder, images, **settings) -> ShardSet:
    """Write and open a set whose labels are a function of the row."""
    return with_targets(ShardSet.open(write_set(folder, images, **settings)))


def with_targets(shards: ShardSet) -> ShardSet:
    """Return the set with its raw labels as targets."""
    labels = shards.table[[f"label.{name}" for name in CLASSES]].to_numpy(dtype=np.float32)
    return ShardSet(shards.table, shards.folders, shards.names, shards.annotated, CLASSES, labels)


def damage(shards: ShardSet, row: int, *, at: int = 40) -> Path:
    """Flip one bit in the payload of a row; the file keeps its size."""
    place = shards.table.iloc[row]
    path = shards.tar_path(int(place.shardset), int(place.shard))
    content = bytearray(path.read_bytes())
    content[int(place.offset) + at] ^= 4
    path.write_bytes(content)
    return path


def _add(tar: bytearray, shard, number, name, image, extension, payload):
    key = f"{name}-{number:05d}"
    sample = layout.sample_bytes(key, extension, payload, {"key": key})
    height, width = image.shape
    row = {
        "key": key, "path": f"{number}.png", "dataset": name, "patient": f"p{number // 2}", "study": None,
        "projection": "frontal", "view_position": "PA", "sex": None, "age": 50.0, "release_split": "train",
        "label.Edema": float(number % 2), "label.Fracture": float(number % 3 == 0),
        "shard": shard, "offset": len(tar) + sample.payload_offset, "nbytes": len(payload), "crc32": sample.crc32,
        "sample_offset": len(tar), "sample_nbytes": len(sample.blob), "sample_crc32": sample.sample_crc32,
        "width": width, "height": height, "source_width": width, "source_height": height,
    }  # fmt: skip
    tar += sample.blob
    return row


def _commit(folder: Path, name: str, classes: Sequence[str] = CLASSES) -> None:
    files = {
        path.name: {"size": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
    }
    commit = {
        "format": layout.FORMAT_NAME, "version": layout.FORMAT_VERSION, "name": name, "labels": list(classes),
        "files": files,
    }  # fmt: skip
    (folder / layout.COMMIT_FILE).write_text(json.dumps(commit))
