import os

import pytest

from cxrfast.errors import LoaderError
from cxrfast.loading.ranks import Ranks


def test_torchrun_environment_is_read():
    """RANK, WORLD_SIZE and LOCAL_WORLD_SIZE make the ranks; without any there is one rank."""
    env = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}
    assert Ranks.from_env(env) == Ranks(rank=5, world_size=8, on_node=4)
    assert Ranks.from_env({}) == Ranks()


@pytest.mark.parametrize("env", [{"RANK": "1"}, {"WORLD_SIZE": "2"}, {"RANK": "x", "WORLD_SIZE": "2"}])
def test_half_an_environment_is_refused(env):
    """A variable that is absent or no number is an error, not a silent single rank."""
    with pytest.raises(LoaderError, match="RANK"):
        Ranks.from_env(env)


@pytest.mark.parametrize(("rank", "world", "node"), [(2, 2, 1), (-1, 2, 1), (0, 0, 1), (0, 2, 3), (0, 2, 0)])
def test_impossible_ranks_are_refused(rank, world, node):
    """Ranks count from 0 to world_size - 1, and a node has some of them."""
    with pytest.raises(LoaderError, match=r"rank|on_node"):
        Ranks(rank=rank, world_size=world, on_node=node)


@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_ranks_share_lanes_without_gap_or_overlap(world):
    """Ranks laid end to end have the lanes 0, 1, 2, ... once each."""
    lanes = [lane for rank in range(world) for lane in Ranks(rank=rank, world_size=world).share(8)]
    assert lanes == list(range(8))


def test_lanes_that_ranks_do_not_divide_are_refused():
    """The error names both numbers and a number of lanes that would do."""
    with pytest.raises(LoaderError, match=r"3 ranks .* 8 lanes .* such as 9"):
        Ranks(world_size=3).share(8)


def test_cpus_are_shared_by_the_ranks_of_a_node():
    """A rank has its share of the affinity mask, and never less than one CPU."""
    assert Ranks().cpus() == len(os.sched_getaffinity(0))
    assert Ranks(world_size=1024, on_node=1024).cpus() == 1
