"""What a `Loader` promises, whatever ranks, threads, batch size and backend it has."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from backends import BACKENDS
from small_sets import damage, noise_images, open_set

from cxrfast import Block, Global, Loader, Ranks, Reading, Sequential, ViewSpec
from cxrfast.errors import DamagedSample, LoaderError, StateMismatch
from cxrfast.loading.pipeline import depth_of

TESTS = Path(__file__).resolve().parents[1]
COUNT = 83
PAPER = [ViewSpec.paper()] * 2


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return open_set(tmp_path_factory.mktemp("loader") / "set", noise_images(COUNT), per_shard=13)


@pytest.fixture
def own_shards(tmp_path):
    """Return a set that the test may damage."""
    return open_set(tmp_path / "set", noise_images(COUNT), per_shard=13)


def loader_of(shards, **settings):
    given = {"views": PAPER, "size": 24, "batch_size": 16, "seed": 5, "reading": Reading(threads=2)}
    return Loader(shards, **(given | settings))


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture
def make(backend):
    """Return what makes a loader: a test that asks for this holds for every backend."""
    return partial(loader_of, backend=backend)


def content(batches):
    """Return batches as comparable values."""
    return [(batch.index.tolist(), batch.labels.numpy().tobytes(), batch.images.numpy().tobytes()) for batch in batches]


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("cxrfast")]


@pytest.fixture(autouse=True)
def no_thread_stays():
    """Each test, whatever it does, ends without a thread of the loader's."""
    yield
    assert not threads()


def test_a_batch_is_what_the_design_says(make, shards):
    """Images uint8 (B, V, 1, S, S), labels float32 (B, C) and index int64 (B,) of the set's rows, on the CPU."""
    batch = next(iter(make(shards).epoch(0)))
    assert batch.images.shape == (16, 2, 1, 24, 24)
    assert (batch.images.dtype, batch.labels.dtype, batch.index.dtype) == (torch.uint8, torch.float32, torch.int64)
    np.testing.assert_array_equal(batch.labels.numpy(), shards.labels[batch.index.numpy()])


@pytest.mark.parametrize("order", [Block(), Block(memory="20kB", lanes=4), Global(), Sequential()])
@pytest.mark.parametrize("last", ["drop", "keep"])
def test_ranks_together_give_the_batches_of_one(make, shards, order, last):
    """Laid end to end, the parts of 2, 4 and 8 ranks are the global batches of one: rows, labels and pixels."""
    alone = content(make(shards, order=order, last=last).epoch(3))
    rows = [row for indices, *_ in alone for row in indices]
    assert len(rows) == len(set(rows)) == (COUNT if last == "keep" else COUNT - COUNT % 16)
    for world in (2, 4, 8):
        if order.lanes % world:
            continue
        loaders = [make(shards, order=order, last=last, ranks=Ranks(rank=r, world_size=world)) for r in range(world)]
        parts = [content(loader.epoch(3)) for loader in loaders]
        assert {len(part) for part in parts} == {loaders[0].batches_per_epoch} == {len(alone)}
        joined = [
            ([row for rows, _, _ in step for row in rows], *(b"".join(part[kind] for part in step) for kind in (1, 2)))
            for step in zip(*parts, strict=True)
        ]
        assert joined == alone


def test_a_view_is_the_same_in_any_batch(make, shards):
    """Pixels depend on seed, epoch, key and view: not on order, batch size, number of threads or read-ahead."""
    seen = defaultdict(set)
    for settings in (
        {},
        {"batch_size": 40, "order": Global()},
        {"batch_size": 8, "order": Sequential(), "reading": Reading(threads=5, ahead="1kB")},
        {"order": Block(memory="5kB", lanes=1), "last": "keep", "reading": Reading(threads=1)},
    ):
        for batch in make(shards, **settings).epoch(1):
            for row, images in zip(batch.index.tolist(), batch.images, strict=True):
                seen[row].add(images.numpy().tobytes())
    assert set(seen) == set(range(COUNT))
    assert all(len(images) == 1 for images in seen.values())


def test_views_epochs_and_seeds_differ(make, shards):
    """The two views of an image differ; so do another epoch's and another seed's; the same again does not."""
    order = Sequential()
    first = torch.cat([batch.images for batch in make(shards, order=order).epoch(0)])
    assert all((first[row, 0] != first[row, 1]).any() for row in range(COUNT))
    assert content(make(shards).epoch(0)) == content(make(shards).epoch(0))
    for other in (make(shards, order=order).epoch(1), make(shards, order=order, seed=6).epoch(0)):
        images = torch.cat([batch.images for batch in other])
        assert all((first[row] != images[row]).any() for row in range(COUNT))


