"""The rows of metrics.csv, kept in the checkpoint too: the file is written anew from them, never appended to.

So rows that a killed run wrote after its last checkpoint vanish when it resumes, and no row can be torn in half.
"""

import csv
from io import StringIO
from pathlib import Path

from cxrfast.durable import whole_file

COLUMNS = (
    "epoch", "step", "lr", "train_loss", "valid_loss", "images", "seconds", "images_per_second", "wait_share",
)  # fmt: skip
Row = dict[str, int | float | None]


def write_metrics(path: Path, rows: list[Row]) -> None:
    """Write all rows under the final name at once; an absent value is an empty cell."""
    text = StringIO()
    writer = csv.DictWriter(text, fieldnames=COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with whole_file(path) as file:
        file.write(text.getvalue().encode())
