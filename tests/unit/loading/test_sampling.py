"""How often images come: expectations kept exactly, over any epochs, ranks and orders."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import noise_images, open_set

from cxrfast import Block, Global, Loader, Ranks, Reading, Sampling, Sequential, ShardSet, ViewSpec
from cxrfast.errors import LoaderError, StateMismatch
from cxrfast.loading.order import Layout, epoch_order
from cxrfast.loading.sampling import expected_copies, keys_of_copies, times_drawn, unit_bits

COUNT, PER_SHARD = 90, 13
TWO_SETS = {"chexpert": 60, "kermany": 30}


def a_set(datasets, labels=None):
    """Return rows of these data sets, with no file behind them; `labels` (n, C) become targets."""
    labels = np.zeros((len(datasets), 0)) if labels is None else np.asarray(labels)
    targets = tuple(f"c{number}" for number in range(labels.shape[1]))
    return ShardSet(pd.DataFrame({"dataset": datasets}), (), (), {}, targets, labels.astype(np.float32))


def layout_of(count):
    """Return a layout stored in another order than rows have, in shards of 13."""
    place = np.random.default_rng(1).permutation(count)
    return Layout.of(shardset=place * 0, shard=place // PER_SHARD, offset=place % PER_SHARD, nbytes=place + 1)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Return a set of two data sets, two images of `chexpert` for one of `kermany`, with labels."""
    made = open_set(tmp_path_factory.mktemp("sampling") / "set", noise_images(COUNT), per_shard=PER_SHARD)
    names = np.where(np.arange(COUNT) % 3 == 2, "kermany", "chexpert")
    return replace(made, table=made.table.assign(dataset=names))


def make(shards, **given):
    settings = {"views": [ViewSpec.paper()], "size": 16, "batch_size": 16, "seed": 5, "reading": Reading(threads=2)}
    settings |= {"sampling": Sampling(datasets={"kermany": 4}), "last": "keep"}
    return Loader(shards, **(settings | given))


def content(batches):
    return [(batch.index.tolist(), batch.images.numpy().tobytes()) for batch in batches]


positive = st.floats(1e-6, 1e6)


@settings(max_examples=200, deadline=None)
@given(
    weights=st.lists(st.one_of(positive, st.sampled_from([0.0, 1.0, 0.25, 3.0])), min_size=1, max_size=200),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 5),
)
def test_an_image_comes_as_often_as_it_is_due_rounded(weights, seed, epoch):
    """Each epoch has n images, each the floor or the ceiling of n * w / sum(w) times; the same call, the same times."""
    weights = np.array(weights)
    if not weights.any():
        return
    expected = expected_copies(weights)
    exact = len(weights) * weights / weights.sum()
    assert int(expected.sum()) == len(weights) << unit_bits(len(weights))
    unit = 2.0 ** -unit_bits(len(weights))
    np.testing.assert_allclose(expected * unit, exact, rtol=1e-12, atol=1e-9)
    times = times_drawn(expected, seed=seed, epoch=epoch)
    assert times.sum() == len(weights)
    assert (times >= np.floor(exact - 1e-9)).all()
    assert (times <= np.ceil(exact + 1e-9)).all()
    assert times.tolist() == times_drawn(expected, seed=seed, epoch=epoch).tolist()


@pytest.mark.parametrize("weights", [[1, 7], [1, 1, 7], [0, 1, 2, 3, 9], [0.4, 0.6], [1, 1, 1, 1, 15]])
def test_few_images_have_their_expectation_too(weights):
    """Over 4,000 epochs, within 5 sigma: where images are few, a drawn permutation without a drawn phase is not enough.

    Without it an image of 1/4 due beside one of 7/4 would come in every second epoch.
    """
    weights = np.array(weights, dtype=float)
    exact = len(weights) * weights / weights.sum()
    times = [times_drawn(expected_copies(weights), seed=3, epoch=epoch) for epoch in range(4000)]
    part = exact % 1
    assert (np.abs(np.mean(times, axis=0) - exact) <= 5 * np.sqrt(part * (1 - part) / 4000) + 1e-9).all()


