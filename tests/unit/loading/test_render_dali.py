"""DALI's graph by itself, on the CPU: halving to the bit, batches of any size, damage, and what is left behind."""

import io
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from backends import ends_with, native_threads, needs_dali, no_substitutes, shared_memory
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reference import halve, render
from small_sets import encoded, noise_images, open_set

from cxrfast.errors import DamagedSample, LoaderError
from cxrfast.loading.counters import Counters
from cxrfast.loading.decode import decode
from cxrfast.loading.render_dali import DaliRenderer
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step
from cxrfast.loading.views import back_maps

pytestmark = needs_dali
ODD = [(1, 1), (1, 97), (200, 1), (2, 3), (33, 64), (127, 128), (301, 299), (640, 3), (1023, 777), (2, 3001)]


def samples_of(folder, images, **settings):
    return Samples(open_set(folder, images, per_shard=64, **settings))


def renderer_of(samples, *, size=48, views=1, most=0, pixels=True):
    return DaliRenderer(
        samples, num_views=views, size=size, threads=2, device=torch.device("cpu"), most_halvings=most,
        pixels=pixels, counters=Counters(), substitutes=no_substitutes(samples),
    )  # fmt: skip


def done(payloads):
    future = Future()
    future.set_result(list(payloads))
    return future


def identity(rows, views=1):
    """Return a step that shows the top left corner of each image as it is."""
    rows = np.asarray(rows)
    return Step(
        rows, rows, np.zeros((len(rows), views), dtype=np.int64), np.tile(np.eye(2, 3), (len(rows), views, 1, 1))
    )


def corner(image, size):
    """Return the top left corner of an image, zeros beyond it."""
    out = np.zeros((size, size), dtype=np.uint8)
    part = image[:size, :size]
    out[: part.shape[0], : part.shape[1]] = part
    return out


def test_halving_is_the_rounded_mean_to_the_bit(tmp_path):
    """0 to 3 halvings, mixed in one batch and differing by view: each is the reference's, to the bit."""
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ODD for _ in range(2)]
    counts = rng.integers(0, 4, (len(images), 2))
    rows, size = np.arange(len(images)), 400
    step = Step(rows, rows, counts, np.tile(np.eye(2, 3), (len(images), 2, 1, 1)))
    renderer = renderer_of(samples_of(tmp_path / "set", images), size=size, views=2, most=3)
    found = renderer.submit(step, done(images)).result().numpy()
    renderer.close()
    for row, image in enumerate(images):
        for view in range(2):
            expected = image
            for _ in range(counts[row, view]):
                expected = halve(expected)
            np.testing.assert_array_equal(found[row, view, 0], corner(expected, size), err_msg=str(image.shape))


@pytest.fixture(scope="module")
def one_image(tmp_path_factory):
    """Return a renderer of one image of any size, whose manifest row each example rewrites."""
    samples = samples_of(tmp_path_factory.mktemp("one") / "set", noise_images(1))
    renderer = renderer_of(samples, size=70, most=1)
    yield samples, renderer
    renderer.close()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 130), st.integers(1, 130), st.integers(0, 2**32 - 1))
