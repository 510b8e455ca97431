"""`cxrfast-bench` as a user runs it: a table or JSON on stdout, a message and status 2 on a mistake."""

import json
import subprocess
import sys

import pytest
from small_sets import noise_images, write_set


def bench(*arguments):
    """Run cxrfast-bench to its end."""
    command = [sys.executable, "-m", "cxrfast.cli.bench", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("bench") / "set", noise_images(40), codec="jpeg")


SMALL = ("--batch-size", 16, "--rounds", 2, "--size", 16, "--threads", 2)


def test_the_table_ends_with_a_verdict(shards):
    """Every stage has its line, and the last line says what bounds the loader."""
    done = bench("loader", shards, *SMALL)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    first = [line.split()[0] for line in lines if line]
    assert all(name in first for name in ("read", "decode", "warp", "copy", "wait", "loader", "bare"))
    assert lines[-1].startswith("Verdict: ")
    assert "-bound" in lines[-1]


def test_json_is_whole_and_recorded_with_its_environment(shards, tmp_path):
    """`--json` prints what the table is made of, alone on stdout; `--record` keeps it with versions and machine."""
    file = tmp_path / "found.json"
    options = ("--views", "simclr", "--num-views", 1, "--order", "global", "--repeat", 64, "--cold")
    done = bench("loader", shards, *SMALL, *options, "--json", "--record", file)
    assert done.returncode == 0, done.stderr
    printed, recorded = json.loads(done.stdout), json.loads(file.read_text())
    assert printed["figures"]["amounts"]["images"] == 64
    assert printed["settings"]["order"]["kind"] == "Global"
    assert recorded.pop("environment")["packages"]
    assert recorded == printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing-here",), "there is no folder"),
        (("SHARDS", "--batch-size", 12), "is not a positive multiple of lanes=8"),
        (("SHARDS", "--images", 8), "images=8 is less than one batch of 16"),
        (("SHARDS", "--device", "abacus"), "device='abacus'"),
        (("SHARDS", "--record", "no-such-folder/file.json"), "no folder"),
        (("SHARDS", "--views", "cubist"), "cubist"),
        ((), "SHARDSET"),
    ],
)
def test_a_mistake_is_a_message(shards, arguments, words):
    """Wrong input ends with status 2 and one message that names it; nothing is measured."""
    given = [shards if argument == "SHARDS" else argument for argument in arguments]
    done = bench("loader", *SMALL, *given)
    assert done.returncode == 2
    assert words in done.stderr
    assert not done.stdout
