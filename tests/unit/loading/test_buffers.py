from hypothesis import given
from hypothesis import strategies as st

from cxrfast.loading.buffers import Buffers


@given(st.lists(st.integers(0, 300_000), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_a_buffer_is_lent_to_one_at_a_time(sizes, random):
    """Each holds what was asked for, and none is handed out again before it was given back."""
    buffers, lent = Buffers(), []
    for size in sizes:
        buffer = buffers.take(size)
        assert len(buffer) >= size
        assert all(buffer is not other for other in lent)
        lent.append(buffer)
        if random.random() < 0.6:
            buffers.give(lent.pop(random.randrange(len(lent))))


def test_memory_is_used_again_and_not_hoarded():
    """A size that comes again takes the same memory; a small one does not hold a large one; few are kept."""
    buffers = Buffers()
    first = buffers.take(1_000_000)
    buffers.give(first)
    assert buffers.take(990_000) is first
    buffers.give(first)
    assert buffers.take(1000) is not first
    many = [buffers.take(500_000) for _ in range(30)]
    for buffer in many:
        buffers.give(buffer)
    assert sum(any(buffers.take(500_000) is other for other in many) for _ in range(30)) <= 8
