"""The orientation tag: found in either byte order and type, and never a reason to fail."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pictures import GRAY

from cxrfast.imaging.exif import orientation, upright


def tiff(order, *entries, start=8):
    """Return a TIFF block of one directory of (tag, type, value) entries."""
    mark = b"II" if order == "<" else b"MM"
    block = mark + struct.pack(f"{order}HI", 42, start) + bytes(start - 8) + struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        packed = struct.pack(f"{order}{'H' if kind == 3 else 'I'}", value)
        block += struct.pack(f"{order}HHI", tag, kind, 1) + packed.ljust(4, b"\0")
    return block


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_the_tag_is_found_among_others(kind, order):
    """In both byte orders, as a short or a long, wherever the directory lies; impossible values count as upright."""
    for value in range(12):
        block = tiff(order, (0x010F, 3, 7), (0x0112, kind, value), (0x0128, 3, 2), start=20)
        assert orientation(block) == (value if 1 <= value <= 8 else 1)
    assert orientation(tiff(order, (0x010F, 3, 6))) == 1


@given(st.binary(max_size=60))
@example(tiff("<", (0x0112, 3, 6))[:-1])
@example(b"II*\0\xff\xff\xff\xff")
def test_damaged_blocks_are_upright(block):
    """Whatever stands there, no error comes out."""
    assert 1 <= orientation(block) <= 8
    assert 1 <= orientation(b"II*\0" + block) <= 8


@pytest.mark.parametrize("turn", range(1, 9))
def test_sides_swap_from_5_on_and_nothing_is_lost(turn):
    """Four turns or mirrorings at most bring an image back."""
    turned = upright(GRAY, turn)
    assert turned.shape == (GRAY.shape[::-1] if turn >= 5 else GRAY.shape)
    back = {6: 8, 8: 6}.get(turn, turn)
    assert (upright(turned, back) == GRAY).all()
