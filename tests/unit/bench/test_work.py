"""A round of work holds what the loader has to do: the same bytes, pixels and views, and nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import noise_images, open_set

from cxrfast import Loader, Sequential, ViewSpec
from cxrfast.bench import work as works
from cxrfast.bench.bare import Bare
from cxrfast.bench.work import prepare
from cxrfast.errors import ShardSetError

SIZE = 24


def smooth(count):
    """Return images on which JPEG is not all noise, some of them large enough to be halved."""
    return [np.add.outer(np.arange(30 + 9 * n), np.arange(41 + 7 * n)).astype(np.uint8) for n in range(count)]


@pytest.mark.parametrize("codec", ["jpeg", "png", "raw"])
@pytest.mark.parametrize("view", [ViewSpec.paper(), ViewSpec.simclr()])
def test_the_bare_loop_draws_what_the_loader_draws(tmp_path, codec, view):
    """Decoding, halving and warping are the loader's, bit by bit: the ceiling is of the same work."""
    shards = open_set(tmp_path / "set", smooth(12), codec=codec, per_shard=5)
    views = (view, view)
    work = prepare(shards, views=views, size=SIZE, seed=7)
    assert work.raw == (codec == "raw")
    assert max(map(max, work.halvings)) > 0
    with Bare(work, threads=2, batch_size=12, device=torch.device("cpu")) as bare:
        bare.decode_and_warp()
        both = bare._out.copy()
        bare._out[:] = 0
        bare.warp()
        assert np.array_equal(bare._out, both)
    with Loader(shards, views=views, size=SIZE, batch_size=12, seed=7, order=Sequential(lanes=1)) as loader:
        batch = next(iter(loader.epoch(0)))
    assert np.array_equal(both, batch.images.numpy()[:, :, 0])


@given(
    counts=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    repeats=st.integers(1, 3),
    gap=st.integers(0, 2 * works.GAP),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_reads_cover_each_payload_once_a_row(counts, repeats, gap, seed):
    """However rows are shuffled or repeated, each row's bytes lie in one read, and no read is longer than allowed."""
    rng = np.random.default_rng(seed)
    shard = np.repeat(np.arange(len(counts)), counts)
    nbytes = rng.integers(1, 3000, len(shard))
    offset = np.concatenate([np.cumsum(nbytes[shard == n] + gap) - nbytes[shard == n] for n in range(len(counts))])
    rows = rng.permutation(np.tile(np.arange(len(shard)), repeats))
    columns = (np.zeros(len(rows), dtype=np.int64), shard[rows], offset[rows], nbytes[rows])
    order, files, extents = works._extents(*columns)
    assert sorted(order) == list(range(len(rows)))
    covered = [0] * len(rows)
    for number, start, stop in extents:
        assert stop - start <= works.LONGEST
        inside = [
            index
            for index, row in enumerate(rows)
            if files[number] == (0, shard[row]) and start <= offset[row] and offset[row] + nbytes[row] <= stop
        ]
        for index in inside:
            covered[index] += 1
    # A row and its repetitions lie in the same places, so each of them sees every one of their reads.
    assert covered == [repeats] * len(rows)
    bytes_read = sum(stop - start for _, start, stop in extents)
    assert bytes_read >= nbytes[rows].sum()
    if gap > works.GAP:
        assert bytes_read == nbytes[rows].sum()


@pytest.mark.parametrize("held", [1, 3000, 10**9])
def test_what_is_held_is_bounded(tmp_path, held):
    """Payloads and pixels stay within the limit, one image at least; the round is no smaller for it."""
    shards = open_set(tmp_path / "set", noise_images(20), codec="png")
    work = prepare(shards, views=(ViewSpec.plain(),), size=SIZE, held=held)
    assert work.images == 20
    for kept in (work.payloads, work.pixels):
        assert len(kept) == 1 or sum(each.nbytes for each in kept) <= held
    assert len(work.halvings) == len(work.inverse) == len(work.payloads) >= len(work.pixels)
    with Bare(work, threads=2, batch_size=8, device=torch.device("cpu")) as bare:
        assert min(bare.read(), bare.decode(), bare.warp(), bare.copy(), bare.decode_and_warp()) > 0


def test_a_tar_that_ends_too_early_is_named(tmp_path):
    """A payload that is not all there is an error with path and key, not a fast round."""
    shards = open_set(tmp_path / "set", noise_images(3))
    path = shards.tar_path(0, 0)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ShardSetError, match=r"phantom-00000\.tar ends inside phantom-0000"):
        prepare(shards, views=(ViewSpec.plain(),), size=SIZE)
