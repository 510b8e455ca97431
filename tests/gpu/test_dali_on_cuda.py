"""The renderer on a GPU: parity, memory that is DALI's own, streams, bounds, choice of backend.

`CXRFAST_GPU_TESTS=cpu` runs all of it without a GPU, where streams mean nothing, so that slips show before a GPU does.
"""

import gc
import os
from concurrent.futures import Future
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import torch
from backends import needs_dali, no_substitutes
from reference import halve, render, zone_plate
from small_sets import encoded, open_set

from cxrfast import Loader, Ranks, Reading, Sequential, ViewSpec
from cxrfast.chance import hash_keys
from cxrfast.errors import DamagedSample
from cxrfast.loading.counters import Counters
from cxrfast.loading.render_dali import DaliRenderer
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step
from cxrfast.loading.views import matrices

DEVICE = torch.device(os.environ.get("CXRFAST_GPU_TESTS", "cuda"))
CUDA = DEVICE.type == "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(CUDA and not torch.cuda.is_available(), reason="no CUDA device"),
    needs_dali,
]
SPECS = {"paper": ViewSpec.paper(), "simclr": ViewSpec.simclr(), "plain": ViewSpec.plain()}
COUNT, SIZE = 48, 96


def smooth(count):
    """Return images as blurred noise with some grain, of many sizes: like radiographs, JPEG keeps them well."""
    rng = np.random.default_rng(7)
    images = []
    for height, width in rng.integers(90, 420, (count, 2)):
        image = rng.standard_normal((height, width)).astype(np.float32)
        image = 600 * cv2.GaussianBlur(image, None, 9) + 128 + 2 * rng.standard_normal(image.shape)
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return images


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    """Return a set of JPEGs."""
    return open_set(tmp_path_factory.mktemp("gpu") / "jpegs", smooth(COUNT), codec="jpeg")


@pytest.fixture(scope="module")
def raws(tmp_path_factory):
    """Return a set of the hardest plain arrays, and these."""
    rng = np.random.default_rng(8)
    shapes = [(1, 1), (1, 97), (200, 1), (33, 64), (127, 128), (301, 299), (640, 3), (900, 700)]
    images = [*(rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes), zone_plate(512), zone_plate(1023)]
    images += [np.full((90, 120), 255, dtype=np.uint8)] * 6
    return open_set(tmp_path_factory.mktemp("gpu") / "raws", images, codec="raw"), images


def loader_of(shards, *, device=DEVICE, backend="dali", **settings):
    given = {
        "views": [SPECS["paper"]] * 2, "size": SIZE, "batch_size": 16, "seed": 5, "order": Sequential(lanes=1),
        "reading": Reading(threads=2),
    }  # fmt: skip
    return Loader(shards, **(given | settings), device=device, backend=backend)


def images_of(loader, epoch=0):
    """Return the images of an epoch in the set's order, on the CPU."""
    with loader:
        batches = list(loader.epoch(epoch))
    index = torch.cat([batch.index for batch in batches]).cpu()
    return torch.cat([batch.images for batch in batches]).cpu()[index.argsort()]


def busy(stream):
    """Give the stream some tens of milliseconds of work that whatever is queued next has to wait for."""
    if CUDA:
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)


def stream_of():
    """Return a stream that is not the default one, and how to make it the current one."""
    stream = torch.cuda.Stream() if CUDA else None
    return stream, torch.cuda.stream(stream) if CUDA else nullcontext()


@pytest.mark.parametrize("spec", SPECS)
def test_jpegs_are_those_of_the_cpu_within_the_decoders_difference(jpegs, spec):
    """Against OpenCV on the CPU: 1.0 level on average at most, 99.9 % within 4, for 64 and 224 pixels."""
    for size in (64, 224):
        settings = {"views": [SPECS[spec]], "size": size}
        there = images_of(loader_of(jpegs, **settings)).numpy().astype(int)
        here = images_of(loader_of(jpegs, device="cpu", backend="opencv", **settings)).numpy()
        off = np.abs(there - here)
        assert off.mean() <= 1.0
        assert (off <= 4).mean() >= 0.999


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("size", [64, 224])
def test_pixels_equal_the_reference(raws, spec, size):
    """What is not JPEG has no decoder to differ by: each pixel is within 1 level of float64, halved or not."""
    shards, images = raws
    there = images_of(loader_of(shards, views=[SPECS[spec]], size=size)).numpy()
    table = shards.table
    maps = matrices(
        SPECS[spec], widths=table["width"].to_numpy(np.int64), heights=table["height"].to_numpy(np.int64), size=size,
        seed=5, epoch=0, keys=hash_keys(table["key"]), view=0,
    )  # fmt: skip
    for row, image in enumerate(images):
        off = np.abs(there[row, 0, 0] - render(image, maps[row], size))
        assert off.max() <= 1.0, f"image {row} of shape {image.shape}"
        assert off.mean() <= 0.3


@pytest.fixture
def renderer(raws):
    """Return a renderer of the plain arrays, and their payloads."""
    shards, images = raws
    made = DaliRenderer(
        Samples(shards), num_views=1, size=400, threads=2, device=DEVICE, most_halvings=3, pixels=True,
        counters=Counters(), substitutes=no_substitutes(Samples(shards)),
    )  # fmt: skip
    payloads = Future()
    payloads.set_result(images)
    yield made, payloads, images
    made.close()


def corners(count, halvings):
    return Step(np.arange(count), np.arange(count), halvings.reshape(count, 1), np.tile(np.eye(2, 3), (count, 1, 1, 1)))


