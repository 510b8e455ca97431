"""A web server on loopback that serves a folder, with ranges, and with the faults that a test asks for."""

import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RANGE = re.compile(r"bytes=(\d+)-(\d+)?")


class Site:
    """What a server serves, how, and what was asked of it.

    `faults`: for each file name a list of faults, one a request, each used once; `always`: faults of every request.
    A fault is `("status", 503)`, `("drop", bytes)`, `("short", bytes)`, `("stall", seconds)`, `("wrong", None)`,
    `("slow", seconds)` or `("whole", None)`, which sends the whole file as if it knew no ranges.
    """

    def __init__(self, folder):
        self.folder = folder
        self.faults = {}
        self.always = {}
        self.requests = Counter()
        self.sent = Counter()  # bytes
        self.ranges = []
        self.headers = []
        self.stopping = threading.Event()
        self._lock = threading.Lock()

    def fault(self, name):
        with self._lock:
            self.requests[name] += 1
            waiting = self.faults.get(name)
            return waiting.pop(0) if waiting else self.always.get(name, (None, None))

    def count(self, name, nbytes):
        with self._lock:
            self.sent[name] += nbytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        site = self.server.site
        path = site.folder / self.path.lstrip("/").partition("?")[0]
        kind, amount = site.fault(path.name)
        site.headers.append(dict(self.headers))
        if kind == "status":
            self._reply(amount, b"no")
        elif not path.is_file():
            self._reply(404, b"no such file")
        else:
            self._send(path, kind, amount)

    def _send(self, path, kind, amount):
        site, content = self.server.site, path.read_bytes()
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        start, status = 0, 200
        if asked and kind != "whole":
            start, status = int(asked[1]), 206
            site.ranges.append((path.name, start))
            content = content[start : int(asked[2]) + 1 if asked[2] else None]
            if not content:
                self._reply(416, b"")
                return
        if kind == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        if kind == "short":
            content = content[:amount]
        if kind in ("stall", "slow"):
            site.stopping.wait(amount)
        if kind == "drop":
            self._drop(path.name, content, amount, status)
            return
        self._reply(status, content, path.name)

    def _drop(self, name, content, amount, status):
        """Promise everything, send some, break the connection."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) + 1))
        self.end_headers()
        self.wfile.write(content[:amount])
        self.server.site.count(name, min(amount, len(content)))
        self.close_connection = True

    def _reply(self, status, content, name=""):
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.server.site.count(name, len(content))
        except OSError:  # the client has given up
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass


@contextmanager
def serving(folder):
    """Serve a folder for as long as the block runs; gives (URL, Site)."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.site = Site(folder)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", server.site
        finally:
            server.site.stopping.set()
            server.shutdown()
            thread.join()


def wait_for(condition, seconds=20.0):
    """Wait until a condition holds; fail where it never does."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it has not come to that"
        time.sleep(0.01)
