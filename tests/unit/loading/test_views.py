import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrfast.chance import hash_keys
from cxrfast.errors import LoaderError
from cxrfast.loading.views import ViewSpec, back_maps, halvings, matrices, most_halvings

SPECS = [ViewSpec.paper(), ViewSpec.simclr(), ViewSpec.plain()]
MANY = 20_000


def draw(spec, widths, heights, *, size=224, seed=1, epoch=0, keys=None, view=0):
    widths, heights = np.atleast_1d(widths), np.atleast_1d(heights)
    keys = hash_keys(f"image-{i}" for i in range(len(widths))) if keys is None else keys
    return matrices(spec, widths=widths, heights=heights, size=size, seed=seed, epoch=epoch, keys=keys, view=view)


def many(spec, width, height, **settings):
    return draw(spec, np.full(MANY, width), np.full(MANY, height), **settings)


def looks_uniform(values, low, high):
    """Kolmogorov-Smirnov distance to U(low, high) below the 1e-6 quantile; inputs are fixed, so it never flickers."""
    unit = np.sort((values - low) / (high - low))
    assert unit[0] >= -1e-9
    assert unit[-1] <= 1 + 1e-9
    steps = np.arange(1, len(unit) + 1) / len(unit)
    return np.abs(unit - steps).max() < 2.7 / np.sqrt(len(unit))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([32, 64, 224, 320]))
def test_plain_maps_the_padded_square_exactly(width, height, size):
    """The corners of the square that the padded image fills become the corners of the output, odd differences too."""
    (linear, offset) = np.split(draw(ViewSpec.plain(), width, height, size=size)[0], [2], axis=1)
    side, left, top = max(width, height), (width - max(width, height)) / 2, (height - max(width, height)) / 2
    corners = np.array([[left, top], [left + side, top], [left, top + side], [left + side, top + side]])
    expected = np.array([[0, 0], [size, 0], [0, size], [size, size]])
    np.testing.assert_allclose(corners @ linear.T + offset.T, expected, atol=1e-9 * size)


def test_paper_draws_what_the_study_drew():
    """Rotation U(-15, 15) degrees, shifts U(-5 %, 5 %), scale U(0.95, 1.05) and flips of one half, independent."""
    width, height, size = 300, 200, 224
    maps = many(ViewSpec.paper(), width, height)
    linear = maps[:, :, :2].copy()
    flipped = np.linalg.det(linear) < 0
    assert abs(flipped.mean() - 0.5) < 0.02
    linear[flipped, 0] *= -1
    angle = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    scale = np.sqrt(np.linalg.det(linear)) * width / size
    middle = maps[:, :, :2] @ [width / 2, height / 2] + maps[:, :, 2]
    shift = (middle - size / 2) * np.where(flipped[:, None], [-1, 1], [1, 1]) / size
    assert looks_uniform(angle, -15, 15)
    assert looks_uniform(scale, 0.95, 1.05)
    assert looks_uniform(shift[:, 0], -0.05, 0.05)
    assert looks_uniform(shift[:, 1], -0.05, 0.05)
    drawn = np.corrcoef([angle, scale, *shift.T, flipped])
    assert np.abs(drawn - np.eye(5)).max() < 0.03


@pytest.mark.parametrize(("width", "height"), [(300, 300), (390, 320), (200, 500), (100, 99)])
def test_simclr_crops_lie_inside_and_are_uniform_in_area_and_place(width, height):
    """The crop is a square of U(0.08, what fits) of the area, anywhere inside the unpadded image."""
    size = 224
    maps = many(ViewSpec.simclr(), width, height)
    side = size / np.sqrt(np.abs(np.linalg.det(maps[:, :, :2])))
    back = np.linalg.inv(maps[:, :, :2])
    middle = np.einsum("nij,nj->ni", back, size / 2 - maps[:, :, 2])
    low = middle - side[:, None] / 2
    assert (low > -1e-6).all()
    assert (low + side[:, None] < np.array([width, height]) + 1e-6).all()
    area = side**2 / (width * height)
    assert looks_uniform(area, 0.08, min(width, height) / max(width, height))
    for axis, length in enumerate((width, height)):
        free = length - side
        inside = free > 1e-6
        assert looks_uniform(low[inside, axis] / free[inside], 0, 1)


def test_simclr_equals_drawing_again_until_a_crop_fits():
    """Torchvision's way, rejection of crops that do not fit, has the same distribution of areas."""
    width, height = 400, 300
    drawn = np.random.default_rng(0).uniform(0.08, 1, 10 * MANY)
    kept = drawn[np.sqrt(drawn * width * height) <= min(width, height)][:MANY]
    side = 224 / np.sqrt(np.abs(np.linalg.det(many(ViewSpec.simclr(), width, height)[:, :, :2])))
    area = side**2 / (width * height)
    assert np.abs(np.sort(area) - np.sort(kept)).max() < 0.02