def test_views_may_be_of_different_kinds(make, shards):
    """Any number of views: one decode serves all, each as if it were alone in its place."""
    kinds = [ViewSpec.plain(), ViewSpec.simclr(), ViewSpec.paper()]
    together = torch.cat([batch.images for batch in make(shards, views=kinds).epoch(0)])
    plain = torch.cat([batch.images for batch in make(shards, views=kinds[:1]).epoch(0)])
    assert together.shape[1] == 3
    assert torch.equal(together[:, :1], plain)


@pytest.mark.parametrize("last", ["drop", "keep"])
@pytest.mark.parametrize("start", [0, 1, 4, 5, 6])
def test_epoch_from_a_batch_on_is_the_tail(make, shards, last, start):
    """`epoch(e, start=b)` equals the undisturbed epoch without its first b batches, bit for bit."""
    loader = make(shards, last=last)
    if start > loader.batches_per_epoch:
        with pytest.raises(LoaderError, match=rf"start={start} .* {loader.batches_per_epoch} batches"):
            loader.epoch(2, start=start)
    else:
        assert content(loader.epoch(2, start=start)) == content(loader.epoch(2))[start:]


RESUME = """
import json, sys
sys.path.insert(0, sys.argv[1])
from hashlib import sha256
from cxrfast import Loader, Ranks, Reading, ShardSet, ViewSpec
from small_sets import with_targets
folder, world, backend = sys.argv[2], int(sys.argv[3]), sys.argv[4]
state = json.loads(sys.stdin.read())
for rank in range(world):
    loader = Loader(
        with_targets(ShardSet.open(folder)), views=[ViewSpec.paper()] * 2, size=24, batch_size=16, seed=5,
        ranks=Ranks(rank=rank, world_size=world), reading=Reading(threads=1), backend=backend,
    )
    loader.load_state_dict(state)
    at = loader.state_dict()
    for epoch, start in ((at["epoch"], at["batches"]), (at["epoch"] + 1, 0)):
        for batch in loader.epoch(epoch, start=start):
            print(rank, epoch, *batch.index.tolist(), sha256(batch.images.numpy().tobytes()).hexdigest())
"""


@pytest.mark.parametrize("world", [1, 2])
def test_a_new_process_goes_on_bit_for_bit(make, backend, shards, world):
    """A state saved in the middle of an epoch continues elsewhere, over the next epoch too, on other ranks as well."""
    loader = make(shards)
    batches = iter(loader.epoch(4))
    for _ in range(3):
        next(batches)
    state = loader.state_dict()
    assert (state["version"], state["epoch"], state["batches"]) == (2, 4, 3)
    batches.close()
    command = [sys.executable, "-c", RESUME, str(TESTS), str(shards.folders[0]), str(world), backend]
    told = subprocess.run(command, input=json.dumps(state), capture_output=True, text=True, check=True).stdout
    assert sorted(told.splitlines()) == sorted(_undisturbed(make, shards, world))


def _undisturbed(make, shards, world):
    for rank in range(world):
        for epoch, skip in ((4, 3), (5, 0)):
            loader = make(shards, ranks=Ranks(rank=rank, world_size=world))
            for batch in list(loader.epoch(epoch))[skip:]:
                yield " ".join(
                    map(str, (rank, epoch, *batch.index.tolist(), sha256(batch.images.numpy().tobytes()).hexdigest()))
                )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 8}, "Batch size: 16 then, 8 now"),
        ({"seed": 6}, "Seed: 5 then, 6 now"),
        ({"views": PAPER[:1]}, "Views"),
        ({"order": Global()}, "Order"),
        ({"last": "keep"}, "Last"),
        ({"size": 32}, "Size: 24 then, 32 now"),
    ],
)
def test_a_state_of_other_settings_is_refused(shards, change, words):
    """What differs is named; ranks, threads and read-ahead may differ."""
    state = loader_of(shards).state_dict()
    with pytest.raises(StateMismatch, match=words):
        loader_of(shards, **change).load_state_dict(state)
    loader_of(shards, ranks=Ranks(rank=1, world_size=4), reading=Reading(threads=7)).load_state_dict(state)