def test_copies_have_their_expectation_over_epochs():
    """Over 3,000 epochs each image's mean copies are n * w / sum(w) within 5 sigma; nearly all epochs differ."""
    weights = np.random.default_rng(2).choice([0.0, 0.3, 1.0, 2.2, 9.0], 60)
    expected = expected_copies(weights)
    exact = len(weights) * weights / weights.sum()
    epochs = 3000
    times = np.array([times_drawn(expected, seed=1, epoch=epoch) for epoch in range(epochs)])
    part = exact % 1
    error = np.sqrt(part * (1 - part) / epochs)
    assert (np.abs(times.mean(axis=0) - exact) <= 5 * error + 1e-9).all()
    assert len(np.unique(times, axis=0)) > 0.99 * epochs
    # Images of equal weight are drawn apart, not as neighbours in the table: they are up together no more than chance.
    up = (times > np.floor(exact))[:, (part > 0.2) & (part < 0.8)].astype(float)
    apart = np.corrcoef(up.T)[np.triu_indices(up.shape[1], 1)]
    assert np.abs(apart).max() < 5 / np.sqrt(epochs) + 2 / len(weights)


def test_millions_of_images_keep_their_count():
    """No rounding is lost at a size at which sums of floats would lose some: n in all, whole numbers exact."""
    weights = np.where(np.arange(3_000_000) % 3 == 0, 4.0, 1.0)
    times = times_drawn(expected_copies(weights), seed=1, epoch=0)
    assert times.sum() == len(times)
    assert np.unique(times).tolist() == [0, 1, 2]
    assert (times_drawn(expected_copies(np.full(1_000_000, 0.7)), seed=1, epoch=0) == 1).all()


def test_data_sets_are_weighed_image_by_image():
    """An image of a set of weight 4 comes four times as often as one of weight 1, which unnamed sets have too."""
    names = np.repeat(list(TWO_SETS), list(TWO_SETS.values()))
    weights = Sampling(datasets={"kermany": 4}).weights(a_set(names))
    assert (weights / weights[0]).tolist() == [1.0] * 60 + [4.0] * 30
    assert Sampling(datasets={"chexpert": 2, "kermany": 8}).weights(a_set(names)).tolist() == weights.tolist()
    out = Sampling(datasets={"chexpert": 0}).weights(a_set(names))
    assert (out > 0).tolist() == [False] * 60 + [True] * 30


def test_balancing_gives_equal_shares_to_classes_of_single_labels():
    """Closed form: where images have one label or none, each class and "none of them" get n / classes of the epoch."""
    images = (700, 200, 60, 5)
    kind = np.repeat(np.arange(4), images)
    labels = np.eye(4)[kind][:, :3]
    labels[kind == 3] = np.array([np.nan, 0.0, 0.0])
    copies = expected_copies(Sampling(balance=True).weights(a_set(["a"] * len(kind), labels)))
    shares = np.bincount(kind, weights=copies) / copies.sum()
    np.testing.assert_allclose(shares, 0.25, rtol=1e-9)
    by_class = np.bincount(kind, weights=times_drawn(copies, seed=1, epoch=0), minlength=4)
    assert by_class.sum() == len(kind)
    assert (np.abs(by_class - len(kind) / 4) < 5 * np.sqrt(len(kind) / 4)).all()


def test_balancing_adds_up_over_an_images_targets():
    """By hand: 1 / images summed over the positive targets; a class that nobody has adds nothing; sets multiply."""
    labels = [[1, 1, 0], [1, 0, 0], [0, 1, np.nan], [1, 0, 0], [0, 0, 0], [np.nan, 0, 0]]
    wanted = np.array([1 / 3 + 1 / 2, 1 / 3, 1 / 2, 1 / 3, 1 / 2, 1 / 2])
    weights = Sampling(balance=True).weights(a_set(["a"] * 6, labels))
    np.testing.assert_allclose(weights / weights[1] / 3, wanted)
    both = Sampling(balance=True, datasets={"b": 5}).weights(a_set(["a"] * 3 + ["b"] * 3, labels))
    np.testing.assert_allclose(both / both[1] / 3, wanted * [1, 1, 1, 5, 5, 5])


