"""cxrfast: chest X-ray data sets packed once and streamed so fast that storage never makes a GPU wait.

Names are imported on first use: opening and querying a shard set needs neither torch nor OpenCV.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxrfast.loading.loader import Batch, Loader
    from cxrfast.loading.order import Block, Global, Sequential
    from cxrfast.loading.ranks import Ranks
    from cxrfast.loading.reading import Reading
    from cxrfast.loading.sampling import Sampling
    from cxrfast.loading.views import ViewSpec
    from cxrfast.shardset.cache import ShardCache
    from cxrfast.shardset.shardset import ShardSet

__version__ = "0.1.0"

_HOME = {
    "Batch": "cxrfast.loading.loader",
    "Block": "cxrfast.loading.order",
    "Global": "cxrfast.loading.order",
    "Loader": "cxrfast.loading.loader",
    "Ranks": "cxrfast.loading.ranks",
    "Reading": "cxrfast.loading.reading",
    "Sampling": "cxrfast.loading.sampling",
    "Sequential": "cxrfast.loading.order",
    "ShardCache": "cxrfast.shardset.cache",
    "ShardSet": "cxrfast.shardset.shardset",
    "ViewSpec": "cxrfast.loading.views",
}

__all__ = [
    "Batch",
    "Block",
    "Global",
    "Loader",
    "Ranks",
    "Reading",
    "Sampling",
    "Sequential",
    "ShardCache",
    "ShardSet",
    "ViewSpec",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'cxrfast' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