def test_halving_is_the_rounded_mean_to_the_bit(renderer):
    """0 to 3 halvings in one batch, odd sizes among them: the reference's bits."""
    made, payloads, images = renderer
    counts = np.arange(len(images)) % 4
    found = made.submit(corners(len(images), counts), payloads).result().cpu().numpy()
    for row, image in enumerate(images):
        for _ in range(counts[row]):
            image = halve(image)
        part = image[:400, :400]
        np.testing.assert_array_equal(found[row, 0, 0, : part.shape[0], : part.shape[1]], part)


def test_the_tensor_is_dalis_memory(renderer):
    """Nothing is copied into torch: the address is that of DALI's tensor."""
    made, payloads, images = renderer
    rendering = made.submit(corners(len(images), np.zeros(len(images), dtype=int)), payloads)
    tensor = rendering.result()
    assert tensor.device.type == DEVICE.type
    assert tensor.data_ptr() == Future.result(rendering).data_ptr()


@pytest.mark.skipif(not CUDA, reason="what torch allocates is counted on CUDA")
def test_batches_take_no_memory_of_torchs(jpegs):
    """A loader's images are no copies either: torch's own memory grows by labels and index alone."""
    before = torch.cuda.memory_allocated()
    held = list(loader_of(jpegs).epoch(0))
    assert torch.cuda.memory_allocated() - before < held[0].images.nbytes / 10


def test_a_batch_is_ready_on_the_stream_that_takes_it(jpegs):
    """Used at once on a stream of the caller's, each batch is whole, however far the streams are apart."""
    expected = [int(image) for image in images_of(loader_of(jpegs)).flatten(1).long().sum(1)]
    loader = loader_of(jpegs)
    batches, sums = loader.epoch(0), []
    for number in range(loader.batches_per_epoch):
        stream, current = stream_of()
        busy(torch.cuda.current_stream() if CUDA and number % 2 else stream)
        with current:
            batch = next(batches)
            sums.append(batch.images.flatten(1).long().sum(1))
            assert batch.index.device.type == DEVICE.type
    loader.close()
    if CUDA:
        torch.cuda.synchronize()
    assert torch.cat(sums).tolist() == expected


def test_memory_is_not_used_again_before_work_on_it_is_done(jpegs):
    """A batch is dropped while its use is still queued behind other work: what the use sees is the batch."""
    expected = images_of(loader_of(jpegs)).flatten(1).long().sum(1)
    stream, current = stream_of()
    sums = []
    with current, loader_of(jpegs) as loader:
        for _ in range(6):
            for batch in loader.epoch(0):
                busy(stream)
                sums.append(batch.images.flatten(1).long().sum(1))
                del batch
    if CUDA:
        torch.cuda.synchronize()
    assert torch.equal(torch.cat(sums).cpu(), expected.repeat(6))


def test_held_batches_never_change(jpegs):
    """All batches of three epochs, held and compared afterwards, are those of epochs gone through one by one."""
    loader = loader_of(jpegs)
    held = [batch.images for epoch in range(3) for batch in loader.epoch(epoch)]
    loader.close()
    fresh = torch.cat([images_of(loader_of(jpegs), epoch) for epoch in range(3)])
    assert torch.equal(torch.cat(held).cpu(), fresh)


def test_the_same_again_to_the_bit(jpegs):
    """Another loader, another batch size, two ranks: an image's views are the same, to the bit."""
    whole = images_of(loader_of(jpegs))
    assert torch.equal(images_of(loader_of(jpegs)), whole)
    assert torch.equal(images_of(loader_of(jpegs, batch_size=8)), whole)
    assert torch.equal(images_of(loader_of(jpegs, batch_size=40)), whole)
    for rank in range(2):
        with loader_of(jpegs, order=Sequential(lanes=2), ranks=Ranks(rank=rank, world_size=2)) as loader:
            for batch in loader.epoch(0):
                assert torch.equal(batch.images.cpu(), whole[batch.index.cpu()])


def test_memory_stays_bounded(jpegs):
    """After two epochs have taken what they need, six more take no more from the device than one batch's worth."""
    if not CUDA:
        pytest.skip("the device's memory is counted on CUDA")
    loader, free = loader_of(jpegs), []
    for epoch in range(8):
        for batch in loader.epoch(epoch):
            last = batch.images.nbytes
        del batch
        gc.collect()
        torch.cuda.synchronize()
        free.append(torch.cuda.mem_get_info()[0])
    loader.close()
    assert free[1] - free[-1] <= max(last, 64 << 20)


def test_damage_is_named_and_the_loader_goes_on(tmp_path):
    """A payload that is no image ends the epoch by name; an epoch of another loader beside it is untouched."""
    images = smooth(16)
    payloads = [encoded(image, "jpeg") for image in images]
    sound = open_set(tmp_path / "sound", images, payloads=payloads)
    payloads[5] = ("jpg", b"\xff\xd8 not an image")
    broken = loader_of(open_set(tmp_path / "broken", images, payloads=payloads))
    beside = loader_of(sound).epoch(0)
    with pytest.raises(DamagedSample, match=r"phantom-00005 .*cannot decode"):
        list(broken.epoch(0))
    assert len(list(beside)) == 1
    with pytest.raises(DamagedSample, match=r"phantom-00005"):
        list(broken.epoch(1))


def test_auto_is_dali_on_cuda_and_opencv_on_the_cpu(jpegs):
    """The report says who rendered."""
    with loader_of(jpegs, backend="auto") as loader:
        list(loader.epoch(0))
        assert (loader.report()["seconds_rendering"] > 0) is CUDA
        assert (loader.report()["seconds_warping"] > 0) is not CUDA


def test_opencv_on_cuda_gives_the_cpus_pixels(jpegs):
    """Rendered into pinned memory and copied over: equal to the bit."""
    there = images_of(loader_of(jpegs, backend="opencv"))
    assert torch.equal(there, images_of(loader_of(jpegs, device="cpu", backend="opencv")))
