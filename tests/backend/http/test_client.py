"""The HTTP client against real servers on loopback: addresses, time and size are limited."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from backend import __version__
from backend.http.addresses import AllowedHosts
from backend.http.client import HttpClient, Limits, Response, parse_url
from backend.http.errors import HttpClientError

LOOPBACK = AllowedHosts.parse("127.0.0.0/8")
QUICK = Limits(connect_s=0.5, read_s=0.5, total_s=1.0, max_bytes=1 << 16, backoff_s=0.01)
OK = b"HTTP/1.1 200 OK\r\n"

Answering = Callable[[socket.socket, int], None]


class Server:
    """A server that sends raw bytes to each connection."""

    def __init__(self, answer: Answering, host: str = "127.0.0.1") -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.requests.append(connection.recv(1 << 16))
            self.answer(connection, len(self.requests))

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: Answering | bytes, host: str = "127.0.0.1") -> Server:
        if isinstance(answer, bytes):
            content = answer
            answer = lambda connection, _: connection.sendall(content)  # noqa: E731
        servers.append(Server(answer, host))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def ask(url: str, limits: Limits = QUICK, **options: object) -> Response:
    http = HttpClient(options.pop("allowed_hosts", LOOPBACK), limits, options.pop("resolve", None))
    return http.request("GET", parse_url(url), deadline=http.deadline(), **options)


def drip(connection: socket.socket, data: bytes) -> None:
    """Send byte after byte. Each byte alone is in time."""
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def silent(connection: socket.socket, _: int) -> None:
    connection.recv(1)  # until the other side gives up


def slow_headers(connection: socket.socket, _: int) -> None:
    drip(connection, OK + b"X-Slow: " + b"x" * 1000)


def slow_body(connection: socket.socket, _: int) -> None:
    connection.sendall(OK + b"Content-Length: 1000\r\n\r\n")
    drip(connection, b"x" * 1000)


def endless_body(connection: socket.socket, _: int) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b"x" * 4096)


def endless_headers(connection: socket.socket, _: int) -> None:
    connection.sendall(OK)
    while True:
        connection.sendall(b"X-More: " + b"x" * 4096 + b"\r\n")


class TestFaults:
    @pytest.mark.parametrize(
        ("answer", "sentence"),
        [
            pytest.param(silent, "its host does not answer", id="silent"),
            pytest.param(slow_headers, "did not arrive within 1 s", id="slow-headers"),
            pytest.param(slow_body, "did not arrive within 1 s", id="slow-body"),
            pytest.param(endless_body, "is larger than 65536 bytes", id="endless-body"),
            pytest.param(endless_headers, "cannot be fetched from here", id="endless-headers"),
            pytest.param(
                OK + b"Content-Length: 99999999\r\n\r\nx", "is larger than", id="large-by-its-word"
            ),
            pytest.param(
                OK + b"Content-Length: 99\r\n\r\nx", "cannot be fetched from here", id="cut-off"
            ),
            pytest.param(b"", "cannot be fetched from here", id="closed"),
            pytest.param(b"hello\r\n\r\n", "cannot be fetched from here", id="not-http"),
            pytest.param(
                OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: 3\r\n\r\nxyz",
                r"compressed file \(gzip, gzip\).*switch the compression of images off",
                id="compressed",
            ),
            pytest.param(
                OK + b"Content-Encoding: aws-chunked,BR\r\nContent-Length: 3\r\n\r\nxyz",
                "compressed file",
                id="compressed-among-others",
            ),
        ],
    )
    def test_each_ends_in_a_sentence(
        self, serve: Callable[..., Server], answer: Answering | bytes, sentence: str
    ) -> None:
        with pytest.raises(HttpClientError, match=sentence):
            ask(serve(answer).url)

    @pytest.mark.parametrize("encoding", ["aws-chunked", "utf-8", "none", "identity, identity", ""])
    def test_an_encoding_that_is_no_compression_is_passed_over(
        self, serve: Callable[..., Server], encoding: str
    ) -> None:
        head = f"Content-Encoding: {encoding}\r\nContent-Length: 3\r\n\r\n".encode()
        assert ask(serve(OK + head + b"xyz").url).content == b"xyz"

    def test_nobody_listens(self, serve: Callable[..., Server]) -> None:
        server = serve(b"")
        server.close()
        with pytest.raises(HttpClientError, match="cannot be fetched from here.*refused"):
            ask(server.url)

    def test_no_such_host(self) -> None:
        def resolve(host: str, port: int) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        with pytest.raises(HttpClientError, match="there is no host gone.example"):
            ask("http://gone.example/", resolve=resolve)

    def test_secrets_of_a_url_are_not_in_the_sentence(self, serve: Callable[..., Server]) -> None:
        url = serve(b"").url.replace("//", "//user:hidden@") + "image?signature=hidden#hidden"
        with pytest.raises(HttpClientError, match="/image cannot be fetched") as caught:
            ask(url)
        assert "hidden" not in str(caught.value)


class TestRetries:
    @pytest.mark.parametrize(
        "failure",
        [
            pytest.param(b"", id="closed"),
            pytest.param(b"HTTP/1.1 502 Bad Gateway\r\n\r\n", id="502"),
            pytest.param(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", id="503"),
            pytest.param(b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", id="504"),
            pytest.param(b"HTTP/1.1 429 Too Many\r\nRetry-After: 0\r\n\r\n", id="429"),
        ],
    )
    def test_a_failure_that_passes(self, serve: Callable[..., Server], failure: bytes) -> None:
        def answer(connection: socket.socket, count: int) -> None:
            connection.sendall(failure if count < 3 else OK + b"Content-Length: 1\r\n\r\nx")

        server = serve(answer)
        assert ask(server.url).content == b"x"
        assert len(server.requests) == 3

    @pytest.mark.parametrize(
        ("failure", "count"),
        [
            pytest.param(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 3, id="503"),
            pytest.param(b"HTTP/1.1 404 Not Found\r\n\r\n", 1, id="404"),
            pytest.param(b"HTTP/1.1 429 Too Many\r\nRetry-After: 3600\r\n\r\n", 1, id="an-hour"),
            pytest.param(
                b"HTTP/1.1 429 Too Many\r\nRetry-After: Wed, 01 Jan 2200 00:00:00 GMT\r\n\r\n",
                1,
                id="a-date",
            ),
        ],
    )
    def test_a_failure_that_stays(
        self, serve: Callable[..., Server], failure: bytes, count: int
    ) -> None:
        server = serve(failure)
        assert not ask(server.url).is_ok
        assert len(server.requests) == count


class TestAddresses:
    def test_loopback_is_refused_unless_allowed(self, serve: Callable[..., Server]) -> None:
        server = serve(OK + b"Content-Length: 1\r\n\r\nx")
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1"):
            with pytest.raises(HttpClientError, match="not on the public internet.*ALLOWED_HOSTS"):
                ask(f"http://{host}:{server.port}/", allowed_hosts=AllowedHosts())
        assert server.requests == []
        assert ask(server.url, allowed_hosts=AllowedHosts.parse("127.0.0.1")).is_ok
        assert ask(server.url, allowed_hosts=AllowedHosts(), is_trusted=True).is_ok

    def test_a_name_that_changes_its_address_is_looked_up_once(
        self, serve: Callable[..., Server]
    ) -> None:
        """The name first has an allowed address, then another address: only the first counts."""
        allowed = serve(OK + b"Content-Length: 7\r\n\r\nallowed", "127.0.0.2")
        answers = iter([["127.0.0.2"], ["127.0.0.3"]])
        http = HttpClient(AllowedHosts.parse("127.0.0.2"), QUICK, lambda host, port: next(answers))
        url = parse_url(f"http://rebind.example:{allowed.port}/")
        response = http.request("GET", url, deadline=http.deadline())
        assert response.content == b"allowed"
        assert b"\r\nHost: rebind.example:" in allowed.requests[0]
        with pytest.raises(HttpClientError, match=r"rebind.example \(127.0.0.3\) is not on"):
            http.request("GET", url, deadline=http.deadline())

    def test_one_forbidden_address_among_several_is_enough(self) -> None:
        with pytest.raises(HttpClientError, match="169.254.169.254"):
            ask(
                "http://both.example/",
                allowed_hosts=AllowedHosts(),
                resolve=lambda host, port: ["93.184.216.34", "169.254.169.254"],
            )

    def test_an_address_that_does_not_answer_gives_way_to_the_next(
        self, serve: Callable[..., Server]
    ) -> None:
        server = serve(OK + b"Content-Length: 1\r\n\r\nx", "127.0.0.2")
        answer = ask(
            f"http://two.example:{server.port}/",
            resolve=lambda host, port: ["127.0.0.9", "127.0.0.2"],
        )
        assert answer.is_ok

    def test_a_proxy_of_the_environment_is_not_used(
        self, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        proxy, server = serve(b""), serve(OK + b"Content-Length: 1\r\n\r\nx")
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert ask(server.url).is_ok
        assert proxy.requests == []


def test_json_that_is_too_deep_is_no_json() -> None:
    assert Response(httpx.URL("http://host/"), 200, content=b"[" * 100_000).json() is None


def test_any_json_is_sent(serve: Callable[..., Server]) -> None:
    value = {"number": 2**70, "text": "\ud83d"}
    bodies: list[bytes] = []

    def answer(connection: socket.socket, _: int) -> None:
        received = server.requests[-1]
        while not received.endswith(b"}"):
            received += connection.recv(1 << 16)
        bodies.append(received.partition(b"\r\n\r\n")[2])
        connection.sendall(OK + b"Content-Length: 0\r\n\r\n")

    server = serve(answer)
    ask(server.url, json=value)
    assert json.loads(bodies[0]) == value


def test_cookies_are_not_kept(serve: Callable[..., Server]) -> None:
    server = serve(OK + b"Set-Cookie: id=1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    http = HttpClient(LOOPBACK, QUICK)
    for _ in range(2):
        http.request("GET", httpx.URL(server.url), deadline=http.deadline())
    assert len(server.requests) == 2
    assert b"Cookie" not in server.requests[1]


def test_hosts_are_told_the_version(serve: Callable[..., Server]) -> None:
    server = serve(OK + b"Content-Length: 0\r\n\r\n")
    ask(server.url)
    assert f"User-Agent: mobile-sam-backend/{__version__}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://h/a.png",
        "gopher://h/a",
        "javascript:1",
        "a.png",
        "",
        "http:///a.png",
        "http://[::1/a.png",
        "http://h:99999/",
        "http://xn--/",
        "http://h/\n",
        "//h/a.png",
    ],
)
def test_a_url_that_cannot_be_fetched(url: str) -> None:
    with pytest.raises(HttpClientError, match="not a valid URL|cannot be fetched"):
        parse_url(url)
