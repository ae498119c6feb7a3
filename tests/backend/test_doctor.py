"""The command doctor against Label Studios with different faults."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()
TOKEN = "0123456789abcdef0123456789abcdef01234567"
URL = "http://backend:9090"


def answers() -> dict[str, Any]:
    """The answers of a Label Studio without faults."""
    return {
        "/api/version/": {"release": "1.23.2"},
        "/api/current-user/whoami": {"email": "a@example.com"},
        "/api/projects/1/": {"id": 1, "title": "Cars", "label_config": CONFIG},
        "/api/ml": [{"id": 1, "url": URL, "state": "CO", "is_interactive": True}],
        "/api/webhooks/": [{"url": f"{URL}/webhook", "is_active": True}],
        "/api/tasks/": {"tasks": [{"id": 7, "data": {"image": "/data/upload/1/a.png"}}]},
    }


class LabelStudio:
    """Answers each path of ``answers`` to requests with the token. Every file is ``image``."""

    def __init__(self, start_server: Callable[..., str]) -> None:
        self.answers = answers()
        self.token = TOKEN
        self.image = b""
        self.url = start_server(self._answer)

    def _answer(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        path = request.path.partition("?")[0]
        is_known = request.headers.get("Authorization") == f"Token {self.token}"
        if path != "/api/version/" and not is_known:
            return 401, {}, b""
        if path.startswith("/data/"):
            return 200, {}, self.image
        status = 200 if path in self.answers else 404
        return status, {}, json.dumps(self.answers.get(path)).encode()


@pytest.fixture
def studio(image_host: str, start_server: Callable[..., str]) -> LabelStudio:
    import httpx

    server = LabelStudio(start_server)
    server.image = httpx.get(f"{image_host}/data/upload/1/a244aff6-upload.png").content
    return server


def run(tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, list[str]]]:
    """Run doctor. Returns the exit status, and [verdict, sentence] of each check."""
    done = subprocess.run(
        [sys.executable, "-m", "backend", "doctor", *arguments],
        cwd=ROOT,
        env={
            **os.environ,  # noqa: TID251
            "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
            "CACHE_DIR": str(tmp_path / "cache"),
            "CACHE_DISK_GB": "1",
            **environment,
        },
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stdout + done.stderr
    tries = 0 if environment.get("MOBILESAM_CHECKPOINT", BUILTIN_PATH) else 1
    assert done.stderr.count("weights are not available") == tries
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [len(line) for line in lines] == [3] * 14, done.stdout + done.stderr
    return done.returncode, {name: [verdict, sentence] for verdict, name, sentence in lines}


def check(found: dict[str, list[str]], expected: dict[str, tuple[str, str]]) -> None:
    for name, (verdict, sentence) in expected.items():
        assert found[name][0] == verdict, found[name]
        assert sentence in found[name][1]


def test_no_faults(studio: LabelStudio, tmp_path: Path) -> None:
    status, found = run(
        tmp_path, "--project", "1", LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY=TOKEN
    )
    assert status == 0, found
    check(
        found,
        {
            "weights": ("warn", "good for trying out only"),
            "engine": ("ok", "a click"),
            "cache folder": ("ok", "up to 1 GiB"),
            "redis": ("skip", "REDIS_URL is not set"),
            "label studio": ("ok", "Label Studio 1.23.2 at"),
            "token": ("ok", "the legacy token in LABEL_STUDIO_API_KEY is accepted, as a@example"),
            "project": ("ok", '1, "Cars"'),
            "registered": ("ok", URL),
            "reached from label studio": ("ok", URL),
            "interactive": ("ok", ""),
            "webhook": ("ok", ""),
            "labeling config": ("ok", "smart tags on image"),
            "exports": (
                "ok",
                "Brush labels to COCO, Brush labels to PNG, Brush labels to NumPy; Label Studio"
                " cannot export annotations of this config to COCO, YOLO or Pascal VOC XML,"
                " because",
            ),
            "one task": ("ok", "task 7, 1200 x 800: fetched in"),
        },
    )
    assert list(found) == [
        "weights", "engine", "cache folder", "redis", "label studio", "token", "project",
        "registered", "reached from label studio", "interactive", "webhook", "labeling config",
        "exports", "one task",
    ]  # fmt: skip


def test_label_studio_does_not_answer(tmp_path: Path) -> None:
    status, found = run(
        tmp_path,
        "--project",
        "1",
        LABEL_STUDIO_URL="http://127.0.0.2:9",
        REDIS_URL="redis://127.0.0.1:9",
        CACHE_DIR="/dev/null/cache",
        MOBILESAM_CHECKPOINT="",
        MODEL_DIR=str(tmp_path / "models"),
        HTTPS_PROXY="http://127.0.0.2:9",
    )
    assert status == 1
    check(
        found,
        {
            "weights": ("warn", "good for trying out only"),
            "engine": ("ok", "a click"),
            "cache folder": ("FAIL", "set CACHE_DIR to a folder"),
            "redis": ("FAIL", "start it, or correct the address"),
            "label studio": ("FAIL", "Is LABEL_STUDIO_URL the address at which"),
            "token": ("skip", "see label studio"),
            "project": ("skip", "see label studio"),
            "interactive": ("skip", "see label studio"),
            "one task": ("skip", "see label studio"),
        },
    )


def test_the_token_is_wrong(studio: LabelStudio, tmp_path: Path) -> None:
    status, found = run(
        tmp_path, "--project", "1", LABEL_STUDIO_URL=studio.url, LABEL_STUDIO_API_KEY="wrong"
    )
    assert status == 1
    check(
        found,
        {
            "label studio": ("ok", ""),
            "token": ("FAIL", "the legacy token in LABEL_STUDIO_API_KEY (401): create a personal"),
            "project": ("skip", "see token"),
            "one task": ("skip", "see token"),
        },
    )


def test_a_project_with_faults(
    studio: LabelStudio, redis_server: tuple[subprocess.Popen, str], tmp_path: Path
) -> None:
    studio.answers["/api/ml"][0].update(state="ER", is_interactive=False, error_message="a\nb")
    studio.answers["/api/webhooks/"] = []
    studio.answers["/api/projects/1/"]["label_config"] = CONFIG.replace(' smart="false"', "")
    studio.image = b"<html>log in"
    status, found = run(
        tmp_path,
        "--project",
        "1",
        LABEL_STUDIO_URL=studio.url,
        LABEL_STUDIO_API_KEY=TOKEN,
        REDIS_URL=redis_server[1],
    )
    assert status == 1
    check(
        found,
        {
            "redis": ("warn", "set its maxmemory, and its maxmemory-policy to volatile-lru"),
            "reached from label studio": ("FAIL", "does not reach http://backend:9090"),
            "interactive": ("FAIL", "and switch Interactive preannotations on"),
            "webhook": ("warn", "no active webhook to http://backend:9090/webhook"),
            "labeling config": ("FAIL", 'smart="false" on <BrushLabels name="brush">'),
            "one task": ("FAIL", "a web page or an SVG came"),
        },
    )


def test_no_backend_and_no_such_project(studio: LabelStudio, tmp_path: Path) -> None:
    studio.answers["/api/ml"] = []
    keys = {"LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": TOKEN}
    status, found = run(tmp_path, "--project", "1", **keys)
    assert status == 1
    check(
        found,
        {
            "registered": ("FAIL", "add the URL of this backend in project Settings > Model"),
            "interactive": ("skip", "see registered"),
        },
    )
    status, found = run(tmp_path, "--project", "2", **keys)
    assert status == 1
    check(
        found,
        {"project": ("FAIL", "has no project 2, or"), "registered": ("skip", "see project")},
    )
