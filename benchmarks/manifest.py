"""A manifest of a million images: how long it takes to write, open and query it, and how much memory at the most.

    python benchmarks/manifest.py [--rows 1000000] [--rounds 5] [--record]

Each round is two fresh processes: one makes a table with CheXpert's columns (not timed) and writes it as packing does;
the other opens it with `ShardSet.open` and runs three selections. Seconds are wall time without the interpreter's start
and imports; memory is the process's highest resident size in that time (VmHWM), imports and the table included.
"""

import json
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from measure import arguments, finish, forget_peak, in_new_process, peak_megabytes, spread

LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)  # fmt: skip
SELECTIONS = (
    "projection == 'frontal' and release_split == 'train'",
    "label.Edema == 1 and age > 60",
    "view_position in ('AP', 'PA') and `label.Pleural Effusion` != 0",
)
NAME = "chexpert"


def table_of(rows: int) -> pd.DataFrame:
    """Return a manifest's table in stored order: keys and paths as CheXpert's, drawn labels and sizes."""
    rng = np.random.default_rng(0)
    number = np.arange(rows)
    patient = pc.binary_join_element_wise("patient", pa.array(rng.integers(1, rows // 4 + 2, rows)).cast("string"), "")
    study = pc.binary_join_element_wise("study", pa.array(number).cast("string"), "")
    path = pc.binary_join_element_wise("CheXpert-v1.0-small/train", patient, study, "view1_frontal.jpg", "/")
    texts = {
        "key": pc.binary_join_element_wise(NAME, patient, study, "view1_frontal", "-"),
        "path": path,
        "dataset": np.full(rows, NAME),
        "patient": patient,
        "study": pc.binary_join_element_wise(patient, study, "/"),
        "projection": rng.choice(["frontal", "lateral"], rows, p=[0.86, 0.14]),
        "view_position": rng.choice(["AP", "PA", "LL"], rows),
        "sex": rng.choice(["F", "M"], rows),
        "release_split": np.full(rows, "train"),
    }
    table = pd.DataFrame({name: pd.array(values, dtype="string[pyarrow]") for name, values in texts.items()})
    table["age"] = rng.integers(18, 91, rows).astype(np.float32)
    for label in LABELS:
        table[f"label.{label}"] = rng.choice(np.array([1, 0, -1, np.nan], np.float32), rows, p=[0.1, 0.1, 0.05, 0.75])
    nbytes = rng.integers(8_000, 30_000, rows).astype(np.int32)
    sample_nbytes = (nbytes + 2047) // 512 * 512
    per_shard = 1024
    start = np.cumsum(sample_nbytes, dtype=np.int64) - sample_nbytes
    start -= start[number // per_shard * per_shard]
    stored = {
        "shard": number // per_shard, "offset": start + 512, "nbytes": nbytes, "crc32": rng.integers(0, 2**32, rows),
        "sample_offset": start, "sample_nbytes": sample_nbytes, "sample_crc32": rng.integers(0, 2**32, rows),
        "width": np.full(rows, 320), "height": rng.integers(250, 321, rows), "source_width": np.full(rows, 390),
        "source_height": rng.integers(300, 391, rows),
    }  # fmt: skip
    return pd.concat([table, pd.DataFrame(stored)], axis=1)


def write(folder: Path, rows: int) -> dict[str, float]:
    """Write a manifest and a commit file that lists it alone."""
    from cxrfast.shardset import format as layout
    from cxrfast.shardset.manifest import manifest_bytes

    table = table_of(rows)
    forget_peak()
    started = time.perf_counter()
    content = manifest_bytes(table)
    (folder / layout.MANIFEST_FILE).write_bytes(content)
    digest = sha256(content).hexdigest()
    seconds = time.perf_counter() - started
    commit = {
        "format": layout.FORMAT_NAME, "version": layout.FORMAT_VERSION, "name": NAME, "labels": list(LABELS),
        "files": {layout.MANIFEST_FILE: {"size": len(content), "sha256": digest}},
    }  # fmt: skip
    (folder / layout.COMMIT_FILE).write_text(json.dumps(commit))
    return {"write_seconds": seconds, "file_megabytes": len(content) / 1e6, "write_peak_megabytes": peak_megabytes()}


def read(folder: Path, rows: int) -> dict[str, float]:
    """Open the set and run the selections."""
    from cxrfast.shardset.shardset import ShardSet

    started = time.perf_counter()
    shards = ShardSet.open(folder)
    opened = time.perf_counter()
    found = [len(shards.select(selection)) for selection in SELECTIONS]
    ended = time.perf_counter()
    if len(shards) != rows or not all(0 < count < rows for count in found):
        raise SystemExit(f"{len(shards)} rows and {found} selected: not the table that was written")
    return {
        "open_seconds": opened - started,
        "select_seconds": ended - opened,
        "read_peak_megabytes": peak_megabytes(),
    }


def one_round(rows: int) -> dict[str, float]:
    """Write, open and query once, each side in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        written, *_ = in_new_process(write, Path(folder), rows)
        opened, *_ = in_new_process(read, Path(folder), rows)
    together = written["write_seconds"] + opened["open_seconds"] + opened["select_seconds"]
    return {**written, **opened, "together_seconds": together}


def main() -> None:
    """Run the rounds, and print or record the figures."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    rounds = [one_round(options.rows) for _ in range(options.rounds)]
    figures = {name: spread([each[name] for each in rounds]) for name in rounds[0]}
    finish("manifest", {"rows": options.rows, **figures}, record=options.record)


if __name__ == "__main__":
    main()
