"""Two Label Studios on one backend: nothing of the one ever reaches the other."""

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image
from redis import Redis
from rq import SimpleWorker

from backend.images.image_ref import ImageRef
from backend.jobs import QUEUE_NAME
from backend.precompute import Report, embed_on_workers
from backend.settings import Settings
from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 240, 320
UPLOAD = "/data/upload/1/a.png"
LEFT = {"red": 10, "blue": 120}  # where the rectangle begins in the picture of each team
PASSWORDS = {"red": ("red-user", "red-pass"), "blue": ("blue-user", "blue-pass")}
FORBIDDEN = {"blue": "s3://bucket/secret.png"}


class LabelStudio:
    """Plays the Label Studio of a team: every file is the team's picture, for its token alone.

    Attributes:
        tokens: the Authorization of each request with one.
        paths: the path of each request.
        deleted: the tasks that do not exist any more.
    """

    def __init__(
        self, team: str, content: bytes, config: str, start_server: Callable[..., str]
    ) -> None:
        self.tokens: set[str] = set()
        self.paths: list[str] = []
        self.deleted: set[str] = set()
        self._team, self._content, self._config = team, content, config
        self.url = start_server(self._answer)

    def _answer(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        path = request.path.partition("?")[0]
        authorization = request.headers.get("Authorization")
        self.paths.append(path)
        if authorization:
            self.tokens.add(authorization)
        if authorization != f"Token {self._team}-token" and path != "/api/version/":
            return 401, {}, b""
        if path.startswith(("/data/", "/tasks/")):
            is_forbidden = "presign" in path and self._team in FORBIDDEN
            return (403, {}, b"") if is_forbidden else (200, {}, self._content)
        if path.startswith("/api/tasks/") and path.split("/")[3] in self.deleted:
            return 404, {}, b""
        found: dict[str, Any] = {}
        if path == "/api/projects/1/":
            found = {"id": 1, "label_config": self._config}
        elif path == "/api/tasks/":
            url = f"/data/upload/1/next-of-{self._team}.png"
            found = {"tasks": [{"id": 2, "data": {"image": url}}]}
        return 200, {}, json.dumps(found).encode()


def png(square: Callable[..., Image.Image], team: str) -> bytes:
    content = BytesIO()
    picture = Image.new("RGB", (WIDTH, HEIGHT), (120, 120, 120))
    picture.paste((210, 50, 40), (LEFT[team], 60, LEFT[team] + 180, 180))
    picture.save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="module")
def studios(square, click_at, start_server) -> dict[str, LabelStudio]:
    config = click_at("")["label_config"]
    return {team: LabelStudio(team, png(square, team), config, start_server) for team in LEFT}


def write_teams(path: Path, studios: dict[str, LabelStudio]) -> Path:
    tables = [
        f'[{team}]\nurl = "{studio.url}"\napi_key = "{team}-token"\n'
        f'basic_auth_user = "{PASSWORDS[team][0]}"\nbasic_auth_pass = "{PASSWORDS[team][1]}"\n'
        for team, studio in studios.items()
    ]
    path.write_text("\n".join(tables))
    return path


@pytest.fixture(scope="module")
def backend(start_backend, studios, tmp_path_factory: pytest.TempPathFactory):
    path = write_teams(tmp_path_factory.mktemp("teams") / "teams.toml", studios)
    return start_backend(LABEL_STUDIOS=str(path), ALLOWED_HOSTS="", WORKERS="2")


@pytest.fixture
def click(backend, click_at) -> Callable[..., httpx.Response]:
    """Clicks on the middle of an image as a team, with the team's password."""

    def send(team: str, url: str = UPLOAD, **changes: Any) -> httpx.Response:
        body = {**click_at(url), **changes}
        return backend.client.post(f"/{team}/predict", json=body, auth=PASSWORDS[team])

    return send


