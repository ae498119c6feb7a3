"""Half-sent requests hold nothing up: a request gets a thread only when all of it has come."""

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from backend.settings import WAITING_CLICKS

Recorded = Callable[[str], dict]
THREADS = 4
SENDERS = 3 * (THREADS + WAITING_CLICKS)
PASSWORD = {"BASIC_AUTH_USER": "sam", "BASIC_AUTH_PASS": "secret"}
HEADER = "{} HTTP/1.1\r\nHost: backend\r\nContent-Length: 1000\r\n\r\n"
HALVES = [
    pytest.param("", id="nothing"),
    pytest.param("POST /predict HTTP/1.1\r\nHost: back", id="half-a-header"),
    pytest.param(HEADER.format("POST /predict") + '{"tasks": [', id="half-a-body"),
    pytest.param(HEADER.format("POST /webhook") + '{"action": ', id="half-a-webhook"),
    pytest.param("GET /health HTTP/1.1\r\nHost: backend\r\n\r\nGET /hea", id="half-a-second-one"),
]


@pytest.fixture(scope="module")
def one_worker(start_backend, image_host: str):
    """A backend with one worker, few threads and a password."""
    return start_backend(LABEL_STUDIO_URL=image_host, THREADS=str(THREADS), **PASSWORD)


@contextlib.contextmanager
def senders(backend, count: int, half: str) -> Iterator[list[socket.socket]]:
    """Connections that have sent a part of a request and then wait."""
    url = backend.client.base_url
    with contextlib.ExitStack() as opened:
        connections = []
        for _ in range(count):
            connection = opened.enter_context(socket.create_connection((url.host, url.port), 60))
            connection.sendall(half.encode())
            connections.append(connection)
        yield connections


@pytest.mark.parametrize("half", HALVES)
def test_half_sent_requests_block_nobody(one_worker, recorded: Recorded, half: str) -> None:
    with senders(one_worker, SENDERS, half):
        # Label Studio shows a backend as disconnected when /health takes longer than a second.
        health = httpx.get(f"{one_worker.client.base_url}/health", timeout=20)
        assert health.status_code == 200
        body = recorded("click_positive")["json"]
        click = one_worker.client.post("/predict", json=body, auth=("sam", "secret"), timeout=20)
        assert click.json()["results"][0]["result"]


def test_the_second_half_may_come_later(one_worker, recorded: Recorded) -> None:
    body = json.dumps(recorded("webhook_annotation_created")["json"])
    head = f"POST /webhook HTTP/1.1\r\nHost: backend\r\nContent-Length: {len(body)}\r\n\r\n"
    with senders(one_worker, SENDERS, head + body[:50]) as connections:
        assert one_worker.client.get("/health").status_code == 200
        for connection in connections:
            connection.sendall(body[50:].encode())
            assert connection.recv(100).startswith(b"HTTP/1.1 201 ")


HASTY = """
from backend import channels, worker
channels._REQUEST_S = 1.0
HastyWorker = worker.WaitressWorker
"""


def test_a_half_sent_request_is_dropped_in_the_end(start_backend, tmp_path: Path) -> None:
    (tmp_path / "hasty.py").write_text(HASTY)
    hasty = f"--pythonpath {tmp_path} --worker-class hasty.HastyWorker"
    backend = start_backend(GUNICORN_CMD_ARGS=hasty)
    with senders(backend, 2, "POST /predict HTTP/1.1\r\nHost: back") as connections:
        for connection in connections:
            assert connection.recv(100) == b""


@pytest.mark.parametrize("how", ["length", "chunked"])
@pytest.mark.parametrize(
    ("path", "user", "limit", "status"),
    [
        ("/webhook", None, 16 << 20, 413),
        ("/setup", ("sam", "secret"), 1 << 20, 413),
        ("/predict", None, 1 << 20, 401),
        ("/predict", ("sam", "wrong"), 1 << 20, 401),
    ],
)
def test_a_body_over_the_limit_is_refused_before_it_is_read(
    one_worker, how: str, path: str, user: tuple[str, str] | None, limit: int, status: int
) -> None:
    """The answer comes while the end of the body is still missing."""
    basic = "" if user is None else f"Authorization: {httpx.BasicAuth(*user)._auth_header}\r\n"
    length = f"Content-Length: {limit + 1}" if how == "length" else "Transfer-Encoding: chunked"
    head = f"POST {path} HTTP/1.1\r\nHost: backend\r\n{basic}{length}\r\n\r\n"
    chunk = f"{2 * limit:x}\r\n".encode() + bytes(limit + 1)  # half of a chunk
    url = one_worker.client.base_url
    with socket.create_connection((url.host, url.port), 60) as connection:
        connection.sendall(head.encode() + (chunk if how == "chunked" else b""))
        assert connection.recv(100).startswith(f"HTTP/1.1 {status} ".encode())


def test_a_reload_loses_no_request(start_backend, image_host: str, recorded: Recorded) -> None:
    """Clients on open connections get every answer while the workers are replaced."""
    backend = start_backend(LABEL_STUDIO_URL=image_host, WORKERS="2", THREADS=str(THREADS))
    body = recorded("click_positive")["json"]
    stop = threading.Event()
    answers: list[int] = []

    def click() -> None:
        with httpx.Client(base_url=backend.client.base_url, timeout=60) as client:
            while not stop.is_set():
                answers.append(client.post("/predict", json=body).status_code)

    clients = [threading.Thread(target=click) for _ in range(3)]
    for client in clients:
        client.start()
    old = workers(backend)
    backend.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while old & workers(backend):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    before = len(answers)
    while len(answers) < before + 5:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stop.set()
    for client in clients:
        client.join()
    assert set(answers) == {200}


def workers(backend) -> set[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(backend.process.pid)], capture_output=True, text=True
    )
    return {int(pid) for pid in listed.stdout.split()}
