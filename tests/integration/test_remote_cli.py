"""The commands over a URL: training finds its sets there, show draws them, verify says where to run it."""

import subprocess
import sys

import pytest
from click.testing import CliRunner
from web_server import serving

from cxrfast.cli.shard import shard
from cxrfast.errors import ShardSetError
from cxrfast.experiment.files import load
from cxrfast.experiment.parts import open_parts, split_digest, split_table


@pytest.fixture
def site(phantom_shards, tmp_path, monkeypatch):
    monkeypatch.setenv("CXRFAST_CACHE", str(tmp_path / "cache"))
    with serving(phantom_shards) as (url, site):
        site.url = url
        yield site


def test_an_experiment_finds_its_sets_below_a_url(site, phantom_shards):
    """The parts and their hashes are those of the folder; a set that is not there is named by its URL."""
    experiment = load("demo.yaml")
    parts = [open_parts(experiment, shards) for shards in (site.url, phantom_shards)]
    remote, local = (split_digest(each, split_table(each).to_csv().encode()) for each in parts)
    assert remote == local
    assert not any(name.endswith(".tar") for name in site.requests)
    with pytest.raises(ShardSetError, match=f"{site.url}/nowhere/chexpert/shardset.json is not there"):
        open_parts(experiment, f"{site.url}/nowhere")


def test_the_train_command_takes_a_url(site):
    """The address reaches the sets as it was written, and what is not there ends with status 2 and one message."""
    words = ["--config", "demo.yaml", "--shards", f"{site.url}/nowhere"]
    done = subprocess.run([sys.executable, "-m", "cxrfast.cli.train", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {site.url}/nowhere/chexpert/shardset.json is not there")


def test_show_draws_a_set_behind_a_url(site, tmp_path):
    """Stored images come from the cache; no tar is fetched that is not shown."""
    done = CliRunner().invoke(
        shard,
        ["show", f"{site.url}/chexpert", "--out", str(tmp_path / "sheet.png"), "--images", "1", "--view", "plain"],
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "sheet.png").stat().st_size > 0
    assert list((tmp_path / "cache").glob("chexpert-*.tar"))


def test_verify_of_a_url_says_where_to_run_it(site):
    """It reads every byte, so it belongs where the shards lie."""
    done = CliRunner().invoke(shard, ["verify", f"{site.url}/chexpert"])
    assert done.exit_code == 2
    assert f"{site.url}/chexpert is a URL; verify reads every byte" in done.output