def test_any_size_is_halved_alike(one_image, height, width, seed):
    """Odd or even, one pixel wide or many: the same bits."""
    samples, renderer = one_image
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    samples.height[0], samples.width[0] = height, width
    step = Step(
        np.zeros(1, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
        np.ones((1, 1), dtype=np.int64),
        np.eye(2, 3)[None, None],
    )
    found = renderer.submit(step, done([image])).result().numpy()[0, 0, 0]
    np.testing.assert_array_equal(found, corner(halve(image), 70))


@pytest.mark.parametrize("codec", ["jpeg", "png"])
def test_stored_bytes_are_decoded_as_opencv_does(tmp_path, codec):
    """The same pixels to the bit, whether DALI decodes or is fed what OpenCV decoded; also JPEG in colour."""
    images = noise_images(20, low=1, high=200)
    payloads = [encoded(image, codec) for image in images]
    colour = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    payloads[7] = payloads[7][0], cv2.imencode(".jpg", colour)[1].tobytes()
    images[7] = colour[..., 0]
    samples = samples_of(tmp_path / "set", images, payloads=payloads)
    blobs = [memoryview(payload) for _, payload in payloads]
    both = []
    for pixels in (False, True):
        renderer = renderer_of(samples, size=200, pixels=pixels)
        both.append(renderer.submit(identity(range(20)), done(blobs)).result())
        renderer.close()
    assert torch.equal(*both)


def test_an_orientation_in_the_header_is_ignored(tmp_path):
    """Packing has already turned what was to be turned: a JPEG that says so still is shown as it is stored."""
    image = noise_images(1)[0]
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(stream, "jpeg", quality=95, exif=exif)
    samples = samples_of(tmp_path / "set", [image], payloads=[("jpg", stream.getvalue())])
    renderer = renderer_of(samples, size=64, pixels=False)
    found = renderer.submit(identity([0]), done([memoryview(stream.getvalue())])).result()[0, 0, 0].numpy()
    renderer.close()
    np.testing.assert_array_equal(found, corner(decode(memoryview(stream.getvalue())), 64))


def test_any_batch_size_gives_the_same_pixels(tmp_path):
    """Alone, in batches of 1 to 32 in any order of sizes, twice: an image's views are the same to the bit."""
    images = noise_images(64, low=30, high=90)
    samples = samples_of(tmp_path / "set", images)
    rng = np.random.default_rng(0)
    maps = rng.uniform(-0.2, 0.2, (64, 2, 2, 3)) + np.eye(2, 3)
    step = Step(np.arange(64), np.arange(64), rng.integers(0, 2, (64, 2)), maps)
    renderer = renderer_of(samples, views=2, most=1)
    whole = renderer.submit(step, done(images)).result()
    waiting, start = [], 0
    for size in (1, 32, 5, 0, 7, 19):
        waiting.append(renderer.submit(step.part(start, start + size), done(images[start : start + size])))
        start += size
    assert torch.equal(torch.cat([one.result() for one in waiting]), whole)
    assert torch.equal(renderer.submit(step, done(images)).result(), whole)
    renderer.close()


def test_views_are_within_a_level_of_the_reference(tmp_path):
    """Rows of 300 pixels and more, where single precision shows most: every pixel within 1."""
    images = noise_images(6, low=290, high=420)
    rng = np.random.default_rng(1)
    maps = np.tile(np.eye(2, 3), (6, 1, 1, 1)) * 1.1 + rng.uniform(-0.1, 0.1, (6, 1, 2, 3))
    back = back_maps(maps[:, 0], np.zeros(6))[:, None]
    step = Step(np.arange(6), np.arange(6), np.zeros((6, 1), dtype=np.int64), back)
    renderer = renderer_of(samples_of(tmp_path / "set", images), size=400)
    found = renderer.submit(step, done(images)).result().numpy()
    renderer.close()
    for row, image in enumerate(images):
        assert np.abs(found[row, 0, 0] - render(image, maps[row, 0], 400)).max() <= 1.0


def test_a_batch_of_none_is_empty(tmp_path):
    """A rank that gets no image of a batch gets an empty tensor of the right shape."""
    renderer = renderer_of(samples_of(tmp_path / "set", noise_images(1)), views=3)
    found = renderer.submit(identity([], views=3), done([])).result()
    assert (found.shape, found.dtype) == ((0, 3, 1, 48, 48), torch.uint8)
    renderer.close()


def test_more_halvings_than_announced_are_met(tmp_path):
    """A batch that asks for more than `most_halvings` gets them, and so does the one after."""
    images = noise_images(3)
    renderer = renderer_of(samples_of(tmp_path / "set", images))
    step = Step(np.arange(3), np.arange(3), np.full((3, 1), 2), np.tile(np.eye(2, 3), (3, 1, 1, 1)))
    for _ in range(2):
        found = renderer.submit(step, done(images)).result().numpy()
        for row, image in enumerate(images):
            np.testing.assert_array_equal(found[row, 0, 0], corner(halve(halve(image)), 48))
    renderer.close()


@pytest.mark.parametrize("pixels", [False, True])
def test_damage_is_named_and_the_next_batch_is_whole(tmp_path, pixels):
    """Text, a truncated header, another size, a sample that could not be read: named; batches around are untouched."""
    images = noise_images(12)
    blobs = [memoryview(encoded(image, "png")[1]) for image in images]
    samples = samples_of(tmp_path / "set", images)
    samples.width[9] += 1
    renderer = renderer_of(samples, pixels=pixels)
    good = renderer.submit(identity(range(3)), done(blobs[:3])).result().clone()
    bad = [
        ([blobs[0], memoryview(b"not an image"), blobs[2]], [0, 1, 2], "phantom-00001 .*cannot decode"),
        ([blobs[0], blobs[1], blobs[2][:20]], [0, 1, 2], "phantom-00002 .*cannot decode"),
        (blobs[8:10], [8, 9], "phantom-00009 .*pixels, the manifest says"),
        ([blobs[0], DamagedSample("lost on the way")], [0, 1], "lost on the way"),
    ]
    for payloads, rows, words in bad:
        broken = renderer.submit(identity(rows), done(payloads))
        after = renderer.submit(identity(range(3)), done(blobs[:3]))
        with pytest.raises(DamagedSample, match=words):
            broken.result()
        assert torch.equal(after.result(), good)
    renderer.close()


def test_an_error_without_a_culprit_is_told_in_dalis_words(tmp_path):
    """What OpenCV decodes and DALI does not (a Sun raster) is nobody's damage; the next batch has a new graph."""
    image = noise_images(1)[0]
    blobs = [memoryview(encoded(image, "png")[1]), memoryview(cv2.imencode(".ras", image)[1].tobytes())]
    renderer = renderer_of(samples_of(tmp_path / "set", [image, image]), pixels=False)
    with pytest.raises(LoaderError, match="DALI cannot render a batch of 2 images on cpu: nvImageCodec"):
        renderer.submit(identity(range(2)), done(blobs)).result()
    found = renderer.submit(identity([0]), done(blobs[:1])).result()
    np.testing.assert_array_equal(found[0, 0, 0].numpy(), corner(image, 48))
    renderer.close()


def test_closing_leaves_nothing(tmp_path):
    """Idempotent; threads of Python and of DALI are gone, also after an error that is still held; no shared memory."""
    images = noise_images(8)
    samples = samples_of(tmp_path / "set", images)
    blobs = [memoryview(encoded(image, "png")[1]) for image in images]
    renderer = renderer_of(samples, pixels=False)
    renderer.submit(identity(range(8)), done(blobs)).result()
    renderer.close()  # threads that DALI starts once a process, and keeps, are there from now on
    before, ours, files = native_threads(), set(threading.enumerate()), shared_memory()
    held = []
    for _ in range(3):
        one, two = renderer_of(samples, pixels=False), renderer_of(samples)
        assert torch.equal(*(r.submit(identity(range(8)), done(blobs)).result() for r in (one, two)))
        with pytest.raises(DamagedSample) as caught:
            one.submit(identity([0, 1]), done([blobs[0], memoryview(b"text")])).result()
        held.append(caught)
        for renderer in (one, two, one, two):
            renderer.close()
    assert ends_with(before)
    assert set(threading.enumerate()) <= ours
    assert shared_memory() <= files


def test_tensors_outlive_the_renderer(tmp_path):
    """What was handed out stays as it is while later batches are made and after closing; no two share memory."""
    images = noise_images(16)
    renderer = renderer_of(samples_of(tmp_path / "set", images))
    held = [renderer.submit(identity([row]), done([images[row]])).result() for row in range(16)]
    renderer.close()
    assert len({tensor.data_ptr() for tensor in held}) == 16
    for tensor, image in zip(held, images, strict=True):
        np.testing.assert_array_equal(tensor[0, 0, 0].numpy(), corner(image, 48))


def test_what_was_not_begun_is_cancelled(tmp_path, caplog):
    """Closing while the first batch waits for its bytes: once they fail, all futures end, one cancelled before too."""
    renderer = renderer_of(samples_of(tmp_path / "set", noise_images(4)))
    reading = Future()
    first, second, third = (renderer.submit(identity([row]), reading) for row in range(3))
    assert third.cancel()
    closing = threading.Thread(target=renderer.close)
    closing.start()
    with pytest.raises(CancelledError):
        second.result(timeout=30)
    reading.cancel()
    with pytest.raises(CancelledError):
        first.result(timeout=30)
    closing.join(30)
    assert not closing.is_alive()
    assert third.cancelled()
    assert not caplog.records  # a callback that raises is logged, and nothing else


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from cxrfast import Loader, Sequential, ShardSet, ViewSpec
shards = ShardSet.open(sys.argv[2])
loader = Loader(shards, views=[ViewSpec.plain()], size=32, batch_size=8, seed=0, order=Sequential(), backend="dali")
batches = loader.epoch(0)
held = [next(batches), next(batches)]
print(held[1].images.shape)
"""


def test_a_process_ends_with_an_epoch_half_way(tmp_path):
    """Nobody closes anything: the interpreter ends all the same, with status 0 and without a word."""
    open_set(tmp_path / "set", noise_images(40))
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parents[2]), str(tmp_path / "set")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "torch.Size([8, 1, 1, 32, 32])\n"
