"""How commands end: one message and a status."""

import errno
import subprocess
import sys

import click
import pytest

from cxrfast.cli import terms
from cxrfast.errors import PackError


def ending(callback, monkeypatch, capsys, *, arguments=()):
    """Run a command whose body is `callback`; return its status, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["tool", *arguments])
    with pytest.raises(SystemExit) as ended:
        terms.run(click.command()(callback))
    output = capsys.readouterr()
    return ended.value.code, output.out, output.err


def raising(error):
    def callback():
        raise error

    return callback


def test_success_is_0_and_prints_what_the_command_printed(monkeypatch, capsys):
    """Nothing is added."""
    assert ending(lambda: click.echo("done"), monkeypatch, capsys) == (0, "done\n", "")


def test_a_users_mistake_is_one_message_and_2(monkeypatch, capsys):
    """No traceback, nothing on stdout."""
    assert ending(raising(PackError("too many")), monkeypatch, capsys) == (2, "", "Error: too many\n")


def test_wrong_usage_is_2_and_help_0(monkeypatch, capsys):
    """As click has it, on stderr and stdout."""
    status, out, error = ending(lambda: None, monkeypatch, capsys, arguments=["--nonsense"])
    assert (status, out) == (2, "")
    assert "No such option" in error
    status, out, error = ending(lambda: None, monkeypatch, capsys, arguments=["--help"])
    assert (status, error) == (0, "")
    assert "Usage:" in out


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_is_130_and_says_how_to_go_on(error, monkeypatch, capsys):
    """A sentence, not a traceback."""
    status, _, message = ending(raising(error), monkeypatch, capsys)
    assert status == 130
    assert "Run the same command again" in message


@pytest.mark.parametrize(
    "number",
    [
        errno.EACCES, errno.ENOSPC, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO,
        errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT, errno.EHOSTDOWN,
    ],
)  # fmt: skip
def test_what_the_user_can_mend_of_the_system_is_2(number, monkeypatch, capsys):
    """Permissions, full and lost disks and links to nowhere are named with the file."""
    status, _, message = ending(raising(OSError(number, "full or shut", "/some/file")), monkeypatch, capsys)
    assert status == 2
    assert message == "Error: full or shut: /some/file\n"


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    """An error that is no message to users comes through as it is."""
    monkeypatch.setattr(sys, "argv", ["tool"])
    for error in (ZeroDivisionError("ours"), OSError(errno.EINVAL, "ours")):
        with pytest.raises(type(error), match="ours"):
            terms.run(click.command()(raising(error)))


def test_a_status_that_a_command_sets_is_kept(monkeypatch, capsys):
    """A checking command may end with 1 where it found something."""

    def callback():
        click.get_current_context().exit(1)

    assert ending(callback, monkeypatch, capsys)[0] == 1


def test_a_closed_pipe_ends_quietly():
    """`cxrfast-shard ... | head` leaves no traceback."""
    program = (
        "import click\nfrom cxrfast.cli import terms\n"
        "terms.run(click.command()(lambda: [click.echo('x' * 1000) for _ in range(10000)]))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(10)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert error == b""
