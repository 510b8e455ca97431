"""Every pixel of every backend against the float64 reference: within 1 gray level, 0.3 on average."""

import cv2
import numpy as np
import pytest
from backends import BACKENDS
from reference import render, zone_plate
from small_sets import encoded, open_set

from cxrfast import Loader, Reading, Sequential, ViewSpec
from cxrfast.chance import hash_keys
from cxrfast.loading.views import matrices

SPECS = {"paper": ViewSpec.paper(), "simclr": ViewSpec.simclr(), "plain": ViewSpec.plain()}
ODD = [(1, 1), (1, 97), (200, 1), (2, 3), (33, 64), (127, 128), (301, 299), (640, 3)]


def phantoms():
    """Noise of odd sizes, rings beyond the sampling limit, hard edges, checks of a pixel, flat white."""
    rng = np.random.default_rng(5)
    noise = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ODD]
    edge = np.zeros((320, 250), dtype=np.uint8)
    edge[:, 100:] = 255
    checks = ((np.indices((256, 320)).sum(axis=0) % 2) * 255).astype(np.uint8)
    return [*noise, zone_plate(512), zone_plate(1023), edge, checks, np.full((90, 120), 255, dtype=np.uint8)]


def rendered(shards, spec, size, backend):
    """Return images uint8 (n, 2, S, S) of the set in its order, and what they should be, float64."""
    ours = np.empty((len(shards), 2, size, size), dtype=np.uint8)
    with Loader(
        shards, views=[spec, spec], size=size, batch_size=8, seed=11, order=Sequential(), backend=backend,
        reading=Reading(threads=2),
    ) as loader:  # fmt: skip
        for batch in loader.epoch(2):
            ours[batch.index.numpy()] = batch.images.numpy()[:, :, 0]
    table = shards.table
    sizes = {"widths": table["width"].to_numpy(np.int64), "heights": table["height"].to_numpy(np.int64)}
    keys = hash_keys(table["key"])
    maps = [matrices(spec, **sizes, size=size, seed=11, epoch=2, keys=keys, view=view) for view in (0, 1)]
    return ours, maps


def check(shards, images, spec, size, backend):
    ours, maps = rendered(shards, spec, size, backend)
    for row, image in enumerate(images):
        for view in (0, 1):
            off = np.abs(ours[row, view] - render(image, maps[view][row], size))
            where = f"image {row} of shape {image.shape}, view {view}"
            assert off.max() <= 1.0, where
            assert off.mean() <= 0.3, where


@pytest.fixture(scope="module")
def phantom_set(tmp_path_factory):
    images = phantoms()
    return open_set(tmp_path_factory.mktemp("parity") / "phantoms", images, codec="raw"), images


@pytest.fixture(scope="module")
def real_set(tmp_path_factory, real_data):
    """Return a dozen real radiographs at 320, some at full size, as JPEG 95, and their decoded pixels."""
    files = [
        *sorted((real_data / "kermany_orig").rglob("*.jpeg"))[::25],
        *sorted((real_data / "nih_512").glob("*.png")),
    ]
    images = [cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files]
    ratios = [1 if number % 4 == 0 else min(320 / max(image.shape), 1) for number, image in enumerate(images)]
    small = [
        cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
        for image, ratio in zip(images, ratios, strict=True)
    ]
    payloads = [encoded(image, "jpeg") for image in small]
    decoded = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) for _, data in payloads]
    return open_set(tmp_path_factory.mktemp("parity") / "real", decoded, payloads=payloads), decoded


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [64, 224, 400])
@pytest.mark.parametrize("spec", SPECS)
def test_phantoms_equal_the_reference(phantom_set, spec, size, backend):
    """What is hardest to resample, of one pixel's width and more, enlarged and reduced."""
    check(*phantom_set, SPECS[spec], size, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [64, 224])
@pytest.mark.parametrize("spec", SPECS)
def test_real_radiographs_equal_the_reference(real_set, spec, size, backend):
    """Real X-rays, stored at 320 and at full size."""
    check(*real_set, SPECS[spec], size, backend)


def test_plain_view_of_the_output_size_is_the_image_itself(tmp_path):
    """At scale 1 nothing is resampled: an image comes out as stored, padded evenly."""
    image = np.random.default_rng(1).integers(0, 256, (64, 48), dtype=np.uint8)
    shards = open_set(tmp_path / "set", [image] * 8, codec="raw")
    with Loader(shards, views=[ViewSpec.plain()], size=64, batch_size=8, seed=0) as loader:
        found = next(iter(loader.epoch(0))).images[0, 0, 0].numpy()
    np.testing.assert_array_equal(found, np.pad(image, ((0, 0), (8, 8))))


def test_an_odd_difference_loses_nothing(tmp_path):
    """Padding 64 x 47 to a square puts half a pixel on each side: each row keeps its whole sum of light."""
    image = np.random.default_rng(1).integers(0, 256, (64, 47), dtype=np.uint8)
    shards = open_set(tmp_path / "set", [image] * 8, codec="raw")
    with Loader(shards, views=[ViewSpec.plain()], size=64, batch_size=8, seed=0) as loader:
        found = next(iter(loader.epoch(0))).images[0, 0, 0].numpy()
    np.testing.assert_allclose(found.astype(float).sum(axis=1), image.astype(float).sum(axis=1), atol=0.5 * 64)
    assert np.abs(found.astype(float).sum() - image.astype(float).sum()) < 0.1 * image.size


def test_halving_keeps_moire_away(tmp_path):
    """A zone plate of 1,024 pixels at 224 comes at least 10 dB closer to its area average than without halving."""
    plate = zone_plate(1024)
    shards = open_set(tmp_path / "set", [plate] * 8, codec="raw")
    with Loader(shards, views=[ViewSpec.plain()], size=224, batch_size=8, seed=0) as loader:
        ours = next(iter(loader.epoch(0))).images[0, 0, 0].numpy().astype(float)
    ideal = cv2.resize(plate, (224, 224), interpolation=cv2.INTER_AREA).astype(float)
    bare = cv2.resize(plate, (224, 224), interpolation=cv2.INTER_LINEAR).astype(float)

    def decibels(image):
        return 10 * np.log10(255**2 / ((image - ideal) ** 2).mean())

    assert decibels(ours) > decibels(bare) + 10