def test_a_state_of_other_data_is_refused(shards):
    """Other rows, another order of rows, other labels: each is another set."""
    state = loader_of(shards).state_dict()
    with pytest.raises(StateMismatch, match="Number of samples: 83 then, 82 now"):
        loader_of(shards.rows(np.arange(82))).load_state_dict(state)
    with pytest.raises(StateMismatch, match="are not the same"):
        loader_of(shards.rows(np.arange(COUNT)[::-1])).load_state_dict(state)


def test_a_state_of_the_same_images_packed_otherwise_is_refused(tmp_path):
    """Shards of another size give `Block` another order: going on in it would repeat some images and miss others."""
    images = noise_images(40)
    state = loader_of(open_set(tmp_path / "a", images, per_shard=16), batch_size=8).state_dict()
    with pytest.raises(StateMismatch, match="how they were packed"):
        loader_of(open_set(tmp_path / "b", images, per_shard=10), batch_size=8).load_state_dict(state)


def test_picked_rows_are_those_of_the_picked_set(make, shards):
    """`index` counts rows of the set that the loader was given; pixels are those of the key, wherever it lies."""
    picked = np.random.default_rng(0).permutation(COUNT)[:40]
    whole = torch.cat([batch.images for batch in make(shards, order=Sequential(lanes=1)).epoch(0)])
    for batch in make(shards.rows(picked), order=Block()).epoch(0):
        assert torch.equal(batch.images, whole[picked[batch.index.numpy()]])


def test_a_damaged_sample_ends_the_epoch_by_name(make, own_shards):
    """One flipped bit in a tar: the error names data set, key, shard and path, and nothing is left running."""
    path = damage(own_shards, 30)
    loader = make(own_shards, last="keep")
    with pytest.raises(DamagedSample, match=rf"phantom: sample phantom-00030 in shard 2 \({path}.*crc32"):
        list(loader.epoch(0))
    assert not threads()


def test_a_payload_that_does_not_decode_is_named(make, tmp_path):
    """Bytes with a right checksum that are no image, or one of another size than the manifest's."""
    images = noise_images(16)
    payloads = [("png", b"not an image at all")] * 16
    with pytest.raises(DamagedSample, match=r"phantom: sample phantom-\d+ in shard 0 .*cannot decode"):
        list(make(open_set(tmp_path / "text", images, payloads=payloads)).epoch(0))
    wrong = open_set(tmp_path / "size", images)
    wrong.table.loc[:, "width"] += 1
    with pytest.raises(DamagedSample, match=r"pixels, the manifest says"):
        list(make(wrong).epoch(0))


def fails_in_the_loop(loader):
    for batch in loader.epoch(0):
        len(batch.index) / 0


def test_leaving_an_epoch_early_leaves_nothing(make, shards):
    """After `break`, an exception in the loop, or an exhausted epoch no thread is left, and the next epoch is whole."""
    loader = make(shards)
    whole = content(make(shards).epoch(1))
    for _ in loader.epoch(0):
        assert threads()
        break
    assert not threads()
    with pytest.raises(ZeroDivisionError):
        fails_in_the_loop(loader)
    assert not threads()
    assert content(loader.epoch(1)) == whole
    assert not threads()
    loader.epoch(2)  # never begun
    assert not threads()


def test_beginning_another_epoch_ends_the_one_before(make, shards):
    """One epoch at a time: the old iterator says so instead of mixing two, the new one is whole."""
    loader = make(shards)
    old = loader.epoch(0)
    next(old)
    new = loader.epoch(1)
    first = next(new)
    with pytest.raises(LoaderError, match="another was begun"):
        next(old)
    assert content([first, *new]) == content(make(shards).epoch(1))


def test_two_loaders_live_side_by_side(make, shards):
    """Batches of two loaders, taken in turns, are those of each alone."""
    one, two = make(shards), make(shards, seed=9)
    pairs = list(zip(one.epoch(0), two.epoch(0), strict=True))
    assert content(pair[0] for pair in pairs) == content(make(shards).epoch(0))
    assert content(pair[1] for pair in pairs) == content(make(shards, seed=9).epoch(0))


def test_closing_is_idempotent_and_final(make, shards):
    """`close` ends the running epoch; again it does nothing; afterwards an epoch is refused in words."""
    loader = make(shards)
    batches = loader.epoch(0)
    next(batches)
    loader.close()
    loader.close()
    assert not threads()
    with pytest.raises(LoaderError, match="closed"):
        next(batches)
    with pytest.raises(LoaderError, match="closed"):
        loader.epoch(1)
    with make(shards) as other:
        next(other.epoch(0))
    assert not threads()