@settings(max_examples=80, deadline=None)
@given(
    times=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    kind=st.sampled_from([Block, Global]),
    memory=st.sampled_from([1, 300, 10**6]),
    last=st.sampled_from(["drop", "keep"]),
)
def test_orders_take_copies_as_they_take_rows(times, kind, memory, last):
    """`keep`: row r comes times[r] times, as copies 0, 1, ...; `drop` leaves out n % batch of these, none comes twice.

    Groups count a row's bytes as often as it comes, and hold no more than they may.
    """
    times = np.array(times)
    count = int(times.sum())
    if count < 8 and (last == "drop" or not count):
        return
    layout = layout_of(len(times)).repeated(times)
    order = kind(memory=memory) if kind is Block else kind()
    found = epoch_order(order, layout, batch_size=8, last=last, seed=1, epoch=0)
    came = list(zip(found.rows.tolist(), found.copies.tolist(), strict=True))
    every = {(row, copy) for row, number in enumerate(times.tolist()) for copy in range(number)}
    assert len(set(came)) == len(came) == count - (count % 8 if last == "drop" else 0)
    assert set(came) <= every
    assert layout.counts.sum() == count
    assert (layout.counts > 0).all()
    if kind is Block:
        nbytes = dict(zip(layout.rows.tolist(), layout.nbytes.tolist(), strict=True))
        for rows in np.split(found.rows, found.groups[1:-1]):
            assert len(rows) == 1 or sum(nbytes[row] for row in rows.tolist()) <= memory // 8


@pytest.mark.parametrize("order", [Block(memory="100kB"), Global()])
@pytest.mark.parametrize("last", ["drop", "keep"])
def test_equal_weights_change_nothing(shards, order, last):
    """Where all images weigh the same, an epoch's batches are those of no sampling, to the pixel."""
    plain = content(make(shards, order=order, last=last, sampling=None).epoch(2))
    for sampling in (Sampling(), Sampling(datasets={"kermany": 3, "chexpert": 3})):
        assert content(make(shards, order=order, last=last, sampling=sampling).epoch(2)) == plain


def test_an_epoch_of_the_loader_has_what_is_due(shards):
    """An epoch keeps its length; images of `kermany`, due 90 * 4 / 180 = 2 times each, come twice, the others half."""
    kermany = (shards.table["dataset"] == "kermany").to_numpy()
    for epoch in range(3):
        batches = list(make(shards).epoch(epoch))
        times = np.bincount(np.concatenate([batch.index.numpy() for batch in batches]), minlength=COUNT)
        assert times.sum() == COUNT
        assert (times[kermany] == 2).all()
        assert times[~kermany].max() == 1
        assert all((batch.labels.numpy() == shards.labels[batch.index.numpy()]).all() for batch in batches)


@pytest.mark.parametrize("order", [Block(memory="100kB"), Global()])
@pytest.mark.parametrize("last", ["drop", "keep"])
def test_ranks_together_give_the_batches_of_one(shards, order, last):
    """Rows and pixels of 2, 4 and 8 ranks, laid end to end, are those of one: copies too."""
    alone = content(make(shards, order=order, last=last).epoch(1))
    assert max(Counter(row for rows, _ in alone for row in rows).values()) == 2
    for world in (2, 4, 8):
        ranks = [Ranks(rank=rank, world_size=world) for rank in range(world)]
        parts = [content(make(shards, order=order, last=last, ranks=each).epoch(1)) for each in ranks]
        joined = [
            ([row for rows, _ in step for row in rows], b"".join(images for _, images in step))
            for step in zip(*parts, strict=True)
        ]
        assert joined == alone


