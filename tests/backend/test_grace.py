"""Reloads, stops and too much work: every click gets a mask, or an honest answer in time."""

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import certifi
import httpx
import psutil
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from model.weights import BUILTIN_PATH

# Workers with small limits. A worker loads only when the file "may-load" is there. The decoder of a
# project is not found before the file "may-find" is there, and a worker that has stopped ends only
# when the file "may-end" is there.
PLANTED = """
import os, pathlib, time, types
from backend import channels, worker

channels.CONNECTIONS = worker.CONNECTIONS = 8
channels._QUEUE_S = 1.0
FOLDER = pathlib.Path(__file__).parent

def wait_for(name):
    while not (FOLDER / name).exists():
        time.sleep(0.05)

class PlantedWorker(worker.WaitressWorker):
    def load_wsgi(self):
        from backend.versions.project_decoders import ProjectDecoders

        find = ProjectDecoders.of

        def of(self, project_id, wait_s=0.0):
            wait_for("may-find")
            return find(self, project_id, wait_s)

        wait_for("may-load")
        ProjectDecoders.of = of
        super().load_wsgi()

    def run(self):
        if not (FOLDER / "may-end").exists():
            worker.os = types.SimpleNamespace(getppid=os.getppid, _exit=lambda status: None)
        super().run()
        wait_for("may-end")
"""


class ImageHost:
    """Serves a picture; every request waits for :meth:`release`.

    Attributes:
        asked: released once for each request that has come.
    """

    def __init__(self, content: bytes, start_server: Callable[..., str]) -> None:
        self.asked = threading.Semaphore(0)
        self._may_go = threading.Event()
        self._content = content
        self.url = start_server(self._answer)

    def _answer(self, request: object) -> tuple[int, dict[str, str], bytes]:
        self.asked.release()
        self._may_go.wait(120)
        return 200, {}, self._content

    def release(self) -> None:
        self._may_go.set()


@pytest.fixture
def slow_host(square, start_server: Callable[..., str]) -> Iterator[ImageHost]:
    content = BytesIO()
    square().save(content, "PNG")
    host = ImageHost(content.getvalue(), start_server)
    yield host
    host.release()


@pytest.fixture
def may_load(tmp_path: Path) -> Path:
    """While this file is missing, planted workers do not begin to serve."""
    (tmp_path / "planted.py").write_text(PLANTED)
    (tmp_path / "may-find").touch()
    (tmp_path / "may-end").touch()
    path = tmp_path / "may-load"
    path.touch()
    return path


@pytest.fixture
def start(start_backend, may_load: Path) -> Iterator[Callable]:
    """Starts a backend of planted workers, with further options of gunicorn."""
    started = []

    def begin(*options: str, **settings: str):
        planted = f"--pythonpath {may_load.parent} --worker-class planted.PlantedWorker"
        arguments = " ".join([planted, *options])
        started.append(start_backend(GUNICORN_CMD_ARGS=arguments, CACHE_DISK_GB="0", **settings))
        return started[-1]

    yield begin
    for backend in started:
        backend.stop()


def workers(backend) -> set[int]:
    return {child.pid for child in psutil.Process(backend.process.pid).children()}


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_at_a_reload_the_old_workers_serve_until_the_new_ones_do(
    start, may_load: Path, serve, click_at, rle_of, square, tmp_path: Path
) -> None:
    square().save(tmp_path / "known.png")
    click = click_at(f"{serve(tmp_path)}/known.png")
    backend = start(WORKERS="2")
    old = workers(backend)
    may_load.unlink()
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(workers(backend)) == 4)
    for _ in range(30):  # for longer than a worker waits for requests before it ends
        with httpx.Client(base_url=backend.url, timeout=60) as client:
            assert client.get("/health").status_code == 200
            time.sleep(0.1)
    assert rle_of(backend.client.post("/predict", json=click))
    assert old < workers(backend)
    may_load.touch()
    wait_until(lambda: not old & workers(backend))
    assert rle_of(backend.client.post("/predict", json=click))


def test_a_stopping_worker_closes_idle_connections_before_it_ends(start, may_load: Path) -> None:
    """A request that comes while the process ends would get no answer."""
    may_end = may_load.with_name("may-end")
    may_end.unlink()
    backend = start()
    address = httpx.URL(backend.url)
    old = workers(backend)
    with socket.create_connection((address.host, address.port), 60) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: backend\r\n\r\n")
        while not connection.recv(1 << 16).rstrip().endswith(b"}"):
            pass
        backend.process.send_signal(signal.SIGHUP)
        assert connection.recv(100) == b""
        assert old <= workers(backend)
    may_end.touch()
    wait_until(lambda: not old & workers(backend))


