import os
import resource
import signal
import tarfile

import numpy as np
import pytest

from cxrfast.packing import slices, write
from cxrfast.packing.encode import Packed
from cxrfast.shardset.format import sample_bytes


def packed(number, size=700):
    sample = sample_bytes(f"tiny-{number}", "jpg", bytes([number]) * size, {"number": number})
    return Packed(sample, width=number + 1, height=2, source_width=3, source_height=4, bytes_in=5)


@pytest.fixture
def out(tmp_path):
    with slices.held(tmp_path / "set"):
        yield tmp_path / "set"


def test_a_shard_appears_whole_with_its_index_and_its_part(out):
    """Until `close` nothing stands under a final name; after it tar, index and part do, and the part reads back."""
    with write.ShardWriter(out, name="tiny", shard=2) as writer:
        for row, number in ((9, 0), (11, 1)):
            writer.add(row, packed(number))
        writer.reject(10, "truncated")
        assert [path.name for path in out.iterdir()] == [write.STAGING]
        part = writer.close()
    assert sorted(path.name for path in out.iterdir()) == [write.STAGING, "tiny-00002.idx", "tiny-00002.tar"]
    assert write.read_part(out, 2) == part
    assert (part.rows, part.rejected) == ([9, 11], [(10, "truncated")])
    content = (out / "tiny-00002.tar").read_bytes()
    for number, (offset, nbytes) in enumerate(zip(part.stored["offset"], part.stored["nbytes"], strict=True)):
        assert content[offset : offset + nbytes] == bytes([number]) * 700
    with tarfile.open(out / "tiny-00002.tar") as tar:
        assert tar.getnames() == ["tiny-0.jpg", "tiny-0.json", "tiny-1.jpg", "tiny-1.json"]


def test_a_shard_without_a_sample_leaves_no_tar(out):
    """DALI refuses an empty index, so a shard whose images were all rejected has a part and no files."""
    with write.ShardWriter(out, name="tiny", shard=0) as writer:
        writer.reject(0, "empty")
        part = writer.close()
    assert [path.name for path in out.iterdir()] == [write.STAGING]
    assert write.read_part(out, 0) == part
    assert part.files == {}


def test_an_exception_leaves_no_temporary_file(out):
    """What interrupts a shard takes its temporary file along; the exception goes on."""

    def interrupted():
        with write.ShardWriter(out, name="tiny", shard=0) as writer:
            writer.add(0, packed(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in (out / write.STAGING).iterdir()] == ["slice-0-of-1.lock"]


@pytest.mark.parametrize("damage", ["no part", "no tar", "short tar", "part cut", "part of another form"])
def test_a_part_counts_only_with_its_files(out, damage):
    """A record that is gone or damaged, or one whose file is gone or cut, means that the shard is packed again."""
    with write.ShardWriter(out, name="tiny", shard=0) as writer:
        writer.add(0, packed(0))
        writer.close()
    tar, part = out / "tiny-00000.tar", out / write.STAGING / "00000.json"
    if damage == "no part":
        part.unlink()
    elif damage == "no tar":
        tar.unlink()
    elif damage == "short tar":
        os.truncate(tar, 100)
    elif damage == "part cut":
        part.write_bytes(part.read_bytes()[:20])
    else:
        part.write_text('{"other": 1}')
    assert write.read_part(out, 0) is None


def test_writing_replaces_a_file_in_one_step(out):
    """A reader that has the old file open keeps the old content; the new one is whole."""
    rng = np.random.default_rng(0)
    old, new = rng.bytes(5000), rng.bytes(9000)
    write.write_whole(out / "plan.json", old)
    with (out / "plan.json").open("rb") as reader:
        record = write.write_whole(out / "plan.json", new)
        assert reader.read() == old
    assert (out / "plan.json").read_bytes() == new
    assert record["size"] == 9000


def test_of_many_who_create_a_file_one_wins(out):
    """A file that is there is left as it is, and no temporary name stays."""
    write.create_whole(out / "plan.json", b"first")
    write.create_whole(out / "plan.json", b"second")
    assert (out / "plan.json").read_bytes() == b"first"
    assert not list((out / write.STAGING).glob("*.tmp"))


def test_the_sweep_takes_what_is_its_own(out):
    """Half-written files of the shards that one holds go; those of others, and of the whole folder, stay."""
    staging = out / write.STAGING
    own = ["tiny-00003.tar.1a2b.tmp", "tiny-00003.idx.1a2b.tmp", "00003.json.1a2b.tmp"]
    others = ["tiny-00004.tar.1a2b.tmp", "00004.json.1a2b.tmp", "manifest.parquet.1a2b.tmp", "00003.json"]
    for name in (*own, *others):
        (staging / name).write_text("half")
    write.sweep(out, {3})
    assert {path.name for path in staging.iterdir()} == {*others, "slice-0-of-1.lock"}


def fill(out):
    with write.ShardWriter(out, name="tiny", shard=0) as writer:
        for number in range(100):
            writer.add(number, packed(number))


def test_a_file_larger_than_the_disk_leaves_nothing(out):
    """Where writing fails the name stays as it was, and the temporary file is gone."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write.write_whole(out / "plan.json", bytes(10_000))
        with pytest.raises(OSError, match="File too large"):
            fill(out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["slice-0-of-1.lock"]