def test_batches_belong_to_the_caller(make, shards):
    """No batch that is held changes while later ones and later epochs are made."""
    loader = make(shards)
    held = [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]
    fresh = [batch for epoch in (0, 1) for batch in content(make(shards).epoch(epoch))]
    assert content(held) == fresh


INTERRUPT = """
import sys, threading, signal, os
sys.path.insert(0, sys.argv[1])
from cxrfast import Loader, ShardSet, ViewSpec
from small_sets import with_targets
loader = Loader(with_targets(ShardSet.open(sys.argv[2])), views=[ViewSpec.paper()], size=24, batch_size=16, seed=5,
                backend=sys.argv[3])
try:
    for number in range(10**9):
        for batch in loader.epoch(number):
            print("ready", flush=True)
except KeyboardInterrupt:
    left = [t.name for t in threading.enumerate() if t.name.startswith("cxrfast")]
    print("left", left, flush=True)
"""


def test_ctrl_c_leaves_no_thread_and_the_process_ends(backend, shards):
    """SIGINT at any moment of an epoch: KeyboardInterrupt reaches the caller, threads are gone, the exit is clean."""
    command = [sys.executable, "-c", INTERRUPT, str(TESTS), str(shards.folders[0]), backend]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(20):
            assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.splitlines()[-1] == "left []"


EXIT = """
import os, sys
sys.path.insert(0, sys.argv[1])
from cxrfast import Loader, ShardSet, ViewSpec
from small_sets import with_targets
loader = Loader(with_targets(ShardSet.open(sys.argv[2])), views=[ViewSpec.paper()], size=24, batch_size=16, seed=5,
                backend=sys.argv[4])
batches = loader.epoch(0)
next(batches)
children = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read().split()
shared = [line for line in open("/proc/self/maps") if "/dev/shm" in line]
print(children, shared, flush=True)
if sys.argv[3] == "raise":
    raise RuntimeError("the trainer fails")
if sys.argv[3] == "exit":
    sys.exit(3)
"""


@pytest.mark.parametrize(("way", "status"), [("end", 0), ("exit", 3), ("raise", 1)])
def test_a_process_that_ends_amid_an_epoch_leaves_nothing(backend, shards, way, status):
    """A program that ends, exits or fails amid an epoch ends at once, and had no child process and no shared memory."""
    command = [sys.executable, "-c", EXIT, str(TESTS), str(shards.folders[0]), way, backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert done.stdout == "[] []\n"
    assert done.stderr.count("Traceback") == (way == "raise")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"views": ViewSpec.paper()}, "not a list of ViewSpec"), ({"views": ["paper"]}, "not a list of ViewSpec"),
        ({"order": "block"}, "order='block' is not Block"), ({"order": Block}, "is not Block"),
        ({"reading": "skip"}, "is not Reading"), ({"sampling": {"kermany": 4}}, "is not Sampling"),
        ({"ranks": (0, 2)}, "is not Ranks"), ({"batch_size": "32"}, "not a whole number"),
        ({"batch_size": 16.0}, "not a whole number"), ({"seed": None}, "not a whole number"),
    ],
)  # fmt: skip
def test_what_is_of_another_kind_is_refused_in_words(shards, change, words):
    """A word, a class or a dict in the place of a setting: the error says what is wanted."""
    with pytest.raises(LoaderError, match=words):
        loader_of(shards, **change)
    with pytest.raises(LoaderError, match="reads a ShardSet"):
        loader_of("shards/chexpert")


def test_whole_numbers_of_numpy_are_whole_numbers(shards):
    """Sizes worked out with NumPy serve, and the state is plain values all the same."""
    loader = loader_of(shards, batch_size=np.int64(16), size=np.int32(24), seed=np.uint8(5))
    assert json.dumps(loader.state_dict()) == json.dumps(loader_of(shards).state_dict())


def test_a_closed_loader_hands_out_nothing(shards):
    """An epoch that was asked for before the loader was closed, and not begun, is refused too."""
    loader = loader_of(shards)
    batches = loader.epoch(0)
    loader.close()
    with pytest.raises(LoaderError, match="closed"):
        next(batches)


def go_through_epochs(loader, batches):
    for epoch in range(1, 1000):
        list(batches)
        batches = loader.epoch(epoch)


