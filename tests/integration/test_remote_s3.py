"""Sets in a bucket, over a real S3 server on loopback in a process of its own."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
from small_sets import noise_images, with_targets, write_set

from cxrfast import Block, Loader, ShardCache, ShardSet, ViewSpec
from cxrfast.errors import ShardSetError

INSTALLED = all(importlib.util.find_spec(name) for name in ("s3fs", "moto", "flask"))
needs_s3 = pytest.mark.skipif(not INSTALLED, reason="needs s3fs, moto and flask")
SERVER = "from moto.server import main; import sys; main(sys.argv[1:])"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """Start the server, upload a set; gives (options, folder)."""
    import fsspec

    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true"}
    log = (tmp_path_factory.mktemp("log") / "server.txt").open("w")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log, env=environment
    )
    try:
        for _ in range(600):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, "the S3 server did not start"
            time.sleep(0.1)
        options = {"key": "a", "secret": "b", "endpoint_url": f"http://127.0.0.1:{port}"}
        folder = write_set(tmp_path_factory.mktemp("local") / "set", noise_images(40))
        storage = fsspec.filesystem("s3", **options)
        storage.mkdir("bucket")
        storage.put(str(folder), "bucket/kermany", recursive=True)
        yield options, folder
    finally:
        server.kill()
        server.wait()
        log.close()


def batches(shards):
    with Loader(
        with_targets(shards), views=[ViewSpec.paper()], size=32, batch_size=8, seed=3, order=Block(lanes=4)
    ) as loader:
        return [batch.images.numpy() for epoch in (0, 1) for batch in loader.epoch(epoch)]


@needs_s3
@pytest.mark.parametrize("limit", ["1GB", "one shard"])
def test_epochs_are_those_of_the_folder(bucket, tmp_path, limit):
    """From a bucket come the local set's batches, bit for bit, with a cache of one shard too."""
    options, folder = bucket
    if limit == "one shard":
        limit = max(path.stat().st_size for path in folder.glob("*.tar"))
    cache = ShardCache(folder=tmp_path, limit=limit, storage_options={"s3": options})
    remote = ShardSet.open("s3://bucket/kermany", cache=cache)
    local = ShardSet.open(folder)
    assert remote.table.equals(local.table)
    for one, other in zip(batches(remote), batches(local), strict=True):
        np.testing.assert_array_equal(one, other)


@needs_s3
def test_what_is_not_there_is_said_at_once(bucket, tmp_path):
    """A bucket or set that is absent is named without retries."""
    cache = ShardCache(folder=tmp_path, storage_options={"s3": bucket[0]}, pause=60.0)
    for name in ("bucket/other", "none/kermany"):
        with pytest.raises(ShardSetError, match=f"s3://{name}/shardset.json is not there"):
            ShardSet.open(f"s3://{name}", cache=cache)


@pytest.mark.skipif(INSTALLED, reason="s3fs is installed")
def test_without_the_extra_the_remedy_is_said(tmp_path):
    """An s3 URL without s3fs ends in the pip command."""
    with pytest.raises(ShardSetError, match=r"pip install 'cxrfast\[s3\]'"):
        ShardSet.open("s3://bucket/kermany", cache=ShardCache(folder=tmp_path))
