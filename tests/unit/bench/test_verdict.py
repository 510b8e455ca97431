"""The verdict is a pure function of figures: each bound has its evidence, and no evidence has two."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrfast.bench.verdict import BUSY, NEAR, WAITED_LITTLE, Evidence, judge

COMPUTE = Evidence(
    threads=2,
    loader=930.0,
    ceilings={"storage": 20_000.0, "compute": 1000.0},
    reading=0.05,
    computing=0.92,
    copying=0.0,
    waiting=1.0,
    compute_name="a bare decode-and-warp loop on 2 threads",
)
STORAGE = replace(COMPUTE, loader=92.0, ceilings={"storage": 100.0, "compute": 1000.0}, reading=0.98, computing=0.09)


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (COMPUTE, "compute-bound: 93 % of a bare decode-and-warp loop on 2 threads"),
        (replace(COMPUTE, compute_name="a bare warp loop"), "compute-bound: 93 % of a bare warp loop; "),
        (replace(STORAGE, threads=1), "storage-bound: 92 % of reading the same bytes alone on 1 thread; "),
        (STORAGE, "storage-bound: 92 % of reading the same bytes alone on 2 threads"),
        (
            replace(COMPUTE, ceilings={**COMPUTE.ceilings, "copy": 940.0}, computing=0.5, copying=0.9),
            "copy-bound: 99 % of copying the same batches alone",
        ),
        (replace(COMPUTE, waiting=0.03), "consumer-bound: whoever takes the batches waits for them only 3 %"),
        (replace(COMPUTE, loader=500.0, computing=0.4), "loader-bound: only 50 % of a bare decode-and-warp loop"),
        (replace(COMPUTE, loader=600.0), "compute-bound by where the time goes, though only 60 %"),
        (replace(STORAGE, loader=50.0), "storage-bound by where the time goes, though only 50 %"),
    ],
)
def test_each_bound_is_said_with_its_evidence(evidence, words):
    """A loader near its lowest ceiling is bound by it; one far from all by what its threads do, or by itself."""
    assert judge(evidence).sentence.startswith(words)


@pytest.mark.parametrize(("reading", "computing", "bound"), [(0.6, 0.3, "storage"), (0.3, 0.6, "compute")])
@pytest.mark.parametrize("nearer", ["storage", "compute"])
def test_close_ceilings_are_told_apart_by_the_threads_time(reading, computing, bound, nearer):
    """Where two ceilings differ by less than a tenth, the one on which more time is spent is the bound."""
    ceilings = {"storage": 1000.0, "compute": 1000.0, nearer: 950.0}
    seen = judge(replace(COMPUTE, ceilings=ceilings, reading=reading, computing=computing))
    assert seen.bound == f"{bound}-bound"
    assert seen.share == pytest.approx(930 / ceilings[bound])


def test_a_busy_thread_is_no_proof_against_a_ceiling():
    """Threads that mostly wait for a fast disk are not called storage-bound while the bare loop is nearly reached."""
    assert judge(replace(COMPUTE, reading=0.95, computing=0.90)).bound == "compute-bound"


shares = st.floats(0.0, 1.0)
rates = st.floats(1.0, 1e6)


@st.composite
def evidences(draw):
    ceilings = {name: draw(rates) for name in ("storage", "compute", "copy")}
    if draw(st.booleans()):
        del ceilings["copy"]
    return Evidence(
        threads=draw(st.integers(1, 64)),
        loader=draw(rates),
        ceilings=ceilings,
        reading=draw(shares),
        computing=draw(shares),
        copying=draw(shares),
        waiting=draw(shares),
        compute_name="a loop",
    )


@given(evidence=evidences(), power=st.integers(-8, 8))
def test_only_ratios_count(evidence, power):
    """A machine that is twice as fast in everything gets the same verdict."""
    factor = 2.0**power
    faster = {name: rate * factor for name, rate in evidence.ceilings.items()}
    assert judge(replace(evidence, loader=evidence.loader * factor, ceilings=faster)) == judge(evidence)


@given(evidence=evidences())
def test_a_verdict_names_one_bound_and_keeps_its_rules(evidence):
    """The sentence opens with the bound; consumer- and loader-bound have the premises that their names promise."""
    seen = judge(evidence)
    lowest = min(evidence.ceilings.values())
    assert seen.sentence.startswith(seen.bound)
    assert (seen.bound == "consumer-bound") == (evidence.waiting < WAITED_LITTLE)
    if seen.bound == "loader-bound":
        assert evidence.loader < NEAR * lowest / 0.9
        assert all(
            share < BUSY
            for name, share in (("storage", evidence.reading), ("compute", evidence.computing))
            if name == max(("storage", "compute", "copy"), key=_spent(evidence).get)
        )
    if seen.bound == "copy-bound":
        assert "copy" in evidence.ceilings


def _spent(evidence):
    return {"storage": evidence.reading, "compute": evidence.computing, "copy": evidence.copying}
