"""From shard sets to batches: order, reading, views, rendering, and the `Loader` that joins them.

Order and views are pure functions of sizes, keys, seed and epoch; only reading and rendering have threads. So what a
batch holds never depends on how many ranks, threads or backends made it.
"""
