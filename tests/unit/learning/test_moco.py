import copy

import pytest
import torch
from torch.nn.functional import normalize
from unit.learning.fakes import FakeFeed, same_bits, snapshot, tiny

from cxrfast.errors import TrainingError
from cxrfast.learning.losses import info_nce
from cxrfast.learning.method import Step
from cxrfast.learning.moco import Moco, MocoSettings

SETTINGS = MocoSettings(dim=8, queue=20, momentum=0.9, temperature=0.2)
STEP = Step(0, 10)


def make(settings=SETTINGS, seed=1):
    return Moco(settings, start="random", seed=seed, make_encoder=tiny).double()


def batches(count=3):
    feed = FakeFeed(size=8 * count, views=2)
    return [(batch.images, batch.labels) for batch in feed.epoch(0)]


def test_defaults_are_the_studys():
    """MocoSettings() is MoCo as the study ran it: linear head, T 0.07, 65,536 negatives, momentum 0.999."""
    plain = MocoSettings()
    assert (plain.head, plain.temperature, plain.queue) == ("linear", 0.07, 65_536)
    assert (plain.momentum, plain.dim) == (0.999, 128)


def test_both_encoders_start_equal_and_only_the_query_learns():
    """The key encoder is a copy of the query encoder, without gradients."""
    moco = make()
    assert same_bits(moco.query.state_dict(), moco.key.state_dict())
    assert all(p.requires_grad for p in moco.query.parameters())
    assert not any(p.requires_grad for p in moco.key.parameters())


def test_a_step_is_query_momentum_key_loss_enqueue():
    """Three steps equal algorithm 1 of the MoCo paper written out: losses, key encoder, running statistics, queue."""
    moco = make()
    moco.train()
    query, key, queue = copy.deepcopy(moco.query), copy.deepcopy(moco.key), moco.queue.keys.clone()
    ours, theirs = (torch.optim.SGD(m.parameters(), lr=0.5) for m in (moco.query, query))
    for number, (images, labels) in enumerate(batches()):
        loss = moco(images, labels, Step(number, 3))
        loss.backward()
        ours.step(), ours.zero_grad()
        moco.after_step(Step(number, 3))

        q = normalize(query(images[:, 0]), dim=1)
        with torch.no_grad():
            for mine, its in zip(key.parameters(), query.parameters(), strict=True):
                mine.mul_(0.9).add_(0.1 * its)
            k = normalize(key(images[:, 1]), dim=1)
        expected = info_nce(q, k, queue, 0.2)
        expected.backward()
        theirs.step(), theirs.zero_grad()
        queue = torch.cat([k, queue.roll(-8 * number, 0)[8:]]).roll(8 * number, 0)

        assert torch.allclose(loss, expected, rtol=1e-12)
        assert torch.allclose(moco.queue.keys, queue, rtol=0, atol=1e-12)
        for name, value in snapshot(key).items():
            assert torch.allclose(snapshot(moco.key)[name].double(), value.double(), rtol=0, atol=1e-12), name
    assert all(p.grad is None for p in moco.key.parameters())
    assert int(moco.queue.pointer) == 24 % 20


def test_validation_changes_no_state():
    """Validation touches no parameter, no buffer and no generator, and gives the same loss twice."""
    moco = make().eval()
    before, chance_before = snapshot(moco), torch.get_rng_state()
    images, labels = batches(1)[0]
    first, count = moco.validation_loss(images, labels)
    second, _ = moco.validation_loss(images, labels)
    assert same_bits(snapshot(moco), before)
    assert torch.equal(torch.get_rng_state(), chance_before)
    assert torch.equal(first, second)
    assert int(count) == len(images)
    q, k = (normalize(e(images[:, v]), dim=1) for v, e in enumerate((moco.query, moco.key)))
    assert torch.allclose(first / count, info_nce(q, k, moco.queue.keys, 0.2))


def test_training_draws_nothing_from_the_global_generator():
    """A step leaves torch's generator alone, so that nothing but checkpoints is needed to resume."""
    moco = make()
    before = torch.get_rng_state()
    moco(*batches(1)[0], STEP).backward()
    moco.after_step(STEP)
    assert torch.equal(torch.get_rng_state(), before)


def test_two_batches_of_one_step_move_the_key_once():
    """Batches that share an optimiser step share its momentum update, and both their keys are enqueued after it."""
    moco = make()
    with torch.no_grad():
        for p in moco.query.parameters():
            p.add_(1.0)
    start = [p.clone() for p in moco.key.parameters()]
    (a, b, _), query = batches(), list(moco.query.parameters())
    moco(*a, STEP)
    moco(*b, STEP)
    assert int(moco.queue.pointer) == 0
    moco.after_step(STEP)
    for was, q, k in zip(start, query, moco.key.parameters(), strict=True):
        assert torch.allclose(k, 0.9 * was + 0.1 * q)
    assert int(moco.queue.pointer) == 16


def test_moco_wants_two_views():
    """One view is refused with what was given and what to do."""
    with pytest.raises(TrainingError, match="2 views of each image, got 1"):
        make()(torch.zeros(4, 1, 1, 16, 16, dtype=torch.uint8), torch.zeros(4, 0), STEP)