def test_an_epoch_goes_on_where_it_stood(shards):
    """From batch b on an epoch is its tail, and a state saved through JSON is taken over by other ranks."""
    whole = content(make(shards).epoch(3))
    assert all(content(make(shards).epoch(3, start=start)) == whole[start:] for start in range(len(whole) + 1))
    loader = make(shards)
    batches = loader.epoch(3)
    next(batches)
    batches.close()
    state = json.loads(json.dumps(loader.state_dict()))
    other = make(shards, ranks=Ranks(rank=1, world_size=2))
    other.load_state_dict(state)
    assert other.state_dict()["batches"] == 1


@pytest.mark.parametrize("sampling", [None, Sampling(datasets={"kermany": 5}), Sampling(balance=True)])
def test_a_state_of_other_sampling_is_refused(shards, sampling):
    """The refusal names the sampling and nothing else."""
    with pytest.raises(StateMismatch, match=r"Sampling: .* then, .* now") as found:
        make(shards, sampling=sampling).load_state_dict(make(shards).state_dict())
    assert str(found.value).count(" then, ") == 1


def test_copies_have_views_of_their_own(shards):
    """An image's two copies differ in pixels in each epoch; one of them is the image as it comes without sampling."""
    plain = {
        row: image.numpy().tobytes()
        for batch in make(shards, sampling=None).epoch(1)
        for row, image in zip(batch.index.tolist(), batch.images, strict=True)
    }
    seen = {}
    for batch in make(shards, order=Block(memory="100kB")).epoch(1):
        for row, image in zip(batch.index.tolist(), batch.images, strict=True):
            seen.setdefault(row, []).append(image.numpy().tobytes())
    assert Counter(map(len, seen.values()))[2] == TWO_SETS["kermany"]
    assert all(len(set(images)) == len(images) for images in seen.values())
    assert all(images.count(plain[row]) == 1 for row, images in seen.items())


def test_only_further_copies_get_other_keys():
    """Copy 0 keeps its key, other copies have keys that differ from it and from each other."""
    keys = np.repeat(np.arange(50, dtype=np.uint64), 4)
    copies = np.tile(np.arange(4), 50)
    found = keys_of_copies(keys, copies)
    assert (found == keys).tolist() == (copies == 0).tolist()
    assert len(np.unique(found)) == 200


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"datasets": {"kermany": -1}}, "'kermany' is -1"),
        ({"datasets": {"kermany": float("nan")}}, "'kermany' is nan"),
        ({"datasets": {"kermany": float("inf")}}, "'kermany' is inf"),
        ({"datasets": {"kermany": "4"}}, "'kermany' is '4'"),
        ({"datasets": {"kermany": True}}, "'kermany' is True"),
        ({"datasets": ["kermany"]}, r"datasets=\['kermany'\]"),
        ({"balance": 1}, "balance=1"),
    ],
)
def test_what_is_no_weight_is_refused_when_it_is_made(given, words):
    """The error names the data set and the value."""
    with pytest.raises(LoaderError, match=words):
        Sampling(**given)


def test_what_does_not_fit_the_set_is_refused_when_the_loader_is_made(shards):
    """Unknown names, no weight at all, `balance` without targets, and `Sequential`: each with its remedy."""
    unlabelled = replace(shards, targets=(), labels=np.zeros((COUNT, 0), dtype=np.float32))
    for change, words in (
        ({"sampling": Sampling(datasets={"kermani": 4})}, "'kermani', but .* are of chexpert, kermany"),
        ({"sampling": Sampling(datasets={"chexpert": 0, "kermany": 0})}, "every image weight 0: .* chexpert, kermany"),
        ({"order": Sequential()}, "Sequential.* use Block or Global"),
    ):
        with pytest.raises(LoaderError, match=words):
            make(shards, **change)
    with pytest.raises(LoaderError, match="balance=True needs targets"):
        make(unlabelled, sampling=Sampling(balance=True))
    with pytest.raises(LoaderError, match="Sequential"):
        epoch_order(
            Sequential(), layout_of(9).repeated(np.ones(9, dtype=np.int64)), batch_size=8, last="keep", seed=0, epoch=0
        )
