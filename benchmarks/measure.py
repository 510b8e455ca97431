"""What every benchmark here shares: interleaved rounds, medians, peak memory, and results that say where they are from.

Machines drift: what is compared runs in turn, A B C A B C ..., after one round that is not counted, and a comparison is
the median of the rounds' own ratios. A figure without its machine, versions and commit is not written.
"""

import argparse
import ctypes
import gc
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from record_run import machine

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("pydicom", "pylibjpeg-openjpeg", "pillow", "distributed")

Figures = dict[str, Any]


def arguments(description: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return a parser that knows `--rounds` and `--record`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="counted rounds (5 at least for a result)")
    parser.add_argument("--record", action="store_true", help="write the figures into benchmarks/results")
    return parser


def interleaved(contestants: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each counted round, after one round that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            took = time.perf_counter() - started
            if number:
                seconds[name].append(took)
    return seconds


def ratio(above: Sequence[float], below: Sequence[float]) -> Figures:
    """Return median, least and largest of the ratios of two contestants, round by round."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "min": round(min(ratios), 3),
        "max": round(max(ratios), 3),
        "rounds": len(ratios),
    }


def spread(values: Sequence[float]) -> Figures:
    """Return median, least and largest of a figure over the rounds."""
    return ratio(values, [1.0] * len(values))


def in_new_process(function: Callable[..., Any], *args: object) -> tuple[Any, float, float]:
    """Run a module's function in a fresh interpreter: its result, its seconds, and the process's peak memory in MB."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, function, args))
    process.start()
    theirs.close()
    try:
        answer: tuple[Any, float, float] = ours.recv()
    except EOFError:
        raise SystemExit(f"{function.__name__} ended without an answer; its error stands above") from None
    finally:
        process.join()
    return answer


def _answer(pipe: Any, function: Callable[..., Any], args: tuple[object, ...]) -> None:  # noqa: ANN401
    started = time.perf_counter()
    result = function(*args)
    seconds = time.perf_counter() - started
    pipe.send((result, seconds, peak_megabytes()))


def peak_megabytes() -> float:
    """Return the most memory that this process has had resident, in MB (10^6 bytes)."""
    return _status("VmHWM")  # not getrusage, which begins with the size of the process that made this one


def resident_megabytes() -> float:
    """Return the memory that this process has resident now, in MB (10^6 bytes)."""
    return _status("VmRSS")


def forget_peak() -> None:
    """Let `peak_megabytes` begin anew from the resident size of now, after giving back what was freed."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise SystemExit("memory is read from /proc, which is not here")
    return int(found[1]) * 1024 / 1e6


def finish(name: str, figures: Figures, *, record: bool) -> None:
    """Print the figures with their environment; where asked, write them as results/NAME_MACHINE_DATE_COMMIT.json."""
    from cxrfast.experiment.folder import environment  # it loads torch, which would count as memory of what is measured

    facts = environment()
    facts["packages"] = {**facts["packages"], **{name: found for name in PACKAGES if (found := _version(name))}}
    facts["load"] = round(os.getloadavg()[0], 2)
    text = json.dumps({"benchmark": name, "figures": figures, "environment": facts}, indent=2) + "\n"
    print(text, end="")
    if record:
        date = re.sub(r"\D", "", str(facts["started"]))[:8]
        commit = re.sub(r"\W", "-", str(facts["commit"]))
        path = RESULTS / f"{name}_{machine(facts)}_{date}_{commit}.json"
        path.write_text(text)
        print(path)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