def columns(rle: list[int]) -> tuple[int, int]:
    """The first and the last column of a mask."""
    mask = decode_rle(rle).reshape(HEIGHT, WIDTH, 4)[..., 3] > 0
    found = np.flatnonzero(mask.any(axis=0))
    return int(found[0]), int(found[-1])


def is_picture_of(team: str, rle: list[int]) -> bool:
    first, last = columns(rle)
    return abs(first - LEFT[team]) < 12 and abs(last - (LEFT[team] + 180)) < 12


def entries(backend, team: str) -> list[Path]:
    folder = Path(backend.log_path).parent / "cache"
    return list(folder.glob(f"??/*-{team}.*.safetensors"))


def test_the_same_url_and_task_are_another_image_for_each_team(
    backend, studios, click, rle_of
) -> None:
    for team in ("red", "blue", "red", "blue"):  # fetched, then found in the caches
        for _ in range(4):  # by either worker
            assert is_picture_of(team, rle_of(click(team)))
    assert entries(backend, "red")
    assert entries(backend, "blue")
    assert studios["red"].tokens == {"Token red-token"}
    assert studios["blue"].tokens == {"Token blue-token"}


def test_the_proof_of_one_team_opens_no_storage_to_the_other(click, rle_of) -> None:
    url = FORBIDDEN["blue"]
    assert is_picture_of("red", rle_of(click("red", url)))
    assert rle_of(click("blue", url)) == []


def test_an_image_of_the_other_label_studio_is_a_private_address(
    backend, studios, click, rle_of
) -> None:
    before = len(studios["blue"].paths)
    assert rle_of(click("red", studios["blue"].url + UPLOAD)) == []
    assert len(studios["blue"].paths) == before
    assert "red: task 1: the click got no mask" in backend.log


@pytest.mark.parametrize("path", ["/predict", "/setup", "/versions"])
def test_the_password_of_one_team_does_not_open_the_other(backend, path: str) -> None:
    method = "GET" if path == "/versions" else "POST"
    for auth in (None, PASSWORDS["red"]):
        answer = backend.client.request(method, f"/blue{path}", json={}, auth=auth)
        assert answer.status_code == 401
        assert "(basic_auth_user, basic_auth_pass)" in answer.json()["error"]
    assert backend.client.get("/blue/health").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/predict",
        "/Red/predict",
        "/red/red/predict",
        "/red//predict",
        "/red/../blue/predict",
        "/red/..%2fblue/predict",
        "/red%2f..%2fblue%2fpredict",
        "/green/predict",
        "/red%00/predict",
        "/red;/predict",
    ],
)
def test_other_spellings_of_a_path_are_no_path(backend, studios, click_at, path: str) -> None:
    """With the password of red: no spelling reaches blue, and none is a click."""
    body = json.dumps(click_at(UPLOAD)).encode()
    status, answer = raw(backend.url, path, body)
    assert status == 404, answer
    assert b"the URL of the backend must end in the path of your Label Studio" in answer


@pytest.mark.parametrize("path", ["//red/predict", "/%72ed/predict", "/red/predict?team=blue"])
def test_spellings_that_mean_the_same_path_are_that_team(backend, click_at, path: str) -> None:
    status, answer = raw(backend.url, path, json.dumps(click_at(UPLOAD)).encode())
    assert status == 200
    (prediction,) = json.loads(answer.partition(b"\r\n\r\n")[2])["results"]
    assert is_picture_of("red", prediction["result"][0]["value"]["rle"])


