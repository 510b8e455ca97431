"""The terms on which every command ends: results on stdout, one message on stderr, and a status that scripts can trust.

Status 0: done. 1: the command looked and found something wrong, or ended by a fault of ours (with its traceback, which
is what a report of the fault needs). 2: a mistake in the input, settings or environment that the user can mend; the
message alone is printed. 130: interrupted.
"""

import errno
import os
import sys

import click

from cxrfast.errors import CxrfastError

FAULT = 1
USER_CAN_MEND = 2
INTERRUPTED = 130

_MENDABLE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR,
    errno.EISDIR, errno.ELOOP, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT, errno.EHOSTDOWN,
}  # fmt: skip


def run(command: click.Command) -> None:
    """Run a click command with the process's arguments and exit; never returns.

    A module's `main` needs nothing else: `def main() -> None: terms.run(command)`.
    """
    sys.exit(_status_of(command))


def ending(error: BaseException) -> tuple[str, int] | None:
    """Return the message and the status with which a command ends on this error; None where it is a fault of ours."""
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, CxrfastError):
        return str(error), USER_CAN_MEND
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "Interrupted. Run the same command again to go on from what it has saved.", INTERRUPTED
    if isinstance(error, OSError) and error.errno in _MENDABLE:
        return f"{error.strerror}: {error.filename or 'while writing'}", USER_CAN_MEND
    return None


def _status_of(command: click.Command) -> int:
    try:
        status = command.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAULT
    except (Exception, KeyboardInterrupt) as error:
        end = ending(error)
        if end is None:
            raise
        message, status = end
        click.echo(message if status == INTERRUPTED else f"Error: {message}", err=True)
    return status if isinstance(status, int) else 0
