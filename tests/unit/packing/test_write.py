import os
import tarfile

import numpy as np
import pytest

from cxrfast.errors import PackError
from cxrfast.packing import write
from cxrfast.packing.encode import Packed
from cxrfast.shardset.format import sample_bytes


def packed(number, size=700):
    sample = sample_bytes(f"tiny-{number}", "jpg", bytes([number]) * size, {"number": number})
    return Packed(sample, width=number + 1, height=2, source_width=3, source_height=4, bytes_in=5)


@pytest.fixture
def out(tmp_path):
    with write.held(tmp_path / "set"):
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
    assert [path.name for path in (out / write.STAGING).iterdir()] == ["lock"]


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


def test_a_folder_is_held_by_one(out):
    """A second holder is refused in words, and admitted once the first is done; both sweep temporary files."""
    (out / write.STAGING / "x.tmp").write_text("half")
    with pytest.raises(PackError, match="another process is packing"), write.held(out):
        pass
    assert (out / write.STAGING / "x.tmp").exists()


def test_temporary_files_are_swept_when_a_folder_is_taken(tmp_path):
    """What an earlier run left half-written is gone before a new one writes."""
    with write.held(tmp_path):
        (tmp_path / write.STAGING / "x.tmp").write_text("half")
    with write.held(tmp_path):
        assert [path.name for path in (tmp_path / write.STAGING).iterdir()] == ["lock"]
        write.remove_staging(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_a_removed_name_does_not_count(tmp_path):
    """Who opened the lock file just before its holder removed it must not think that it holds the folder."""
    with write.held(tmp_path):
        stale = os.open(tmp_path / write.STAGING / "lock", os.O_RDWR)
        write.remove_staging(tmp_path)
    with write.held(tmp_path):
        assert not os.path.samestat(os.fstat(stale), (tmp_path / write.STAGING / "lock").stat())
        with pytest.raises(PackError), write.held(tmp_path):
            pass
    os.close(stale)


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
