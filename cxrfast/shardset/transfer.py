"""Bytes of a file behind a URL, in pieces, over connections that break.

Files are asked for piece by piece (ranges), and not as one long stream: a request of its own every 8 MiB costs a round
trip, and in return every kind of storage that fsspec knows can go on from the byte reached, be cancelled within a tenth
of a second and have its silence noticed. After a failure pieces get smaller, so that a line which breaks every few
hundred kilobytes, or is slow, still gets through. fsspec is imported here alone, and only when a URL is opened.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from os import getpid
from typing import Any

from cxrfast.errors import ShardSetError

PIECE = 8 * 1024**2
"""Bytes of a request, at most."""
SMALLEST = 64 * 1024
"""Bytes of a request after failures, at least."""
LONGEST_PAUSE = 8.0
"""Seconds between two tries, at most."""

_TICK = 0.1
_PASSING = {408, 425, 429}  # the only 4xx that another try may mend
_OF_EXTRA = ("http", "https", "s3", "s3a")

Options = Mapping[str, Mapping[str, Any]]

_filesystems: dict[tuple[int, str, str], Any] = {}


class Stopped(Exception):
    """Whoever asked for the bytes does not want them any more."""


class _Failed(Exception):
    """A try failed in a way that another may not; says how."""


def never() -> bool:
    """Say that nobody asks to stop."""
    return False


def wait(seconds: float, stopped: Callable[[], bool]) -> None:
    """Sleep; Stopped soon after `stopped()` has become true."""
    until = time.monotonic() + seconds
    while not stopped():
        left = until - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _TICK))
    raise Stopped


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How files are fetched: with which options, and with how much patience."""

    options: Options = field(repr=False)
    """fsspec's options by protocol."""
    retries: int
    """How many failures a file may have; the next one is final."""
    stall: float
    """Seconds after which a request without its piece counts as failed."""
    pause: float
    """Seconds before the first further try; doubled each time, to LONGEST_PAUSE."""

    @property
    def bound(self) -> float:
        """The most seconds that failures of one file can take together: every request silent, and all pauses."""
        return self.stall * (self.retries + 1) + sum(self._pause(number) for number in range(1, self.retries + 1))

    def whole(self, url: str) -> bytes:
        """Return a small file whose size is not known. Raises ShardSetError, as `pieces` does."""
        failures = 0
        while True:
            try:
                return self._ask(url, None, None, never)
            except _Failed as error:
                failures = self._failed(url, failures, error, never)

    def pieces(self, url: str, *, start: int, size: int, stopped: Callable[[], bool] = never) -> Iterator[bytes]:
        """Yield the bytes of a file of `size` bytes from `start` on, in pieces, however often connections break.

        Raises ShardSetError at once where the file is absent or access is refused, and after `retries` failures;
        Stopped soon after `stopped()` has become true.
        """
        failures, length = 0, PIECE
        while start < size:
            asked = min(length, size - start)
            try:
                data = self._ask(url, start, start + asked, stopped)
                if len(data) > asked:
                    data = _from_whole(data, start, size, asked)
                yield data
                start += len(data)
                if len(data) < asked:
                    raise _Failed(f"the reply ended after {len(data):,} of {asked:,} bytes")
            except _Failed as error:
                failures = self._failed(url, failures, error, stopped)
                length = max(asked // 4, SMALLEST)

    def _failed(self, url: str, failures: int, error: _Failed, stopped: Callable[[], bool]) -> int:
        """Count a failure, and wait before the next try; ShardSetError after the last."""
        if failures >= self.retries:
            raise ShardSetError(
                f"{shown(url)} cannot be fetched: {error} (tried {failures + 1} times); check the server and the "
                "network, then run again: what has arrived is kept"
            ) from error
        wait(self._pause(failures + 1), stopped)
        return failures + 1

    def _pause(self, failure: int) -> float:
        return min(self.pause * 2.0 ** (failure - 1), LONGEST_PAUSE)

    def _ask(self, url: str, start: int | None, stop: int | None, stopped: Callable[[], bool]) -> bytes:
        """Return bytes `start` to `stop`, or what came of them; `_Failed` where another try may help."""
        filesystem = _filesystem(url, self.options)
        try:
            return self._reply(filesystem, filesystem._strip_protocol(url), start, stop, stopped)
        except (Stopped, _Failed):
            raise
        except Exception as error:  # each kind of storage has errors of its own
            final = _refusal(error)
            if final is not None:
                raise ShardSetError(f"{shown(url)} {final}") from error
            raise _Failed(_told(error)) from error

    def _reply(
        self,
        filesystem: Any,  # noqa: ANN401 - fsspec has no types
        path: str,
        start: int | None,
        stop: int | None,
        stopped: Callable[[], bool],
    ) -> bytes:
        if stopped():
            raise Stopped
        if not filesystem.async_impl:
            return bytes(filesystem.cat_file(path, start=start, end=stop))
        import asyncio

        future = asyncio.run_coroutine_threadsafe(filesystem._cat_file(path, start=start, end=stop), filesystem.loop)
        until = time.monotonic() + self.stall
        try:
            while True:
                try:
                    return bytes(future.result(timeout=_TICK))
                except TimeoutError:
                    if future.done():  # the storage's own timeout
                        raise
                if stopped():
                    raise Stopped
                if time.monotonic() > until:
                    raise _Failed(f"no reply within {self.stall:g} seconds")
        finally:
            future.cancel()


def is_url(name: object) -> bool:
    """Return whether a name is a URL and not a folder's."""
    return isinstance(name, str) and "://" in name and name.partition("://")[0].replace("+", "").isalnum()


def joined(url: str, name: str) -> str:
    """Return the URL of a file in a folder; a query (a token, say) stays behind the name."""
    base, mark, query = url.partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{query}"


def shown(url: str) -> str:
    """Return a URL as messages may show it: without what may be a secret, user and query."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _from_whole(data: bytes, start: int, size: int, asked: int) -> bytes:
    """Return the rest of a file that a server without ranges sent whole."""
    if len(data) != size:
        raise _Failed(f"the reply has {len(data):,} bytes where {asked:,} were asked for")
    return data[start:]


def _filesystem(url: str, options: Options) -> Any:  # noqa: ANN401 - fsspec has no types
    """Return this process's file system of a URL's protocol; made once, since each holds connections."""
    protocol = url.partition("://")[0].lower()
    given = dict(options.get(protocol, {}))
    key = (getpid(), protocol, repr(sorted(given.items(), key=lambda item: item[0])))
    if key not in _filesystems:
        if protocol in ("http", "https"):  # ranges of a file that is compressed on the way would be other bytes
            given["headers"] = {"Accept-Encoding": "identity", **given.get("headers", {})}
        _filesystems[key] = _new_filesystem(shown(url), protocol, given)
    return _filesystems[key]


def _new_filesystem(url: str, protocol: str, options: dict[str, Any]) -> Any:  # noqa: ANN401
    package = "'cxrfast[remote]'" if protocol in _OF_EXTRA else f"fsspec and its package for {protocol}://"
    remedy = f"pip install {package}"
    try:
        import fsspec

        return fsspec.get_filesystem_class(protocol)(**options, skip_instance_cache=True)
    except ImportError as error:
        raise ShardSetError(f"{url} needs a package that is not installed ({error.name or error}): {remedy}") from error
    except ValueError as error:
        raise ShardSetError(f"{url}: {error}; use http(s)://, s3:// or a local folder") from error
    except TypeError as error:
        raise ShardSetError(f"the storage_options of {protocol} do not fit: {error}") from error


def _refusal(error: Exception) -> str | None:
    """Say why no further try can help; None where one may."""
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return "is not there (404 or no such key): check the address, and that the whole set was uploaded"
    if isinstance(error, PermissionError) or status in (401, 403) or "Credential" in type(error).__name__:
        return f"may not be read ({_told(error)}): check the address and the storage_options of its protocol"
    if isinstance(status, int) and 400 <= status < 500 and status not in _PASSING:
        return f"is refused by the server ({_told(error)}): check the address and that the file is as it was packed"
    return None


def _told(error: Exception) -> str:
    """Say what happened; the text of an HTTP error would repeat the whole URL."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status:
        return f"HTTP {status} {getattr(error, 'message', '')}".strip()
    text = str(error)
    if not text or "://" in text or "?" in text:  # an address may hold a key
        return type(error).__name__
    return f"{type(error).__name__}: {text}"