@pytest.mark.parametrize(("width", "height"), [(1, 50), (50, 1), (1000, 30)])
def test_an_image_too_narrow_for_the_smallest_crop_gives_its_largest_square(width, height):
    """Where even 8 % of the area does not fit as a square, the crop is as wide as the image, anywhere along it."""
    maps = many(ViewSpec.simclr(), width, height)
    side = 224 / np.sqrt(np.abs(np.linalg.det(maps[:, :, :2])))
    np.testing.assert_allclose(side, min(width, height))
    assert np.isfinite(maps).all()


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from(SPECS))
def test_a_view_depends_on_its_own_image_alone(data, spec):
    """Any subset of a batch, in any order, has the same maps: batch size, ranks and threads cannot show."""
    rng = np.random.default_rng(0)
    widths, heights = rng.integers(1, 600, (2, 50))
    keys = hash_keys(f"k{i}" for i in range(50))
    whole = draw(spec, widths, heights, keys=keys, seed=3, epoch=4, view=1)
    some = np.array(data.draw(st.lists(st.integers(0, 49), min_size=1, max_size=20)))
    part = draw(spec, widths[some], heights[some], keys=keys[some], seed=3, epoch=4, view=1)
    np.testing.assert_array_equal(part, whole[some])


@pytest.mark.parametrize("spec", SPECS[:2])
@pytest.mark.parametrize("change", [{"seed": 2}, {"epoch": 1}, {"view": 1}])
def test_another_seed_epoch_or_view_is_another_draw(spec, change):
    """Nearly all of 100 images get another map, and seed 0, epoch 1 is not seed 1, epoch 0."""
    base = {"seed": 1, "epoch": 0, "view": 0}
    sides = np.full(100, 300)
    one, other = draw(spec, sides, sides, **base), draw(spec, sides, sides, **(base | change))
    assert (np.abs(one - other).max(axis=(1, 2)) > 1e-6).all()
    crossed = draw(spec, sides, sides, seed=0, epoch=1), draw(spec, sides, sides, seed=1, epoch=0)
    assert (np.abs(crossed[0] - crossed[1]).max(axis=(1, 2)) > 1e-6).all()


def test_the_draws_are_pinned():
    """A format is a promise: the map of this image in this epoch is what it was in the first release."""
    found = draw(ViewSpec.paper(), 390, 320, keys=hash_keys(["kermany-1"]), seed=1234, epoch=5, view=1)[0]
    pinned = [
        [0.5714169125645331, 0.03551399910784312, -3.1064108552559446],
        [-0.03551399910784312, 0.5714169125645331, 36.73867002886493],
    ]
    np.testing.assert_allclose(found, pinned, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("scale", "count"), [(2, 0), (1, 0), (0.51, 0), (0.5, 1), (0.3, 1), (0.25, 2), (0.2, 2), (0.125, 3), (1 / 1000, 9)]
)
def test_sources_are_halved_while_the_scale_is_at_most_one_half(scale, count):
    """The rule is exact at powers of two, and what is left is a scale above 1/2; a flip changes nothing."""
    for sign in (1, -1):
        maps = np.array([[[sign * scale, 0, 5.0], [0, scale, 7.0]]])
        assert halvings(maps).tolist() == [count]
        left = np.sqrt(np.abs(np.linalg.det(back_maps(maps, halvings(maps))[:, :, :2])))
        assert left[0] < 2


def test_halving_leaves_where_things_land():
    """From where a point of the stored image lands, the map back leads to a quarter of it, halved twice."""
    maps = many(ViewSpec.paper(), 1500, 1100)[:50]
    counts = halvings(maps)
    assert set(counts.tolist()) == {2}
    point = np.array([640.0, 333.0])
    there = maps[:, :, :2] @ point + maps[:, :, 2]
    back = back_maps(maps, counts)
    np.testing.assert_allclose((back[:, :, :2] @ there[..., None])[..., 0] + back[:, :, 2], np.tile(point / 4, (50, 1)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame": "stretch"},
        {"rotation": float("nan")},
        {"shift": float("inf")},
        {"area": (0.0, 1.0)},
        {"area": (0.5, 1.5)},
        {"scale": (1.1, 0.9)},
        {"flip": 2.0},
    ],
)
def test_a_spec_that_means_nothing_is_refused(wrong):
    """The error names the field."""
    with pytest.raises(LoaderError, match=next(iter(wrong))):
        ViewSpec(**wrong)


RANGES = [
    *SPECS,
    ViewSpec(scale=(0.3, 2.0), rotation=180.0, shift=0.4),
    ViewSpec(frame="crop", area=(0.01, 0.3), scale=(0.5, 0.5), flip=1.0),
]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(RANGES),
    st.lists(st.tuples(st.integers(1, 6000), st.integers(1, 6000)), min_size=1, max_size=4),
    st.sampled_from([7, 64, 224, 320]),
    st.integers(0, 99),
)
def test_no_draw_asks_for_more_halvings_than_announced(spec, sides, size, seed):
    """Whatever the sizes and ranges, thousands of draws stay within `most_halvings` of the whole set."""
    widths, heights = np.array(sides * 500).T
    most = most_halvings(spec, widths=widths, heights=heights, size=size)
    assert halvings(draw(spec, widths, heights, size=size, seed=seed)).max() <= most


@pytest.mark.parametrize("spec", RANGES)
@pytest.mark.parametrize("side", [100, 1000, 4000])
def test_what_is_announced_is_asked_for(spec, side):
    """The bound is no guess: among many draws of a square image some need it, where it is not met by a hair alone."""
    most = most_halvings(spec, widths=np.array([side]), heights=np.array([side]), size=224)
    assert halvings(many(spec, side, side)).max() == most


def test_half_the_size_is_halved_once():
    """448 pixels to 224, at every rotation: rounding makes no second halving of it, and announces none."""
    spec = ViewSpec(rotation=180.0)
    assert most_halvings(spec, widths=np.array([448]), heights=np.array([448]), size=224) == 1
    assert halvings(many(spec, 448, 448)).max() == 1