def test_closing_from_another_thread_ends_in_words(shards):
    """Whoever iterates meanwhile gets a LoaderError that says so, at whatever moment it comes."""
    for delay in np.linspace(0, 0.02, 15):
        loader = loader_of(shards)
        batches = loader.epoch(0)
        next(batches)
        closer = threading.Timer(delay, loader.close)
        closer.start()
        with pytest.raises(LoaderError, match="closed"):
            go_through_epochs(loader, batches)
        closer.join()


@pytest.mark.parametrize("threads", [1, 8, 64])
@pytest.mark.parametrize("batch", [1, 32, 256, 1024])
def test_what_is_rendered_ahead_is_bounded(threads, batch):
    """At least two parts a thread where 256 MB hold them, two batches in any case."""
    nbytes = batch * 2 * 512**2
    depth = depth_of(batch, threads=threads, nbytes=nbytes)
    assert depth >= 2
    assert depth == 2 or depth * nbytes <= 256_000_000
    assert depth * -(-batch // 64) >= 2 * threads or (depth + 1) * nbytes > 256_000_000


@pytest.mark.parametrize("ahead", [1, 20_000, 60_000])
def test_reading_ahead_is_bounded(tmp_path, ahead):
    """However long a consumer waits, no more is read than the blocks in use, `ahead` and the group that is at hand."""
    images = noise_images(800, low=60, high=61)
    shards = open_set(tmp_path / "set", images, codec="raw", per_shard=100)
    each, lanes, memory = images[0].size + 128, 4, 64_000
    loader = Loader(
        shards, views=[ViewSpec.plain()], size=8, batch_size=4, seed=1, order=Block(memory=memory, lanes=lanes),
        reading=Reading(threads=1, ahead=ahead, gap=1),
    )  # fmt: skip
    batches = loader.epoch(0)
    next(batches)
    settled = -1.0
    while (now := loader.report()["bytes_read"]) != settled:
        settled = now
        time.sleep(0.2)
    batches.close()
    assert settled <= memory + max(ahead, memory // lanes) + (depth_of(4, threads=1, nbytes=256) + 2) * 4 * each
    assert settled < 0.5 * 800 * each


def test_the_report_counts_what_was_done(make, backend, shards):
    """Images, batches, bytes and seconds by stage; bytes are at least those of the payloads used."""
    loader = make(shards, last="keep")
    list(loader.epoch(0))
    report = loader.report()
    assert (report["images"], report["batches"]) == (COUNT, loader.batches_per_epoch)
    assert report["bytes_read"] >= shards.table["nbytes"].sum()
    rendering = ("rendering",) if backend == "dali" else ("decoding", "warping")
    assert all(report[f"seconds_{stage}"] > 0 for stage in ("reading", *rendering, "waiting"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backend": "pil"}, "backend='pil'"),
        ({"device": "tpu"}, "device='tpu'"),
        ({"device": "mps"}, "device='mps'"),
        ({"views": []}, "views is empty"),
        ({"size": 0}, "size=0"),
        ({"batch_size": 12}, "batch_size=12 .* lanes=8"),
        ({"batch_size": 88}, "batch_size=88 .* 83 samples"),
        ({"ranks": Ranks(world_size=3)}, "3 ranks .* 8 lanes"),
    ],
)
def test_what_does_not_fit_is_refused_when_the_loader_is_made(shards, change, words):
    """The error comes before anything is read, and names values and remedy."""
    with pytest.raises(LoaderError, match=words):
        loader_of(shards, **change)


def test_an_empty_set_is_refused(shards):
    """A selection that left nothing is an error, not an epoch of no batches."""
    with pytest.raises(LoaderError, match="no samples"):
        loader_of(shards.rows(np.zeros(COUNT, dtype=bool)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(shards):
    """The error says what torch sees and what to do."""
    with pytest.raises(LoaderError, match="device='cpu'"):
        loader_of(shards, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_on_cuda_equal_those_on_the_cpu(shards):
    """Tensors are on the device, ready on the current stream, and equal to the bit."""
    batches = list(loader_of(shards, device="cuda", backend="opencv", last="keep").epoch(0))
    assert all(tensor.is_cuda for batch in batches for tensor in (batch.images, batch.labels, batch.index))
    there = [(b.index.tolist(), b.labels.cpu().numpy().tobytes(), b.images.cpu().numpy().tobytes()) for b in batches]
    assert there == content(loader_of(shards, last="keep").epoch(0))
