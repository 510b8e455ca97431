"""A crew on an existing Dask cluster: its workers decode, this process writes.

Nothing is started or stopped here, so whatever launches Dask on a site (Slurm, Kubernetes, a shell) will do. Dask runs
the jobs of a worker that died again on another, which changes no byte; what could change bytes is another version or
processor, so each worker is compared with the plan before its first job, also one that joins late.
"""

import logging
import platform
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import lru_cache, partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrfast.errors import PackError
from cxrfast.packing.encode import Job, Packed, Rejected, pack_job, ready_worker
from cxrfast.packing.executors import JOBS_A_WORKER, Crew

if TYPE_CHECKING:
    from cxrfast.packing.plan import Plan

_SECONDS_TO_ANSWER = 10
_SECONDS_WITHOUT_WORKERS = 60

Terms = tuple[tuple[str, str], ...]
"""Names and values that must be the same on every machine that packs one set."""


@contextmanager
def dask_crew(address: str, src: Path, plan: "Plan") -> Iterator[Crew]:
    """Yield a crew of all workers of the Dask scheduler at `address`, with a window for all their threads.

    Raises PackError where `distributed` is not installed, no scheduler or no worker answers, a worker has other
    versions or another processor than the plan or does not see `src`, or the cluster is lost.
    """
    client = _connect(address)
    try:
        from distributed import KilledWorker

        terms = _terms_of(plan)
        _check_workers(client, terms, _first_file(src, plan))
        window = JOBS_A_WORKER * sum(client.nthreads().values())
        executor = client.get_executor(pure=False)
        try:
            yield Crew(executor, window, partial(pack_on_worker, terms), _Watch(client, address))
        except KilledWorker as error:
            raise PackError(
                f"several workers of the cluster at {address} died on the same images ({error}), perhaps for want of "
                "memory; give them more, or fewer threads, and run again to resume"
            ) from error
        except CancelledError as error:
            raise PackError(f"the Dask scheduler at {address} was lost; run again to resume") from error
    finally:
        client.close()


def pack_on_worker(terms: Terms, job: Job) -> list[Packed | Rejected]:
    """Pack a job in a thread of a Dask worker, which shares its cores among threads: OpenCV gets one of them."""
    _refuse_others(terms)
    ready_worker()
    return pack_job(job)


def check_worker(terms: Terms, path: str, digest: str) -> None:
    """Raise PackError where this worker is not as the plan says, or does not see the file of that path and SHA-256."""
    _refuse_others(terms)
    try:
        found = sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise PackError(f"it cannot read {path} ({error.strerror}); all workers must see SRC under one path") from error
    if found != digest:
        raise PackError(f"under {path} it sees another file than this machine; all workers must see the same SRC")


class _Watch:
    """Tells a busy cluster from one that has lost all its workers, for whose results one would wait for ever."""

    def __init__(self, client: Any, address: str) -> None:  # noqa: ANN401 - distributed has no types
        self._client, self._address = client, address
        self._seen = time.monotonic()

    def __call__(self) -> None:
        if self._client.status != "running":
            raise PackError(f"the Dask scheduler at {self._address} was lost; run again to resume")
        if self._client.scheduler_info(n_workers=1)["workers"]:
            self._seen = time.monotonic()
        elif time.monotonic() - self._seen > _SECONDS_WITHOUT_WORKERS:
            raise PackError(
                f"the cluster at {self._address} has had no worker for {_SECONDS_WITHOUT_WORKERS} s; start some and "
                "run again to resume"
            )


def _connect(address: str) -> Any:  # noqa: ANN401
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise PackError(
            f"packing on a Dask cluster needs the package {error.name}: pip install 'cxrfast[cluster]'"
        ) from error
    # It logs a lost connection as a traceback; here it is said in words.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client: Any = Client(  # type: ignore[no-untyped-call]
            address, timeout=_SECONDS_TO_ANSWER, set_as_default=False
        )
    except (OSError, ValueError) as error:  # asyncio's and Dask's time-outs are OSErrors
        raise PackError(
            f"no Dask scheduler answers at {address} within {_SECONDS_TO_ANSWER} s ({error}); start one with "
            "`dask scheduler` and give the address that it prints, such as tcp://10.0.0.1:8786"
        ) from error
    try:
        client.wait_for_workers(1, timeout=_SECONDS_TO_ANSWER)
    except TimeoutError as error:
        client.close()
        raise PackError(
            f"the Dask scheduler at {address} has no workers; start some with `dask worker {address}`"
        ) from error
    return client


def _check_workers(client: Any, terms: Terms, file: tuple[str, str]) -> None:  # noqa: ANN401
    answers = client.run(check_worker, terms, *file, on_error="return")
    for worker, answer in sorted(answers.items()):
        if isinstance(answer, PackError):
            raise PackError(f"the Dask worker {worker} cannot pack this set: {answer}")
        if isinstance(answer, BaseException):
            raise PackError(
                f"the Dask worker {worker} cannot run cxrfast ({type(answer).__name__}: {answer}); install the same "
                "cxrfast and packages there as here"
            )


def _refuse_others(terms: Terms) -> None:
    own = dict(_own_terms())
    unlike = [
        f"{name} is {own.get(name)} there, {value} in the plan" for name, value in terms if own.get(name) != value
    ]
    if unlike:
        raise PackError(f"on {platform.node()}, {'; '.join(unlike)}; the same bytes need the same versions everywhere")


@lru_cache(maxsize=1)
def _own_terms() -> Terms:
    from cxrfast.packing.plan import codec_versions

    return _terms(codec_versions(), platform.machine())


def _terms_of(plan: "Plan") -> Terms:
    return _terms(plan.packages, plan.architecture)


def _terms(packages: dict[str, str], architecture: str) -> Terms:
    return (("architecture", architecture), ("cxrfast", version("cxrfast")), *sorted(packages.items()))


def _first_file(src: Path, plan: "Plan") -> tuple[str, str]:
    """Return the path and SHA-256 of the first file of the plan that is there."""
    row = next((row for row in range(len(plan.table)) if row not in plan.missing), 0)
    path = src / plan.table["path"].iloc[row]
    return str(path), sha256(path.read_bytes()).hexdigest()
