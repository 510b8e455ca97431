"""JPEGs that are decoded at a reduced scale: the same picture, sides and orientation as from a full decode."""

import numpy as np
import pytest
from pictures import encoded, scene
from PIL import Image

from cxrfast.errors import ImageRejected
from cxrfast.imaging import plain_gray_codec, read_gray, read_resized, shrink

MODES = [("L", {}), ("RGB", {}), ("CMYK", {}), ("L", {"progressive": True}), ("RGB", {"subsampling": 0})]


def decibels(one, other):
    """Return the PSNR of two uint8 images, infinite where they are equal."""
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return 10 * np.log10(255**2 / error) if error else np.inf


def photograph(height, width, mode="L", orientation=1, **options):
    """Return the bytes of a JPEG of the scene."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(scene(height, width)).convert("RGB").convert(mode)
    return encoded(image, "JPEG", quality=95, exif=exif, **options)


@pytest.mark.parametrize(("mode", "options"), MODES)
@pytest.mark.parametrize(("height", "width"), [(700, 533), (401, 801), (333, 97)])
def test_a_reduced_decode_gives_the_same_picture(mode, options, height, width):
    """For limits that reduce by 1 to 8: the sides of a full decode shrunk, and within 38 dB of it."""
    data = photograph(height, width, mode, **options)
    full = read_gray(data)
    for long_side in (0, 16, 40, 64, 130, 200, 300, 500, 2000):
        small, sides = read_resized(data, long_side=long_side)
        expected = shrink(full, long_side)
        assert sides == (height, width)
        assert small.shape == expected.shape
        assert decibels(small, expected) >= 38, long_side


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_holds_at_every_scale(orientation):
    """Turned and mirrored as at full size, the sides that are told being those of the upright image."""
    data = photograph(350, 241, orientation=orientation)
    full = read_gray(data)
    for long_side in (0, 30, 60, 120, 300):
        small, sides = read_resized(data, long_side=long_side)
        assert sides == full.shape
        assert small.shape == shrink(full, long_side).shape
        assert decibels(small, shrink(full, long_side)) >= 38


def test_too_few_pixels_are_never_decoded():
    """A reduced image has at least 1.25 times the wanted pixels: up to 2.5 times the target, the decode is full."""
    for longer in range(100, 260, 7):
        data = photograph(longer, 80)
        assert np.array_equal(read_resized(data, long_side=100)[0], shrink(read_gray(data), 100))


def test_a_damaged_file_is_rejected_at_every_scale():
    """A reduced decode is as strict as a full one."""
    data = photograph(700, 533)
    for cut in range(0, len(data) - 1, len(data) // 40):
        with pytest.raises(ImageRejected):
            read_resized(data[:cut], long_side=60)
    with pytest.raises(ImageRejected, match="too-large"):
        read_resized(data, long_side=60, max_pixels=700 * 533 - 1)


def test_stretching_needs_the_whole_image():
    """The one bright pixel of a large image decides its range, whatever the target."""
    gray = np.full((800, 600), 100, dtype=np.uint8)
    gray[400:, :] = 120
    gray[8:24, 8:24] = 255
    small, _ = read_resized(encoded(Image.fromarray(gray), "PNG"), long_side=100, stretch=True)
    assert (small[60, 50], small[40, 50]) == (33, 0)


def test_what_is_gray_already_is_told_from_what_is_not():
    """One component, 8 bits, upright."""
    assert plain_gray_codec(photograph(50, 40)) == "jpeg"
    assert plain_gray_codec(photograph(50, 40, progressive=True)) == "jpeg"
    assert plain_gray_codec(encoded(Image.fromarray(scene()), "PNG")) == "png"
    for data in (photograph(50, 40, "RGB"), photograph(50, 40, orientation=3), b"GIF89a"):
        assert plain_gray_codec(data) is None


def test_real_originals_keep_their_quality(real_data):
    """At 512: a median of 45 dB against a full decode and area means, none under 38 (235 images, 22 progressive)."""
    paths = sorted(real_data.glob("kermany_orig/**/*.jpeg"))
    assert len(paths) == 235
    found = []
    for path in paths:
        data = path.read_bytes()
        found.append(decibels(read_resized(data, long_side=512)[0], shrink(read_gray(data), 512)))
    reduced = [value for value in found if np.isfinite(value)]
    assert len(reduced) > 50
    assert np.median(reduced) >= 45
    assert min(reduced) >= 38