def other_weights(path: Path) -> None:
    """Write a checkpoint that differs from the built-in checkpoint in one number."""
    with safe_open(BUILTIN_PATH, "numpy") as file:
        arrays = {name: file.get_tensor(name).copy() for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    next(iter(arrays.values())).flat[0] *= 0.999
    save_file(arrays, path, metadata)


def test_a_reload_takes_new_weights_and_teams_and_refuses_damaged_files(
    start_backend, tmp_path: Path
) -> None:
    weights, teams = tmp_path / "weights.safetensors", tmp_path / "teams.toml"
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(Path(certifi.where()).read_text())
    weights.write_bytes(BUILTIN_PATH.read_bytes())
    teams.write_text('[red]\nurl = "http://127.0.0.1:9"\n')
    backend = start_backend(
        MOBILESAM_CHECKPOINT=str(weights),
        LABEL_STUDIOS=str(teams),
        REQUESTS_CA_BUNDLE=str(authorities),
        ALLOWED_HOSTS="",
    )

    def version(team: str = "red") -> str | None:
        answer = httpx.get(f"{backend.url}/{team}/health", timeout=60)
        return answer.json()["model_version"] if answer.status_code == 200 else None

    first = version()
    for path in (weights, teams, authorities):
        good = path.read_bytes()
        path.write_bytes(b"damaged")
        known = len(backend.log)
        backend.process.send_signal(signal.SIGHUP)
        refusal = "nothing is reloaded, the workers go on as before"
        wait_until(lambda known=known, refusal=refusal: refusal in backend.log[known:])
        assert version() == first
        path.write_bytes(good)

    other_weights(weights)
    teams.write_text(teams.read_text() + '[blue]\nurl = "http://127.0.0.1:9"\n')
    backend.process.send_signal(signal.SIGHUP)
    wait_until(lambda: version("blue") is not None)
    assert version("blue") != first
    backend.stop()


def test_a_stop_answers_the_click_in_flight_and_takes_no_new_ones(
    start, slow_host: ImageHost, click_at, rle_of
) -> None:
    backend = start(LABEL_STUDIO_URL=slow_host.url)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(
            backend.client.post, "/predict", json=click_at(f"{slow_host.url}/a.png")
        )
        assert slow_host.asked.acquire(timeout=60)
        backend.process.terminate()
        wait_until(lambda: not listens(backend.url))
        slow_host.release()
        assert rle_of(answer.result())
    assert backend.process.wait(60) == 0
    assert "SIGKILL" not in backend.log


def listens(url: str) -> bool:
    address = httpx.URL(url)
    try:
        socket.create_connection((address.host, address.port), 10).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_click_that_cannot_be_answered_before_the_end_is_refused(
    start, slow_host: ImageHost, click_at
) -> None:
    backend = start("--graceful-timeout 4", LABEL_STUDIO_URL=slow_host.url)
    with ThreadPoolExecutor() as pool:
        click = click_at(f"{slow_host.url}/a.png")
        answer = pool.submit(backend.client.post, "/predict", json=click)
        assert slow_host.asked.acquire(timeout=60)
        backend.process.terminate()
        refused(answer.result(), "the backend is being restarted: click again")
    assert backend.process.wait(60) == 0
    assert "SIGKILL" not in backend.log
    assert "requests that were not answered before the worker had to end: 1" in backend.log


def refused(answer: httpx.Response, sentence: str) -> None:
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json() == {"error": sentence}
    assert answer.reason_phrase == sentence


def test_when_all_threads_are_busy_short_requests_are_answered_and_clicks_refused(
    start, slow_host: ImageHost, click_at
) -> None:
    backend = start("--threads 1", LABEL_STUDIO_URL=slow_host.url)
    click = click_at(f"{slow_host.url}/a.png")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(backend.client.post, "/predict", json=click)
        assert slow_host.asked.acquire(timeout=60)
        second = pool.submit(backend.client.post, "/predict", json=click)
        for path in ("/", "/health", "/ready", "/versions"):
            assert backend.client.get(path).status_code == 200
        setup = {"project": "1", "hostname": slow_host.url}
        assert backend.client.post("/setup", json=setup).status_code == 200
        refused(second.result(), "the backend is overloaded: try again in a few seconds")
        slow_host.release()
        assert first.result().status_code == 200


def test_health_is_answered_while_setups_wait_for_a_decoder(start, may_load: Path) -> None:
    backend = start()
    may_find = may_load.with_name("may-find")
    may_find.unlink()
    setup = {"project": "1.2", "hostname": "http://127.0.0.1:1"}
    with ThreadPoolExecutor() as pool:
        waiting = [
            pool.submit(httpx.post, f"{backend.url}/setup", json=setup, timeout=60)
            for _ in range(5)  # fewer than the connections
        ]
        wait_until(lambda: "127.0.0.1:1" in backend.log)
        time.sleep(0.5)
        for _ in range(3):
            assert httpx.get(f"{backend.url}/health", timeout=60).status_code == 200
        assert not any(answer.done() for answer in waiting)
        may_find.touch()
        assert {answer.result().status_code for answer in waiting} == {200}


def test_connections_over_the_limit_are_refused(start) -> None:
    backend = start()
    address = httpx.URL(backend.url)
    body = json.dumps({"action": "x" * 100_000})
    with contextlib.ExitStack() as opened:
        for _ in range(8):
            connection = socket.create_connection((address.host, address.port), 60)
            opened.enter_context(connection).sendall(b"GET /hea")
        sentence = "the backend has too many open connections: try again in a few seconds"

        def is_refused() -> bool:
            answer = httpx.get(f"{backend.url}/health", timeout=60)
            return answer.status_code == 503

        wait_until(is_refused)
        refused(httpx.get(f"{backend.url}/health", timeout=60), sentence)
        refused(httpx.post(f"{backend.url}/webhook", content=body, timeout=60), sentence)
    wait_until(lambda: not is_refused())
    assert backend.log.count("8 connections are open, so further requests get the answer 503") == 1
