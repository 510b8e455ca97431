"""What a loader does about damaged samples: an error that names the sample, or a substitute within a budget."""

import logging
from functools import partial

import numpy as np
import pytest
from backends import BACKENDS
from small_sets import damage, encoded, noise_images, open_set

from cxrfast import Block, Global, Loader, Ranks, Reading, Sequential, ViewSpec
from cxrfast.errors import DamagedSample, LoaderError

COUNT = 96
HURT = (5, 30, 31, 77)


@pytest.fixture(scope="module")
def images():
    return noise_images(COUNT, seed=3)


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    return open_set(tmp_path_factory.mktemp("whole") / "set", images, per_shard=20)


@pytest.fixture(scope="module")
def hurt(images, tmp_path_factory):
    """Return the same set with a flipped bit in some payloads and one that has a right checksum and no image."""
    payloads = [encoded(image, "png") for image in images]
    payloads[HURT[-1]] = ("png", b"x" * len(payloads[HURT[-1]][1]))  # as long, since sizes decide blocks
    shards = open_set(tmp_path_factory.mktemp("hurt") / "set", images, per_shard=20, payloads=payloads)
    for row in HURT[:-1]:
        damage(shards, row)
    return shards


def loader_of(shards, **settings):
    reading = Reading(threads=2, on_error="skip", budget=len(HURT))
    given = {"views": [ViewSpec.paper()] * 2, "size": 24, "batch_size": 16, "seed": 5, "reading": reading}
    return Loader(shards, **(given | settings))


@pytest.fixture(params=BACKENDS)
def make(request):
    """Return what makes a loader with a backend; each test holds for all."""
    return partial(loader_of, backend=request.param)


def slots(loader, epoch):
    """Return (row, labels, pixels) of each place of an epoch, batch after batch."""
    return [
        (row, labels.tobytes(), pixels.tobytes())
        for batch in loader.epoch(epoch)
        for row, labels, pixels in zip(
            batch.index.tolist(), batch.labels.numpy(), batch.images.numpy(), strict=True
        )
    ]  # fmt: skip


@pytest.mark.parametrize("order", [Block(), Block(memory="9kB", lanes=4), Global()])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_substitute_takes_the_place_and_nothing_else_moves(make, whole, hurt, order, epoch):
    """A damaged sample's place holds a good one of a later (or an early) batch of its lane, whole in every respect."""
    loader = make(hurt, order=order)
    expected, found = slots(make(whole, order=order), epoch), slots(loader, epoch)
    good = {row: (labels, pixels) for row, labels, pixels in expected if row not in HURT}
    replaced = 0
    for place, (then, now) in enumerate(zip(expected, found, strict=True)):
        if then[0] not in HURT:
            assert now == then
            continue
        replaced += 1
        later = [expected[(place + 16 * batch) % COUNT][0] for batch in range(1, COUNT // 16)]
        assert now[0] == next(row for row in later if row not in HURT)
        assert now[1:] == good[now[0]]
    assert replaced == len(HURT) == loader.report()["skipped"] == len(loader.damaged)


def test_each_damaged_sample_is_named_once(make, hurt, caplog):
    """A warning and an entry of `damaged` name data set, key, shard and path, however many epochs meet the sample."""
    loader = make(hurt)
    with caplog.at_level(logging.WARNING, logger="cxrfast"):
        for epoch in range(3):
            slots(loader, epoch)
    assert len(caplog.messages) == len(loader.damaged) == len(HURT)
    for row in HURT:
        (told,) = [text for text in loader.damaged if f"phantom-{row:05d}" in text]
        assert f"in shard {row // 20} ({hurt.tar_path(0, row // 20)}" in told
        assert any(told in message for message in caplog.messages)
    assert loader.report()["skipped"] == 3 * len(HURT)


@pytest.mark.parametrize("world", [2, 4, 8])
def test_substitutes_are_the_same_on_any_ranks_and_after_a_resume(make, hurt, world):
    """The parts of all ranks laid end to end are the batches of one; an epoch from batch 2 on is the tail."""
    alone = [batch.index.tolist() for batch in make(hurt).epoch(1)]
    parts = [
        [batch.index.tolist() for batch in make(hurt, ranks=Ranks(rank=rank, world_size=world)).epoch(1)]
        for rank in range(world)
    ]
    assert [[row for part in step for row in part] for step in zip(*parts, strict=True)] == alone
    assert [batch.index.tolist() for batch in make(hurt).epoch(1, start=2)] == alone[2:]


@pytest.mark.parametrize("budget", range(len(HURT)))
def test_more_damage_than_the_budget_ends_the_epoch(make, hurt, budget):
    """The error says how many there are, how many were allowed, and names the last one."""
    loader = make(hurt, reading=Reading(threads=1, on_error="skip", budget=budget))
    with pytest.raises(DamagedSample, match=rf"{budget + 1} damaged .* budget of {budget} .*phantom-000"):
        slots(loader, 0)


@pytest.mark.parametrize(("share", "probation", "enough"), [(0.04, 96, False), (0.05, 96, True), (0.01, 400, True)])
def test_a_share_is_taken_of_what_was_seen_or_of_the_probation(make, hurt, share, probation, enough):
    """4 damaged of 96: 5 % of 96 allow 4, 4 % allow 3; 1 % of a probation of 400 allow 4."""
    loader = make(hurt, reading=Reading(threads=1, on_error="skip", budget=share, probation=probation))
    if enough:
        assert len(slots(loader, 0)) == COUNT
    else:
        with pytest.raises(DamagedSample, match="budget of 3"):
            slots(loader, 0)


def test_nothing_good_in_the_lane_is_an_error(make, images, tmp_path):
    """Where no other batch has a good sample at this place, the damaged one is raised in spite of the budget."""
    shards = open_set(tmp_path / "set", images[:16])
    damage(shards, 3)
    with pytest.raises(DamagedSample, match="phantom-00003"):
        slots(make(shards), 0)


@pytest.mark.parametrize(
    "settings", [{"order": Sequential()}, {"last": "keep"}, {"order": Sequential(), "last": "drop"}]
)
def test_an_evaluation_never_skips(make, whole, settings):
    """Where each sample is handed out once, none may be left out in silence."""
    with pytest.raises(LoaderError, match="evaluation"):
        make(whole, **settings)


def test_a_substitute_has_the_label_of_its_own_row(make, whole, hurt):
    """`index`, `labels` and pixels are of one row, the substitute's."""
    for batch in make(hurt).epoch(0):
        np.testing.assert_array_equal(batch.labels.numpy(), hurt.labels[batch.index.numpy()])
        assert not set(batch.index.tolist()) & set(HURT)
