"""A measurement counts whole epochs of the rows asked for, and its page says what was found."""

import json
from dataclasses import replace

import numpy as np
import pytest
from small_sets import noise_images, open_set

from cxrfast import Block, Sequential, ViewSpec
from cxrfast.bench.figures import Amounts, findings
from cxrfast.bench.measure import Settings, measure, rows_of_a_round
from cxrfast.cli import bench_page
from cxrfast.errors import LoaderError

SETTINGS = Settings(views=(ViewSpec.paper(),) * 2, order=Block(lanes=4), size=16, batch_size=8, threads=2, rounds=2)


@pytest.fixture
def shards(tmp_path):
    return open_set(tmp_path / "set", noise_images(30), codec="jpeg")


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 24), ({"images": 20}, 16), ({"images": 60}, 56), ({"repeat": 50}, 56), ({"repeat": 3}, 24),
     ({"batch_size": 64}, 64)],
)  # fmt: skip
def test_a_round_is_whole_batches_of_the_sets_rows(shards, options, count):
    """Rows come from the front of the set and are repeated only where more are asked for than there are."""
    rows = rows_of_a_round(shards, replace(SETTINGS, **options))
    assert rows.table["key"].tolist() == [shards.table["key"][number % 30] for number in range(count)]


@pytest.mark.parametrize("options", [{}, {"cold": True}, {"order": Sequential(lanes=1)}, {"step_ms": 1.0}])
def test_what_is_reported_is_a_round(shards, options):
    """Each counted round has all images once; stages that work have rates and ceilings, the others say so."""
    told = []
    found = measure(shards, replace(SETTINGS, **options), progress=lambda *now: told.append(now))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert found.rounds == 2
    assert found.amounts == Amounts(
        images=24, threads=2, bytes_stored=int(shards.table["nbytes"][:24].sum()), bytes_out=24 * 2 * 16 * 16
    )
    stages = {stage.name: stage for stage in found.stages}
    assert list(stages) == ["read", "decode", "warp", "copy", "wait"]
    for name in ("read", "decode", "warp"):
        assert stages[name].rate.images > 0
        assert stages[name].ceiling.least <= stages[name].ceiling.images <= stages[name].ceiling.largest
    assert stages["wait"].rate is stages["wait"].ceiling is None
    json.dumps(bench_page.as_dict(found, SETTINGS))


def test_a_raw_set_is_held_against_the_warp_loop(tmp_path):
    """Where nothing is decoded, decoding has no ceiling and the bare loop only warps."""
    found = measure(open_set(tmp_path / "set", noise_images(16), codec="raw"), SETTINGS)
    assert found.bare_name == "a bare warp loop"
    assert next(stage for stage in found.stages if stage.name == "decode").ceiling is None


@pytest.mark.parametrize(
    ("options", "words"),
    [({"rounds": 0}, "rounds=0"), ({"images": 7}, "images=7 is less than one batch of 8"), ({"seconds": 0}, "seconds")],
)
def test_settings_that_measure_nothing_are_refused(options, words):
    """A round must have a batch, and there must be one."""
    with pytest.raises(LoaderError, match=words):
        replace(SETTINGS, **options)


def known(copy=0.01, **more):
    """Return findings of invented seconds: two threads, 1,000 images, a wall second a round; `more` of its report."""
    report = {"seconds_reading": 0.2, "seconds_decoding": 1.0, "seconds_warping": 0.5, "seconds_waiting": 0.9, **more}
    reports = [{**report, "bytes_read": 3e6}] * 3
    alone = {"read": [0.05] * 3, "decode": [0.4] * 3, "warp": [0.2] * 3, "copy": [copy] * 3, "bare": [0.8, 0.9, 0.7]}
    amounts = Amounts(images=1000, threads=2, bytes_stored=2_000_000, bytes_out=100_000_000)
    return findings(amounts, loader=[1.0, 1.0, 1.0], reports=reports, ceilings=alone, raw=False)


def test_rates_and_shares_are_of_threads_and_seconds():
    """A stage's share is its thread seconds by threads times wall; its rate is images by seconds times threads."""
    stages = {stage.name: stage for stage in known().stages}
    assert [round(stages[name].share, 3) for name in ("read", "decode", "warp", "copy", "wait")] == [
        0.1, 0.5, 0.25, 0.0, 0.9,
    ]  # fmt: skip
    assert stages["decode"].rate.images == pytest.approx(2000)
    assert stages["decode"].ceiling.images == pytest.approx(2500)
    assert stages["read"].rate.megabytes == pytest.approx(30)
    assert stages["warp"].rate.megabytes == pytest.approx(400)
    assert stages["copy"].rate is None
    assert known().of_bare == pytest.approx(0.8)
    assert known().verdict.sentence.startswith("compute-bound: 80 % of a bare decode-and-warp loop on 2 threads")


def test_copies_are_a_stage_of_the_clock():
    """Seconds of copying count by the wall; a loader as fast as copies alone is bound by them."""
    found = known(copy=0.9, seconds_copying=0.95)
    assert found.stages[-2].share == pytest.approx(0.95)
    assert found.verdict.sentence.startswith("copy-bound: 90 % of copying the same batches alone")
    assert known(copy=0.9).verdict.bound == "compute-bound"  # nothing was copied, so its ceiling does not count


def test_a_graph_that_decodes_and_warps_in_one_is_its_own_ceiling():
    """A backend that reports one sum for all of it has a stage of its own, by the clock, and is not held to a loop."""
    nothing = {"seconds_decoding": 0.0, "seconds_warping": 0.0}
    found = known(seconds_rendering=0.97, **nothing)
    stages = {stage.name: stage for stage in found.stages}
    assert stages["render"].share == pytest.approx(0.97)
    assert stages["render"].rate.images == pytest.approx(1000 / 0.97)
    assert found.verdict.sentence.startswith("compute-bound: 97 % of the backend's own graph")
    assert "render" not in {stage.name for stage in known().stages}


def test_the_page_is_a_small_table_and_a_verdict():
    """A line a stage, columns aligned, nothing wider than 100 columns but the sentences, the verdict last."""
    lines = bench_page.as_text(known(), SETTINGS, name="tiny").splitlines()
    rows = {line.split()[0]: line for line in lines if line}
    assert rows["decode"].split() == ["decode", "50", "%", "2,000", "4.0", "2,500", "5.0", "80", "%"]
    assert rows["copy"].split() == ["copy", "0", "%", "-", "-", "100,000", "10,000"]
    assert len({len(rows[name]) for name in ("read", "decode", "warp")}) == 1
    assert lines[-1].startswith("Verdict: compute-bound: 80 % of")
    assert max(len(line) for line in lines[2:-1]) <= 105
    assert np.all([line == line.rstrip() for line in lines])
