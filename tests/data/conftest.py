"""A small data set in MNIST's format, and a web server on loopback that can misbehave."""

import contextlib
import gzip
import hashlib
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

IMAGES_OF_TRAIN, LABELS_OF_TRAIN, IMAGES_OF_TEST, LABELS_OF_TEST = FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx_bytes(values: np.ndarray) -> bytes:
    return struct.pack(f">I{values.ndim}I", 0x800 + values.ndim, *values.shape) + values.tobytes()


@dataclass
class Tiny:
    """60 training and 20 test images of 5 x 4 pixels in 3 uneven classes, sorted by class."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    def contents(self) -> dict[str, bytes]:
        """The plain files, by name."""
        arrays = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        return {name: idx_bytes(array) for name, array in zip(FILES, arrays, strict=True)}

    def write(self, folder: Path, *, zipped: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.contents().items():
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
        return folder


@pytest.fixture
def tiny() -> Tiny:
    random = np.random.default_rng(7)
    return Tiny(
        random.integers(0, 256, (60, 5, 4), dtype=np.uint8),
        np.repeat(np.array([0, 1, 2], dtype=np.uint8), (30, 24, 6)),
        random.integers(0, 256, (20, 5, 4), dtype=np.uint8),
        np.repeat(np.array([0, 1, 2], dtype=np.uint8), (8, 8, 4)),
    )


@dataclass
class Server:
    """Serves `files` below each of a few folders whose names say how it goes wrong."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def mirror(self, behaviour: str) -> str:
        """`good`, `altered`, `unavailable`, `stalling`, `silent`, `dripping` or `truncated`."""
        return f"{self.address}/{behaviour}/"

    def md5(self, file: str) -> str:
        return hashlib.md5(self.files[file]).hexdigest()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.requests.append(request.path)
        _, behaviour, file = request.path.split("/")
        content = self.files[file]
        if behaviour == "silent":
            self.released.wait(30)
            return
        if behaviour == "unavailable":
            request.send_error(503)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        half = len(content) // 2
        if behaviour == "good":
            request.wfile.write(content)
        elif behaviour == "altered":
            request.wfile.write(content[:-1] + bytes([content[-1] ^ 1]))
        elif behaviour == "truncated":
            request.wfile.write(content[:half])
        elif behaviour == "stalling":
            request.wfile.write(content[:half])
            request.wfile.flush()
            self.released.wait(30)
        elif behaviour == "dripping":
            for position in range(len(content)):
                request.wfile.write(content[position : position + 1])
                if self.released.wait(0.02):
                    return


@pytest.fixture
def server(tiny, monkeypatch):
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            # A client that gives up breaks the connection, as it should.
            with contextlib.suppress(ConnectionError):
                server.answer(self)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        server = Server(f"http://127.0.0.1:{listener.server_address[1]}")
        server.files = {f"{name}.gz": gzip.compress(c) for name, c in tiny.contents().items()}
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        listener.shutdown()
        thread.join()
