import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import encoded, noise_images, open_set

from cxrfast.errors import DamagedSample
from cxrfast.loading.dali_graph import strips
from cxrfast.loading.dali_inputs import damaged, geometry
from cxrfast.loading.render_opencv import halved
from cxrfast.loading.samples import Samples
from cxrfast.loading.steps import Step


def step_of(count, views, *, halvings=0, seed=0):
    """Return a step of random maps."""
    maps = np.random.default_rng(seed).uniform(-0.2, 0.2, (count, views, 2, 3)) + np.eye(2, 3)
    maps[..., 2] *= 300
    return Step(np.arange(count), np.arange(count), np.full((count, views), halvings, dtype=np.int64), maps)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 224, 400])
def test_strips_cover_each_column_once(size):
    """Laid side by side, the strips are the view; on a GPU there is one."""
    found = strips(size, device="cpu")
    assert [column for start, width in found for column in range(start, start + width)] == list(range(size))
    assert strips(size, device="cuda") == [(0, size)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_maps_lead_back_from_output_to_source(count, views, strip, seed):
    """An output place leads to the same source place as in `maps`, its column counting from where its strip begins."""
    step = step_of(count, views, seed=seed)
    samples = SimpleNamespace(height=np.ones(count, dtype=np.int64), width=np.ones(count, dtype=np.int64))
    starts = [64 * number for number in range(strip + 1)]
    inputs = geometry(step, samples, most_halvings=0, starts=starts)
    output = np.array([137.0, 81.0, 1.0])
    for view in range(views):
        found = inputs[f"map_{view}_{strip}"] @ (output - [starts[strip], 0, 0])
        np.testing.assert_allclose(found, step.maps[:, view] @ output, atol=2e-3)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 4), st.integers(0, 2))
def test_sizes_are_those_of_repeated_halving(height, width, count, spare):
    """Sizes after each step are those that `halved` gives, an odd edge passed by one; spare steps change nothing."""
    samples = SimpleNamespace(height=np.array([height]), width=np.array([width]))
    step = Step(
        np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64), np.full((1, 1), count), np.eye(2, 3)[None, None]
    )
    inputs = geometry(step, samples, most_halvings=count + spare, starts=[0])
    image = np.zeros((height, width), dtype=np.uint8)
    for level in range(count + spare):
        before, image = image.shape, halved(image) if level < count else image
        assert inputs[f"size_0_{level}"].tolist() == [list(image.shape)]
        end = [2 * side for side in image.shape] if level < count else list(before)
        assert inputs[f"end_0_{level}"].tolist() == [end]


def test_who_is_to_blame_is_named(tmp_path):
    """Whatever does not decode or has another size is told with its place; sound bytes and pixels are not."""
    images = noise_images(4)
    samples = Samples(open_set(tmp_path / "set", images))
    sound = [memoryview(encoded(image, "png")[1]) for image in images[:2]] + images[2:]
    rows = np.arange(4)
    assert not damaged(sound, rows, samples)
    bad = [memoryview(b"no image"), DamagedSample("as it came"), np.zeros((2, 1), dtype=np.uint8)]
    found = damaged([sound[0], *bad], rows, samples)
    assert [index for index, _ in found] == [1, 2, 3]
    words = [str(error) for _, error in found]
    assert re.search(r"phantom-00001 .*cannot decode it: pack again", words[0])
    assert words[1] == "as it came"
    assert re.search(r"phantom-00003 .*it is 1 x 2 pixels, the manifest says \d+ x \d+", words[2])


@pytest.mark.parametrize(("codecs", "arrays"), [(["jpeg", "png"], False), (["raw"], True), (["jpeg", "raw"], True)])
def test_a_set_that_holds_arrays_is_told_by_their_size(tmp_path, codecs, arrays):
    """One raw image among others is enough for a set to be fed as pixels."""
    images = [*noise_images(12), np.zeros((1, 1), dtype=np.uint8), np.zeros((3000, 7), dtype=np.uint8)]
    payloads = [encoded(image, codecs[number % len(codecs)]) for number, image in enumerate(images)]
    assert Samples(open_set(tmp_path / "set", images, payloads=payloads)).holds_arrays() is arrays
