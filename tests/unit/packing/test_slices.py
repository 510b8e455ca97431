"""Slices: every shard in exactly one, each held by one packer, and no two cuts at work at one time."""

import errno
import fcntl
import os

import pytest

from cxrfast.errors import PackError
from cxrfast.packing.slices import Slice, alone, cuts_seen, held, remove_staging
from cxrfast.packing.write import STAGING


@pytest.mark.parametrize("count", range(1, 8))
def test_every_shard_is_in_exactly_one_slice_and_slices_are_equal(count):
    """For any number of shards; sizes differ by at most one, and the members are those that `in` says."""
    for num_shards in range(20):
        slices = [Slice(index, count) for index in range(count)]
        members = [list(each.shards(num_shards)) for each in slices]
        assert sorted(shard for each in members for shard in each) == list(range(num_shards))
        assert max(map(len, members)) - min(map(len, members)) <= 1
        assert [[shard for shard in range(num_shards) if shard in each] for each in slices] == members


@pytest.mark.parametrize(("index", "count"), [(3, 3), (-1, 2), (0, 0)])
def test_a_slice_that_is_none_is_refused(index, count):
    """Slices are numbered from 0 to n-1."""
    with pytest.raises(PackError, match=f"slice {index}/{count}"):
        Slice(index, count)


def test_a_folder_is_held_by_one(tmp_path):
    """A second holder is refused, told who the first is, and admitted once that is done."""
    first = rf"another process is packing .* \(process {os.getpid()} on"
    with held(tmp_path), pytest.raises(PackError, match=first), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_slices_are_held_side_by_side_and_each_by_one(tmp_path):
    """Two slices of one cut are no hindrance to each other; the same one twice is refused by its name."""
    with held(tmp_path, Slice(0, 3)), held(tmp_path, Slice(2, 3)):
        with pytest.raises(PackError, match="packing slice 2/3"), held(tmp_path, Slice(2, 3)):
            pass
        with held(tmp_path, Slice(1, 3)):
            assert cuts_seen(tmp_path) == {3}


@pytest.mark.parametrize(("first", "second"), [((0, 1), (0, 2)), ((1, 2), (0, 1)), ((0, 2), (1, 4))])
def test_another_cut_is_refused_while_one_is_at_work(tmp_path, first, second):
    """The whole beside a slice, or slices of two cuts: refused, naming both; afterwards the other may begin."""
    with (
        held(tmp_path, Slice(*first)),
        pytest.raises(PackError, match="overlaps with"),
        held(tmp_path, Slice(*second)),
    ):
        pass
    with held(tmp_path, Slice(*second)):
        pass


def test_the_folder_is_swept_with_its_locks(tmp_path):
    """Sweeping removes all that is hidden, while the locks are held."""
    with held(tmp_path), alone(tmp_path):
        (tmp_path / STAGING / "x.tmp").write_text("half")
        remove_staging(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_a_removed_name_does_not_count(tmp_path):
    """Who opened the lock file just before its holder removed it must not think that it holds the folder."""
    lock = tmp_path / STAGING / "slice-0-of-1.lock"
    with held(tmp_path):
        stale = os.open(lock, os.O_RDWR)
        remove_staging(tmp_path)
    with held(tmp_path):
        assert not os.path.samestat(os.fstat(stale), lock.stat())
        with pytest.raises(PackError), held(tmp_path):
            pass
    os.close(stale)


def test_a_disk_without_locks_is_said_to_be_one(tmp_path, monkeypatch, caplog):
    """There packing goes on, with a warning that nothing keeps two packers apart; other failures are errors."""

    def without(number):
        def flock(descriptor, mode):
            raise OSError(number, os.strerror(number))

        return flock

    monkeypatch.setattr(fcntl, "flock", without(errno.ENOLCK))
    with held(tmp_path), held(tmp_path, Slice(0, 2)):
        assert "has no locks" in caplog.text
    monkeypatch.setattr(fcntl, "flock", without(errno.EIO))
    with pytest.raises(OSError, match="Input/output"), held(tmp_path):
        pass
