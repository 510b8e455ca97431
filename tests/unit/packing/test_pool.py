import subprocess
import sys
from concurrent.futures import BrokenExecutor, wait

import pytest

from cxrfast.packing.encode import ready_worker
from cxrfast.packing.pool import ProcessWorkers


@pytest.fixture
def pool():
    """Return a pool of two; calls are texts for `eval`, since a worker cannot import a test."""
    pool = ProcessWorkers(2, initializer=ready_worker)
    yield pool
    pool.kill()
    pool.shutdown()


def test_results_and_errors_arrive(pool):
    """Each call's result or exception comes back, whichever worker took it, with its trace as a note."""
    futures = [pool.submit(eval, f"60 // {number}") for number in range(8)]
    assert [future.result() for future in futures[1:]] == [60, 30, 20, 15, 12, 10, 8]
    with pytest.raises(ZeroDivisionError) as caught:
        futures[0].result()
    assert "in a packing worker" in caught.value.__notes__[0]


def test_what_does_not_pickle_is_an_error_of_its_job_alone(pool):
    """A call that cannot be sent fails; the pool goes on."""
    with pytest.raises(Exception, match="pickle"):
        pool.submit(lambda: None).result()
    assert pool.submit(eval, "1 + 1").result() == 2


@pytest.mark.parametrize("delay", [0, 0.001, 0.003, 0.01])
def test_a_worker_that_dies_within_a_large_result_hangs_nobody(pool, delay):
    """Whether the last bytes came through or not, the job ends, and so do all after it."""
    dying = f"__import__('threading').Timer({delay}, __import__('os')._exit, (1,)).start() or bytes(30_000_000)"
    futures = [pool.submit(eval, dying) for _ in range(2)] + [pool.submit(eval, "1") for _ in range(20)]
    assert not wait(futures, timeout=60).not_done
    assert {type(future.exception()) for future in futures} <= {BrokenExecutor, type(None)}


def test_jobs_after_a_death_fail_instead_of_waiting(pool):
    """With all workers gone every job, sent before or after, ends with BrokenExecutor."""
    futures = [pool.submit(eval, "__import__('os')._exit(1)") for _ in range(2)]
    futures += [pool.submit(eval, "1") for _ in range(10)]
    assert not wait(futures, timeout=60).not_done
    assert all(isinstance(future.exception(), BrokenExecutor) for future in futures[:2])
    with pytest.raises(BrokenExecutor):
        pool.submit(eval, "1").result(timeout=60)


def test_killing_ends_workers_in_the_middle_of_a_job(pool):
    """A pool is not kept waiting by a job that takes an hour."""
    future = pool.submit(eval, "__import__('time').sleep(3600)")
    pool.kill()
    pool.shutdown()
    with pytest.raises(BrokenExecutor):
        future.result(timeout=60)


def test_a_worker_process_holds_neither_torch_nor_webdataset():
    """A worker of the real pool has loaded nothing of them, has one OpenCV thread, and is deaf to Ctrl-C."""
    question = (
        "[name for name in ('torch', 'webdataset', 'pandas') if name in __import__('sys').modules], "
        "__import__('cv2').getNumThreads(), __import__('signal').getsignal(2).name"
    )
    code = (
        "from cxrfast.packing.executors import processes\n"
        f"with processes(2) as pool: print(pool.submit(eval, {question!r}).result())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "([], 1, 'SIG_IGN')", done.stderr
