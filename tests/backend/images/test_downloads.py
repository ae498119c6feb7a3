"""Bad downloads: each ends in a named error, and the clicks of others go on."""

import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from backend.http.addresses import AllowedHosts
from backend.http.client import HttpClient, Limits
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.image_ref import ImageRef
from backend.images.loading import ImageLoader

Recorded = Callable[[str], dict]

LIMITS = Limits(connect_s=1, read_s=1, total_s=1.5, max_bytes=1 << 20, backoff_s=0.01)


def body(content: bytes, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (size, content)


def huge_png() -> bytes:
    """30,000 x 30,000 black pixels in about 100 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return len(data).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")

    header = (30_000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((1 + 30_000 // 8) * 30_000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    )


class Faulty:
    """A host that sends the same bytes to every connection, and then more bytes for ever."""

    def __init__(self, first: bytes, more: bytes = b"", pause_s: float = 0.0) -> None:
        self._first, self._more, self._pause_s = first, more, pause_s
        self._over = threading.Event()
        self.taken = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/image.png"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            self.taken.release()
            connection.sendall(self._first)
            while self._more:
                connection.sendall(self._more)
                if self._over.wait(self._pause_s):
                    return

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # or accept() would take one more
        self._listener.close()


@pytest.fixture
def faulty() -> Iterator[Callable[..., Faulty]]:
    servers: list[Faulty] = []

    def start(*arguments: object) -> Faulty:
        servers.append(Faulty(*arguments))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


HUGE = huge_png()
_buffer = BytesIO()
Image.effect_noise((64, 64), 50).save(_buffer, "WEBP")
CUT = _buffer.getvalue()[:1000]
FAULTS = {
    "truncated": ((body(CUT),), "no image that can be decoded"),
    "lying": ((body(CUT, 99_999),), "cannot be fetched from here"),
    "huge": ((body(HUGE),), "the image is too large"),
    "empty": ((body(b""),), "an empty file"),
    "web-page": ((body(b"<!doctype html><p>log in"),), "web page"),
    "slow": ((body(b"", 9999), b"x", 0.1), "did not arrive within 1.5 s"),
    "endless": ((b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536), "is larger than 1 MiB"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_ends_in_a_named_error(
    faulty: Callable[..., Faulty], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, sentence = FAULTS[name]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    http = HttpClient(AllowedHosts.parse("127.0.0.1"), LIMITS)
    with pytest.raises(ImageError, match=sentence):
        ImageLoader(Fetcher(None, http)).load(ImageRef(faulty(*arguments).url)).scaled(64, None)
    assert list(tmp_path.iterdir()) == []


def test_the_huge_image_is_a_small_download() -> None:
    assert len(HUGE) < 150_000


def test_other_clicks_go_on_meanwhile(
    backend, recorded: Recorded, faulty: Callable[..., Faulty]
) -> None:
    """Three clicks wait for a slow host; the other clicks get their masks."""
    slow = faulty(body(b"", 9999), b"x", 0.2)
    stuck = recorded("click_positive")["json"]
    stuck["tasks"][0]["data"]["image"] = slow.url
    good = recorded("click_positive")["json"]
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(backend.client.post, "/predict", json=stuck) for _ in range(3)]
        slow.taken.acquire()
        for _ in range(10):
            (prediction,) = backend.client.post("/predict", json=good).json()["results"]
            assert prediction["result"]
            assert backend.client.get("/health").status_code == 200
        assert not any(answer.done() for answer in waiting)
        assert not slow.taken.acquire(blocking=False), "one download is for all three"
        slow.close()
        for answer in waiting:
            assert answer.result().json()["results"][0]["result"] == []
