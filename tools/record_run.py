"""Copy what a finished run found into benchmarks/results, under a name that says what, where and when.

    python tools/record_run.py runs/kermany

The folder is called EXPERIMENT_MACHINE_DATE_COMMIT and holds the table, the report with its figures, the metrics of
each stage, the resolved settings and the environment: what a reader needs to check or repeat the run, without weights.
"""

import argparse
import json
import re
import shutil
from pathlib import Path

KEPT = ("table.csv", "report.md", "config.yaml", "environment.json", "split.sha256", "figures/*.png", "*/metrics.csv")
RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"


def machine(environment: dict[str, object]) -> str:
    """Name the machine in one word: its GPU, or else its CPU and how many of them."""
    if environment["gpu"]:
        return _word(str(environment["gpu"]))
    return f"{_word(str(environment['cpu']))}-{environment['cpus']}c"


def record(run: Path, results: Path = RESULTS) -> Path:
    """Copy the run's findings into a new folder of `results`; returns that folder."""
    if not (run / "report.md").is_file():
        raise SystemExit(f"{run} holds no report.md: the run has not finished; start cxrfast-train again to finish it")
    environment = json.loads((run / "environment.json").read_text())[0]
    date = re.sub(r"\D", "", str(environment["started"]))[:8]
    commit = re.sub(r"\W", "-", str(environment["commit"] or environment["packages"]["cxrfast"]))
    folder = results / f"{run.name}_{machine(environment)}_{date}_{commit}"
    for pattern in KEPT:
        for file in sorted(run.glob(pattern)):
            target = folder / file.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return folder


def _word(text: str) -> str:
    text = re.sub(r"\((R|TM)\)|Processor|CPU.*", "", text)
    return "-".join(re.findall(r"[A-Za-z0-9]+", text)).lower() or "machine"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to copy to")
    arguments = parser.parse_args()
    print(record(arguments.run, arguments.results))
