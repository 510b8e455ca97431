from zlib import crc32

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrfast.packing.crc import flipped_bit, joined


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.binary(max_size=3000), st.binary(max_size=3000)), min_size=1, max_size=5))
def test_joined_is_the_crc_of_the_joined_bytes(pairs):
    """For any two parts, empty ones too, the CRCs of the parts give the CRC of the whole."""
    first, second = (np.array([crc32(pair[side]) for pair in pairs], dtype=np.uint32) for side in (0, 1))
    lengths = np.array([len(pair[1]) for pair in pairs], dtype=np.int64)
    assert joined(first, second, lengths).tolist() == [crc32(a + b) for a, b in pairs]


def test_joined_over_long_parts():
    """Lengths of more than one byte, and of more than two, take the higher powers."""
    tail = bytes(70_001)
    for count in (255, 256, 257, 65_535, 65_536, 70_001):
        made = joined(
            np.array([crc32(b"head")], np.uint32), np.array([crc32(tail[:count])], np.uint32), np.array([count])
        )
        assert made.tolist() == [crc32(b"head" + tail[:count])]


@settings(deadline=None, max_examples=40)
@given(st.binary(min_size=1, max_size=4000), st.data())
def test_a_flipped_bit_is_found(content, data):
    """Wherever one bit flips, its byte is named."""
    at, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    damaged = bytearray(content)
    damaged[at] ^= 1 << bit
    assert flipped_bit(crc32(content), crc32(damaged), len(content)) == at


def test_a_flipped_bit_is_found_beyond_the_first_stretch():
    """The search goes through long payloads in stretches."""
    content = bytearray(np.random.default_rng(0).bytes(200_000))
    before = crc32(content)
    content[150_000] ^= 16
    assert flipped_bit(before, crc32(content), len(content)) == 150_000


def test_other_damage_is_not_called_a_flipped_bit():
    """Two flipped bytes, or none, have no such place."""
    content = bytearray(np.random.default_rng(0).bytes(5000))
    before = crc32(content)
    content[10] ^= 0xFF
    content[4000] ^= 0x18
    assert flipped_bit(before, crc32(content), len(content)) is None
    assert flipped_bit(before, before, len(content)) is None
