"""The shard set: how packed images lie on disk, and how a training run asks for some of them.

Nothing here imports torch or OpenCV: opening and querying a set of a million images is work for a table. This file
imports nothing at all, so that a packing worker, which needs `format` alone, does not load pandas and pyarrow.
"""
