"""The data sets' releases, as people download them: one module a set, found by its name."""

from cxrfast.sources.base import Expected, Release, Source, find, names

__all__ = ["Expected", "Release", "Source", "find", "names"]
