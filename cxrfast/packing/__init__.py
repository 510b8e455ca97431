"""From a release's images to a shard set: a plan that is a pure function, workers that share images, one commit.

This file imports nothing: a worker process loads `encode` alone, which needs OpenCV and NumPy and no table library.
"""
