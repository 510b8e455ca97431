"""Kills at each step that changes the disk: what a program does before its n-th step is all that is left of it."""

import os
import signal

STEPS = ("fsync", "replace", "unlink", "rmdir", "mkdir", "ftruncate", "link")


def run_to_step(work, fatal):
    """Call `work()` in a fork that SIGKILLs itself before its step number `fatal` (from 1; 0 never).

    Returns the fork's exit code: what `work` returned, or -9. A fork, so that packages are imported once.
    """
    child = os.fork()
    if child == 0:
        steps = 0

        def counted(function):
            def step(*args, **kwargs):
                nonlocal steps
                steps += 1
                if steps == fatal:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return step

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        code = 70
        try:
            code = work() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
