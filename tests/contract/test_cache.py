"""`cache="memory"`: later epochs neither read nor decode what is kept, and give the same batches."""

from functools import partial

import numpy as np
import pytest
from backends import BACKENDS
from small_sets import noise_images, open_set

from cxrfast import Block, Global, Loader, Ranks, Reading, ViewSpec
from cxrfast.errors import LoaderError

COUNT = 83


@pytest.fixture(scope="module", params=["png", "raw"])
def shards(request, tmp_path_factory):
    return open_set(tmp_path_factory.mktemp("cache") / "set", noise_images(COUNT), per_shard=13, codec=request.param)


def loader_of(shards, **settings):
    given = {
        "views": [ViewSpec.paper()] * 2, "size": 24, "batch_size": 16, "seed": 5, "last": "keep",
        "reading": Reading(threads=2),
    }  # fmt: skip
    return Loader(shards, **(given | settings))


@pytest.fixture(params=BACKENDS)
def make(request):
    """Return what makes a loader with a backend; each test holds for all."""
    return partial(loader_of, backend=request.param)


def content(batches):
    return [(batch.index.tolist(), batch.labels.numpy().tobytes(), batch.images.numpy().tobytes()) for batch in batches]


def pixels(shards):
    return int((shards.table["width"].astype(np.int64) * shards.table["height"]).sum())


@pytest.mark.parametrize("order", [Block(), Block(memory="9kB"), Global()])
@pytest.mark.parametrize("share", [0, 0.3, 2])
def test_a_cache_changes_no_batch(make, shards, order, share):
    """Whether nothing fits, a part or all: epochs, some broken off between them, equal those without a cache."""
    limit = max(1, int(share * pixels(shards)))
    loader, plain = make(shards, order=order, cache="memory", cache_limit=limit), make(shards, order=order)
    for epoch in range(3):
        assert content(loader.epoch(epoch)) == content(plain.epoch(epoch))
        for _ in loader.epoch(epoch + 7):
            break


def test_what_is_kept_is_not_read_again(make, shards):
    """With room for all, the second epoch reads nothing; with room for some, less than the first; without, as much."""
    for share, least, most in ((0, 1, 1), (0.5, 0.05, 0.95), (2, 0, 0)):
        loader = make(shards, cache="memory", cache_limit=max(1, int(share * pixels(shards))), reading=Reading(gap=1))
        list(loader.epoch(0))
        first = loader.report()["bytes_read"]
        list(loader.epoch(1))
        assert least * first <= loader.report()["bytes_read"] - first <= most * first


def test_each_rank_keeps_what_it_has_seen(make, shards):
    """Rows come to other ranks in other epochs; a rank's batches stay what they were."""
    for rank in range(2):
        ranks = Ranks(rank=rank, world_size=2)
        loader = make(shards, cache="memory", ranks=ranks)
        for epoch in range(3):
            assert content(loader.epoch(epoch)) == content(make(shards, ranks=ranks).epoch(epoch))


@pytest.mark.parametrize(
    "settings", [{"cache": "device"}, {"cache": "disk"}, {"cache": "memory", "cache_limit": "much"}]
)
def test_a_cache_that_is_not_there_is_refused(make, shards, settings):
    """The error names the option and what there is."""
    with pytest.raises(LoaderError, match="cache"):
        make(shards, **settings)
