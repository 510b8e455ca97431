"""JPEGs of each kind say what they are in their bytes, and all show the same picture."""

import itertools

import cv2
import numpy as np
import pytest
from PIL import Image

from cxrfast.imaging import read_gray
from cxrfast.phantom import jpeg

KINDS = ("colour", "progressive", "adobe", "turned")


@pytest.mark.parametrize("chosen", list(itertools.product((False, True), repeat=4)))
def test_every_kind_is_what_it_says_and_shows_the_picture(chosen, tmp_path):
    """Another library finds mode, progression, Adobe's segment and orientation; our reader finds the picture."""
    kind = dict(zip(KINDS, chosen, strict=True))
    rng = np.random.default_rng(0)
    gray = cv2.resize(rng.integers(0, 256, (6, 5), dtype=np.uint8), (75, 90), interpolation=cv2.INTER_CUBIC)
    path = tmp_path / "x.jpeg"
    path.write_bytes(jpeg.encode(gray, **kind))
    with Image.open(path) as image:
        assert image.mode == ("RGB" if kind["colour"] else "L")
        assert ("progressive" in image.info) == kind["progressive"]
        assert ("adobe" in image.info) == kind["adobe"]
        assert image.getexif().get(0x0112) == (jpeg.TURNED if kind["turned"] else None)
        assert image.size == ((90, 75) if kind["turned"] else (75, 90))
    assert np.abs(read_gray(path.read_bytes()).astype(int) - gray).mean() < 2
