"""Any reader of WebDataset tars reads a packed set: webdataset itself, and DALI's own reader on the CPU."""

import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from small_releases import NAME, write_release

from cxrfast import Loader, Sequential, ViewSpec
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack
from cxrfast.shardset.format import index_name
from cxrfast.shardset.shardset import ShardSet

EXTENSIONS = {"jpeg": "jpg", "png": "png", "raw": "npy"}


@pytest.fixture(scope="module", params=list(EXTENSIONS))
def codec(request):
    return request.param


@pytest.fixture(scope="module")
def shards(codec, tmp_path_factory):
    """Return a set of five shards with one image rejected."""
    folder = tmp_path_factory.mktemp(codec)
    release = write_release(folder / "src", 45)
    (folder / "src" / release.table["path"][7]).write_bytes(b"")
    recipe = Recipe(NAME, codec=codec, samples_per_shard=9)
    pack(release, folder / "src", folder / "set", recipe=recipe, workers=1, max_rejects=1)
    return ShardSet.open(folder / "set")


def stored_payloads(shards):
    """Return (key, payload) of each row, as the manifest's offsets say."""
    for row in shards.table.itertuples():
        content = shards.tar_path(row.shardset, row.shard).read_bytes()
        yield row.key, content[row.offset : row.offset + row.nbytes]


def pixels(codec, payload):
    if codec == "raw":
        return np.load(io.BytesIO(payload))
    return cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_UNCHANGED)


def test_webdataset_reads_the_same_bytes(shards, codec):
    """Keys and payloads come in stored order, and each JSON tells where its image came from and what it shows."""
    read = list(shards.webdataset(decode=False))
    assert [(sample["__key__"], sample[EXTENSIONS[codec]]) for sample in read] == list(stored_payloads(shards))
    for row, sample in zip(shards.table.to_dict("records"), read, strict=True):
        document = json.loads(sample["json"])
        assert {name: document[name] for name in ("path", "patient", "width", "source_height")} == {
            name: row[name] for name in ("path", "patient", "width", "source_height")
        }
        value = document["labels"]["Edema"]
        np.testing.assert_equal(np.float32(np.nan if value is None else value), np.float32(row["label.Edema"]))


def test_webdataset_decodes_to_gray(shards, codec):
    """Decoded samples are uint8 (height, width) beside a dict; PIL's JPEG decoder may differ from OpenCV's by 2."""
    for sample, (_, payload) in zip(shards.webdataset(), stored_payloads(shards), strict=True):
        image, wanted = sample[EXTENSIONS[codec]], pixels(codec, payload)
        assert image.dtype == np.uint8
        assert np.abs(image.astype(int) - wanted).max() <= (2 if codec == "jpeg" else 0)
        assert set(sample["json"]["labels"]) == {"Edema", "Nodule/Mass"}


def test_webdataset_gives_only_the_selected_rows(shards):
    """A selection is a selection for every reader."""
    chosen = shards.select("release_split == 'train'").rows([0, 3])
    assert sorted(sample["__key__"] for sample in chosen.webdataset(decode=False)) == sorted(chosen.table["key"])


def test_dali_reads_the_same_bytes(shards, codec):
    """DALI's reader, with the packed indices, gives every payload and JSON in stored order."""
    read = _read_with_dali(shards, EXTENSIONS[codec], indices=True)
    assert [payload for payload, _ in read] == [payload for _, payload in stored_payloads(shards)]
    assert [json.loads(text)["path"] for _, text in read] == shards.table["path"].tolist()


def test_dali_reads_without_an_index(shards, codec):
    """The tars alone are enough: what DALI infers from them equals what the index says."""
    extension = EXTENSIONS[codec]
    assert _read_with_dali(shards, extension, indices=False) == _read_with_dali(shards, extension, indices=True)


def test_every_index_is_what_dalis_tool_makes_of_its_tar(shards, tmp_path):
    """A packed index equals, byte for byte, the one that `wds2idx` writes for the packed tar."""
    pytest.importorskip("wds2idx", reason="needs DALI")
    for shard in sorted(set(shards.table["shard"])):
        target = tmp_path / f"{shard}.idx"
        command = [sys.executable, "-m", "wds2idx", str(shards.tar_path(0, shard)), str(target)]
        subprocess.run(command, check=True, capture_output=True)
        assert target.read_bytes() == (shards.folders[0] / index_name(NAME, shard)).read_bytes()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Return a set of JPEGs and PNGs that were copied at full size, and the folder of its originals."""
    folder = tmp_path_factory.mktemp("mixed")
    release = write_release(folder / "src", 20)
    pack(release, folder / "src", folder / "set", recipe=Recipe(NAME, long_side=0, samples_per_shard=9), workers=1)
    return ShardSet.open(folder / "set"), folder / "src"


def test_a_set_of_two_formats_is_read_by_webdataset(mixed):
    """Each sample comes under its own extension, with the very bytes of its original."""
    shards, src = mixed
    read = list(shards.webdataset(decode=False))
    assert [sample["__key__"] for sample in read] == shards.table["key"].tolist()
    for path, sample in zip(shards.table["path"], read, strict=True):
        extension = path.rpartition(".")[2]
        assert sample[extension] == (src / path).read_bytes()
        assert not {"jpg", "png", "npy"} - {extension} & set(sample)
    for sample in shards.webdataset():
        assert sample["jpg" if "jpg" in sample else "png"].shape == (sample["json"]["height"], sample["json"]["width"])


def test_a_set_of_two_formats_is_read_by_dali(mixed):
    """DALI takes the alternatives as one component, with the packed indices and without."""
    shards, src = mixed
    wanted = [(src / path).read_bytes() for path in shards.table["path"]]
    for indices in (True, False):
        assert [payload for payload, _ in _read_with_dali(shards, "jpg;png", indices=indices)] == wanted


def test_a_set_of_two_formats_is_read_by_the_loader(mixed, tmp_path):
    """The loader goes by the bytes: a batch of both formats equals one of the same images stored as plain arrays."""
    shards, src = mixed
    recipe = Recipe(NAME, long_side=0, codec="raw", samples_per_shard=9)
    pack(write_release(src, 20), src, tmp_path / "set", recipe=recipe, workers=1)
    batches = []
    for one in (shards, ShardSet.open(tmp_path / "set")):
        loader = Loader(one, views=[ViewSpec.paper()], size=64, batch_size=24, order=Sequential(), seed=0)
        batches += list(loader.epoch(0))
        loader.close()
    copied, plain = batches
    assert sorted(copied.index.tolist()) == list(range(20))
    assert torch.equal(copied.images, plain.images)
    assert (copied.images.amax(dim=(1, 2, 3, 4)) > 0).all()


def _read_with_dali(shards, extension, *, indices):
    """Return (payload, JSON text) of every sample, one epoch, on the CPU."""
    pytest.importorskip("nvidia.dali", reason="needs DALI")
    from nvidia.dali import fn, pipeline_def

    numbers = sorted(set(shards.table["shard"].tolist()))
    tars = [str(shards.tar_path(0, number)) for number in numbers]
    found = (
        {"index_paths": [str(shards.folders[0] / index_name(NAME, number)) for number in numbers]} if indices else {}
    )

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def pipeline():
        payload, text = fn.readers.webdataset(
            paths=tars, ext=[extension, "json"], missing_component_behavior="error", name="reader", **found
        )
        return payload, text

    built = pipeline()
    built.build()
    assert built.epoch_size("reader") == len(shards)
    return [tuple(np.asarray(part[0]).tobytes() for part in built.run()) for _ in range(len(shards))]
