"""How long an epoch's order of ten million samples takes, and how much memory: at most 1.5 s and 300 MB are wanted.

    python benchmarks/order.py --rounds 5 [--samples 10000000] [--record]

Each order is worked out in a fresh process, in turn with the others, for 8 lanes and batches of 1,024, over shards of
1,024 samples of 15 to 40 KB. Seconds are those of the call alone; megabytes are how far the process's peak rose over
what it had resident before the call, the finished order counted.
"""

import time

import numpy as np
from measure import arguments, finish, forget_peak, in_new_process, peak_megabytes, resident_megabytes, spread

from cxrfast import Block, Global, Sequential
from cxrfast.loading.order import Layout, Order, epoch_order

ORDERS: dict[str, Order] = {"Block": Block(), "Global": Global(), "Sequential": Sequential()}
BATCH, PER_SHARD = 1024, 1024


def measured(order: Order, samples: int, epoch: int) -> tuple[float, float]:
    """Return the seconds and megabytes of one epoch's order, in this process."""
    nbytes = np.random.default_rng(0).integers(15_000, 40_000, samples)
    counts = np.diff(np.append(np.arange(0, samples, PER_SHARD), samples))
    layout = Layout(np.arange(samples), counts, nbytes)
    few = Layout(np.arange(BATCH), np.array([BATCH]), nbytes[:BATCH])
    epoch_order(order, few, batch_size=BATCH, last="drop", seed=0, epoch=0)
    forget_peak()
    before = resident_megabytes()
    started = time.perf_counter()
    found = epoch_order(order, layout, batch_size=BATCH, last="drop", seed=0, epoch=epoch)
    seconds = time.perf_counter() - started
    if len(found.rows) != samples // BATCH * BATCH:
        raise SystemExit(f"{len(found.rows)} rows were ordered")
    return seconds, peak_megabytes() - before


def main() -> None:
    """Measure each order in turn, and print or record the figures."""
    parser = arguments(__doc__)
    parser.add_argument("--samples", type=int, default=10_000_000, help="rows of the set")
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ORDERS}
    for number in range(options.rounds):
        for name, order in ORDERS.items():
            answer, _, _ = in_new_process(measured, order, options.samples, number)
            found[name].append(answer)
    figures = {
        name: {"seconds": spread([each[0] for each in values]), "megabytes": spread([each[1] for each in values])}
        for name, values in found.items()
    }
    finish("order", {"samples": options.samples, **figures}, record=options.record)


if __name__ == "__main__":
    main()
