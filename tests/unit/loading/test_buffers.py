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


def test_memory_is_used_again():
    """A request takes the smallest free buffer that holds it: one of its size, else a larger one, else a new one."""
    buffers = Buffers()
    large, small = buffers.take(1_000_000), buffers.take(200_000)
    buffers.give(large)
    buffers.give(small)
    assert buffers.take(150_000) is small
    assert buffers.take(150_000) is large
    assert len(buffers.take(150_000)) < 300_000


def test_lanes_that_begin_with_shorter_blocks_need_no_new_memory_in_the_next_epoch():
    """Blocks of a quarter to one share, then of one share each, take the same memory in every epoch."""
    buffers, seen = Buffers(), set()
    for epoch in range(5):
        lent = [buffers.take(1_000_000 * (lane + 1) // 4) for lane in range(4)]
        for turn in range(12):
            buffers.give(lent.pop(0))
            lent.append(buffers.take(1_000_000))
            if epoch:
                assert id(lent[-1].obj) in seen, turn
            seen.add(id(lent[-1].obj))
        for buffer in lent:
            buffers.give(buffer)
    assert len(seen) <= 5


def test_no_more_is_kept_than_allowed():
    """What is over the limit goes, the smallest first."""
    buffers = Buffers(kept=2_000_000)
    lent = [buffers.take(size) for size in (100_000, 900_000, 900_000, 500_000)]
    for buffer in lent:
        buffers.give(buffer)
    assert buffers._left >= 0
    again = [buffers.take(1000) for _ in range(2)]
    assert {len(buffer) for buffer in again} == {len(lent[1])}
