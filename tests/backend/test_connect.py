"""The command connect without a Label Studio. tests/e2e has those with one."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backend import cli


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "HOST", "API_KEY", "ACCESS_TOKEN", "API_KEY_FILE", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"LABEL_STUDIO_{name}", raising=False)


def connect(*options: str) -> int:
    return cli.main(["connect", "--backend-url", "http://backend:9090", *options])


def test_without_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert connect("--project", "1") == 1
    assert "set LABEL_STUDIO_URL to the address of Label Studio" in capsys.readouterr().err


def test_without_a_token_and_without_a_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    assert connect("--project", "1") == 1
    sentence = "set it as LABEL_STUDIO_API_KEY, or set LABEL_STUDIO_USERNAME and LABEL_STUDIO_PASS"
    assert sentence in capsys.readouterr().err


def test_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LABEL_STUDIO_USERNAME", "a@example.com")
    monkeypatch.setenv("LABEL_STUDIO_PASSWORD", "secret")
    assert connect("--new-project", "Cars") == 1
    said = capsys.readouterr().err
    assert "Label Studio does not answer at http://127.0.0.1:9 (LABEL_STUDIO_URL)" in said
    assert "Traceback" not in said


@pytest.fixture
def start_studio() -> Iterator[Callable[..., str]]:
    """Starts servers that answer each call to /api/ml in turn and 200 to all others."""
    servers: list[ThreadingHTTPServer] = []

    def start(*registrations: tuple[int, object]) -> str:
        left = list(registrations)

        class Studio(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_list = self.path.startswith(("/api/ml", "/api/webhooks/"))
                self.answer(200, [] if is_list else {"email": "a@example.com"})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(*left.pop(0))

            def answer(self, status: int, body: object) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Studio))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


UNREACHED = (400, "Can't connect to ML backend")


def test_it_waits_for_the_backend(
    monkeypatch: pytest.MonkeyPatch,
    start_studio: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", start_studio(UNREACHED, (201, {"id": 1})))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    assert connect("--project", "7", "--wait", "60") == 0
    said = capsys.readouterr().out
    assert "the clicks of project 7 to http://backend:9090" in said
    assert "no webhooks" in said


def test_a_private_address_that_label_studio_refuses(
    monkeypatch: pytest.MonkeyPatch,
    start_studio: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = (403, "URL resolves to a reserved network address (block: 10.0.0.0/8)")
    monkeypatch.setenv("LABEL_STUDIO_URL", start_studio(refused))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    assert connect("--project", "7", "--wait", "60") == 1
    said = capsys.readouterr().err
    assert "Set USE_DEFAULT_BANNED_SUBNETS=false in Label Studio's environment" in said
