"""Fetches files from mirrors while a user waits: in bounded time, verified, with progress.

Nothing here knows a data set: `torchvision_mnist` says what to fetch and from where.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: A mirror that is slower on average, in bytes per second, is given up as if it had stalled.
SLOWEST: Final = 64 * 1024

_CHUNK: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """The progress of one file."""

    file: str
    mirror: str
    received_bytes: int
    total_bytes: int | None
    """None if the server does not say."""


class DownloadError(Exception):
    """A download that failed; the message tells the user why."""


class Mirror:
    """A place to fetch from, and how many seconds it may still keep the user waiting.

    All files share these seconds. Waiting uses them up, and arriving data earns them back (at
    `SLOWEST`), so a stall, a trickle and a server that never answers all end the same way.
    """

    def __init__(self, url: str, seconds: float) -> None:
        self.url = url if url.endswith("/") else f"{url}/"
        self.seconds = self.seconds_left = seconds

    def next_chunk(self, body: _Body) -> bytes:
        """Wait for the next part of a response; b"" is its end.

        Raises:
            DownloadError: if the time ran out or the transfer failed.
        """
        begun = time.monotonic()
        try:
            item = body.chunks.get(timeout=max(self.seconds_left, 0.0))
        except queue.Empty:
            raise DownloadError(f"time-out after waiting {self.seconds:.1f} s") from None
        finally:
            self.seconds_left -= time.monotonic() - begun
        if isinstance(item, Exception):
            raise DownloadError(_describe(item, self.seconds)) from item
        self.seconds_left = min(self.seconds_left + len(item) / SLOWEST, self.seconds)
        return item


def fetch(
    file: str,
    md5: str,
    mirrors: Iterable[Mirror],
    folder: Path,
    progress: Callable[[DownloadProgress], None] | None = None,
) -> None:
    """Fetch a file into a folder from the first mirror that delivers it complete and unaltered.

    Raises:
        DownloadError: if no mirror does; the message gives the reason for each.
        OSError: if the folder cannot be written to.
    """
    reasons = []
    for mirror in mirrors:
        try:
            _fetch_from(mirror, file, md5, folder / file, progress)
        except DownloadError as error:
            reasons.append(f"{mirror.url}{file}: {error}")
        else:
            return
    raise DownloadError("; ".join(reasons))


def _fetch_from(
    mirror: Mirror,
    file: str,
    md5: str,
    path: Path,
    progress: Callable[[DownloadProgress], None] | None,
) -> None:
    body = _Body(f"{mirror.url}{file}", mirror.seconds)
    # The published checksums are MD5: they detect accidents, not malice.
    digest = hashlib.md5(usedforsecurity=False)
    received = 0
    body.start()
    try:
        with path.open("wb") as output:
            while chunk := mirror.next_chunk(body):
                output.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                if progress:
                    progress(DownloadProgress(file, mirror.url, received, body.total_bytes))
    finally:
        body.abandoned.set()
    if body.total_bytes is not None and received != body.total_bytes:
        raise DownloadError(f"truncated: {received:,} of {body.total_bytes:,} bytes")
    if digest.hexdigest() != md5:
        raise DownloadError(f"wrong checksum: MD5 {digest.hexdigest()}, expected {md5}")


class _Body(threading.Thread):
    """A response, read by its own thread.

    Only a thread can be abandoned in time: a socket's time-out covers neither name resolution
    nor a header that arrives byte by byte. An abandoned thread ends at its next chunk or
    time-out; it writes only to its queue.

    `chunks` receives the parts in turn and b"" at the end, or an exception at any point.
    `total_bytes`, the length that the server announced, is set before the first of them.
    """

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.timeout = timeout
        self.chunks: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
        self.total_bytes: int | None = None
        self.abandoned = threading.Event()

    def run(self) -> None:
        """Read the response into `chunks`."""
        try:
            request = urllib.request.Request(self.url, headers={"User-Agent": "gradcli"})
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                length = response.headers["Content-Length"]
                self.total_bytes = None if length is None else int(length)
                while not self.abandoned.is_set() and (chunk := response.read1(_CHUNK)):
                    self.chunks.put(chunk)
            self.chunks.put(b"")
        except Exception as error:  # the reader reports it, whatever it is
            self.chunks.put(error)


def _describe(error: Exception, seconds: float) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP status {error.code} ({error.reason})"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"time-out after waiting {seconds:.1f} s"
    if isinstance(cause, OSError) and cause.strerror:
        return f"connection failed ({cause.strerror})"
    return f"connection failed ({cause})"
