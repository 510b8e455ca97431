"""How fast `cxrfast-shard verify` reads a shard set: the issue asks for the disk's speed or 1,000 MB/s.

    python benchmarks/verify.py --rounds 5 [--gigabytes 2] [--folder DIR] [--record]

The set has the real layout and CheXpert's columns, and noise in the place of images, since nothing but decoding looks
into them. It is written just before, so it comes from memory and not from the disk: what is measured is what checking
costs. Beside it, in turn and with as many threads: reading the same tars alone, and reading them for their SHA-256
alone, which is the least that a check of recorded hashes can do. CPU seconds a GB are given too, since other programs
on the machine hardly change them: threads divided by them is what free cores would give.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
from measure import arguments, finish, interleaved, ratio, spread

from cxrfast.labels import CHEXPERT
from cxrfast.packing import write
from cxrfast.packing.commit import commit, gather
from cxrfast.packing.encode import Packed
from cxrfast.packing.plan import Plan, documents, make_plan
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.verify import verify
from cxrfast.packing.write import ShardWriter
from cxrfast.shardset.format import PLAN_FILE, readable_json, sample_bytes
from cxrfast.sources.base import record_table

SIDE = 320
PIECE = 2 * 1024**2


def make_plan_of(count: int) -> Plan:
    """Return the plan of so many images, with labels drawn as released: 1, 0, -1 or blank."""
    rng = np.random.default_rng(0)
    patients = [f"patient{number // 3:05d}" for number in range(count)]
    table = record_table(
        {
            "key": [f"chexpert-{patient}-study1-view{number}" for number, patient in enumerate(patients)],
            "path": [f"train/{patient}/study1/view{number}_frontal.jpg" for number, patient in enumerate(patients)],
            "dataset": "chexpert",
            "patient": patients,
            "projection": "frontal",
            "age": rng.integers(18, 91, count).astype(np.float32),
            "release_split": "train",
        },
        {name: rng.choice([1, 0, -1, np.nan], count, p=[0.2, 0.1, 0.1, 0.6]) for name in CHEXPERT},
    )
    return make_plan(table, Recipe("chexpert", long_side=SIDE))


def write_set(out: Path, gigabytes: float, nbytes: int) -> None:
    """Pack noise of about `nbytes` an image."""
    plan = make_plan_of(int(gigabytes * 1e9 / (nbytes + 2048)))
    rng = np.random.default_rng(1)
    noise = rng.bytes(4 * nbytes)
    texts = documents(plan.table)
    sizes = {"width": SIDE, "height": SIDE, "source_width": 2 * SIDE, "source_height": 2 * SIDE}
    (out / write.STAGING).mkdir(parents=True)
    parts = []
    for shard in range(plan.num_shards):
        with ShardWriter(out, name="chexpert", shard=shard) as writer:
            for row in plan.rows_of(shard):
                start, length = rng.integers(0, 2 * nbytes), rng.integers(nbytes // 2, 3 * nbytes // 2)
                key, payload = plan.table["key"].iloc[row], noise[start : start + length]
                sample = sample_bytes(key, "jpg", payload, {**texts[row], **sizes})
                writer.add(row, Packed(sample, **sizes, bytes_in=0))
            parts.append(writer.close())
    write.write_whole(out / PLAN_FILE, readable_json(plan.document()))
    commit(out, plan, gather(parts))
    shutil.rmtree(out / write.STAGING)


def over(tars: list[Path], threads: int, each: Callable[[memoryview], object]) -> None:
    """Read tars on threads, front to back, and hand each piece to what `each` makes."""

    def one(path: Path) -> None:
        piece = memoryview(bytearray(PIECE))
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(piece):
                each(piece[:count])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, tars))


def main() -> None:
    """Write a set, measure, and print or record the figures."""
    parser = arguments(__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the set")
    parser.add_argument("--image-bytes", type=int, default=24_000, help="mean length of a stored image")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to write the set")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        out = Path(folder) / "set"
        write_set(out, options.gigabytes, options.image_bytes)
        tars = sorted(out.glob("*.tar"))
        nbytes = sum(path.stat().st_size for path in tars)
        checked = verify([out])
        if checked.findings:
            raise SystemExit(f"the set is not whole: {checked.findings[0]}")
        cpu: list[float] = []

        def verify_all() -> None:
            before = time.process_time()
            verify([out], workers=threads)
            cpu.append((time.process_time() - before) / (nbytes / 1e9))

        contestants = {
            f"verify, {threads} threads": verify_all,
            f"SHA-256 alone, {threads} threads": lambda: over(tars, threads, sha256),
            f"read alone, {threads} threads": lambda: over(tars, threads, lambda piece: None),
            "verify, 1 thread": lambda: verify([out], workers=1),
        }
        seconds = interleaved(contestants, rounds=options.rounds)
    figures = {f"{name}, MB/s": spread([nbytes / 1e6 / value for value in of]) for name, of in seconds.items()}
    first, second, *_ = seconds.values()
    figures["verify / SHA-256 alone, seconds"] = ratio(first, second)
    figures["verify, CPU seconds a GB"] = spread(cpu[1:])
    figures["set"] = {"images": checked.images, "shards": len(tars), "MB": round(nbytes / 1e6, 1)}
    finish("verify", figures, record=options.record)


if __name__ == "__main__":
    main()
