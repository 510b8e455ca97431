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

USER_CAN_MEND = 2
INTERRUPTED = 130

_MENDABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG}


def run(command: click.Command) -> None:
    """Run a click command with the process's arguments and exit; never returns.

    A module's `main` needs nothing else: `def main() -> None: terms.run(command)`.
    """
    sys.exit(_status_of(command))


def _status_of(command: click.Command) -> int:
    try:
        status = command.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CxrfastError as error:
        click.echo(f"Error: {error}", err=True)
        return USER_CAN_MEND
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. Run the same command again to go on from what it has saved.", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        click.echo(f"Error: {error.strerror}: {error.filename or 'while writing'}", err=True)
        return USER_CAN_MEND
    return status if isinstance(status, int) else 0