def raw(url: str, path: str, body: bytes) -> tuple[int, bytes]:
    """Send a request with red's password and exactly this path. Returns the status and all."""
    address = httpx.URL(url)
    basic = httpx.BasicAuth(*PASSWORDS["red"])._auth_header
    head = (
        f"POST {path} HTTP/1.1\r\nHost: backend\r\nAuthorization: {basic}\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port), 60) as connection:
        connection.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    return int(answer.split(b" ", 2)[1]), answer


def test_a_setup_at_the_path_of_the_other_is_refused(backend, studios) -> None:
    wrong = {"project": "1.2", "hostname": studios["blue"].url, "access_token": "stolen"}
    for hostname in (studios["blue"].url, studios["blue"].url.replace("127.0.0.1", "LOCALHOST")):
        body = {**wrong, "hostname": hostname}
        answer = backend.client.post("/red/setup", json=body, auth=PASSWORDS["red"])
        assert answer.status_code == 409
        assert answer.reason_phrase == answer.json()["error"]
        assert "the path /red is that of another Label Studio than" in answer.reason_phrase
    folder = Path(backend.log_path).parent / "cache"
    assert not (folder / "label-studio-red.json").exists()

    right = {**wrong, "hostname": "https://red.example.com", "access_token": "handed-out"}
    assert backend.client.post("/red/setup", json=right, auth=PASSWORDS["red"]).status_code == 200
    assert "handed-out" in (folder / "label-studio-red.json").read_text()
    assert not (folder / "label-studio-blue.json").exists()


def test_a_webhook_of_one_team_removes_nothing_of_the_other(
    backend, studios, click, rle_of
) -> None:
    """Both have a task 1, and only red has deleted its task."""
    for team in ("red", "blue"):
        assert rle_of(click(team))
    kept = entries(backend, "blue")
    studios["red"].deleted.add("1")
    hint = {"action": "TASKS_DELETED", "project": {"id": 1}, "tasks": [{"id": 1}]}
    for team in ("red", "blue"):
        assert backend.client.post(f"/{team}/webhook", json=hint).status_code == 201
    deadline = time.monotonic() + 60
    while entries(backend, "red"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    backend.wait_for("mobilesam_jobs_total", backend.count("mobilesam_jobs_total"))
    assert set(kept) <= set(entries(backend, "blue"))
    studios["red"].deleted.clear()


def test_an_opened_task_brings_in_the_next_tasks_of_its_own_team(
    backend, studios, click_at
) -> None:
    task = {"id": 1, "project": 1, "data": {"image": UPLOAD}}
    opened = {**click_at(UPLOAD), "tasks": [task], "params": {"context": None}}
    assert backend.client.post("/red/predict", json=opened, auth=PASSWORDS["red"]).is_success
    deadline = time.monotonic() + 60
    while "/data/upload/1/next-of-red.png" not in studios["red"].paths:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not any("next-of" in path for path in studios["blue"].paths)


def test_the_pages_of_the_operator_stay_at_the_root(backend) -> None:
    for path in ("/", "/health", "/ready", "/metrics", "/status"):
        assert backend.client.get(path).status_code == 200
    page = backend.client.get("/status").text
    assert "red: task 1: the click got no mask" in page
    assert "Token in use of red" in page and "Token in use of blue" in page
    for team in ("red", "blue"):
        assert f"{team}-token" not in backend.log + page
        assert backend.client.get(f"/{team}/metrics", auth=PASSWORDS[team]).status_code == 404


def test_rq_workers_work_for_the_team_of_a_job(
    studios, redis_server: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, redis_url = redis_server
    path = write_teams(tmp_path / "teams.toml", studios)
    environment = {
        "LABEL_STUDIOS": str(path),
        "REDIS_URL": redis_url,
        "CACHE_DIR": str(tmp_path / "cache"),
        "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env()
    report = Report()
    image = ImageRef("/data/upload/1/queued.png", 7)
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(embed_on_workers, settings.of_team("blue"), [image], 1, report)
        client = Redis.from_url(redis_url)
        worker = SimpleWorker([QUEUE_NAME], connection=client)
        while not asking.done():
            worker.work(burst=True, logging_level="ERROR")
    asking.result()
    assert str(report) == "1 images: 1 embedded now, 0 were there already, 0 failed"
    assert studios["blue"].paths[-1] == image.url
    assert image.url not in studios["red"].paths
    assert [key for key in client.keys("mobile-sam:embedding:*") if b"-blue." in key]
    assert client.keys("mobile-sam:task:blue.7")
