import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrfast.learning.queue import NegativeQueue


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 9), batches=st.lists(st.integers(0, 25), max_size=8))
def test_the_queue_is_a_ring_for_any_batch_size(size, batches):
    """After any sequence of batches, larger than the queue too, each slot holds what a plain ring would hold."""
    queue = NegativeQueue(size, 3, seed=1)
    ring, place, value = queue.keys.clone(), 0, 0.0
    for count in batches:
        keys = torch.arange(count * 3, dtype=torch.float32).view(count, 3) + value
        value += 1000
        queue.enqueue(keys)
        for key in keys:
            ring[place], place = key, (place + 1) % size
    assert torch.equal(queue.keys, ring)
    assert int(queue.pointer) == place


def test_a_queue_goes_on_from_its_state():
    """Keys and pointer are in the state dict: a queue restored midway ends as the one that was not."""
    straight, broken = NegativeQueue(7, 4, seed=1), NegativeQueue(7, 4, seed=1)
    batches = [torch.randn(5, 4) for _ in range(4)]
    for keys in batches:
        straight.enqueue(keys)
    for keys in batches[:2]:
        broken.enqueue(keys)
    resumed = NegativeQueue(7, 4, seed=2)
    resumed.load_state_dict(broken.state_dict())
    for keys in batches[2:]:
        resumed.enqueue(keys)
    assert torch.equal(resumed.keys, straight.keys)
    assert torch.equal(resumed.pointer, straight.pointer)


def test_a_queue_starts_as_seeded_unit_vectors():
    """The first negatives have length 1, depend on the seed alone, and leave the global generator as it was."""
    before = torch.get_rng_state()
    a, b, c = (NegativeQueue(50, 8, seed=s).keys for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(a.norm(dim=1), torch.ones(50))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_half_precision_keys_are_kept_as_float32():
    """Keys that come in 16 bits are widened; the queue stays float32."""
    queue = NegativeQueue(4, 2, seed=0)
    queue.enqueue(torch.ones(2, 2, dtype=torch.bfloat16))
    assert queue.keys.dtype == torch.float32
    assert torch.equal(queue.keys[:2], torch.ones(2, 2))
