"""`python -m backend precompute`: what it embeds needs no encoding at the first click."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from demo.smart_regions import keypoint, predict_request
from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="Object"/></BrushLabels>'
    '<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/>'
    "</KeyPointLabels></View>"
)


def run(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH), **settings}  # noqa: TID251
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them in a folder below, and a file that only claims to be one."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("one.png", "two.jpg", "below/three.png"):
        small = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
        small.resize((320, 240), Image.Resampling.NEAREST).save(folder / name)
    (folder / "broken.png").write_bytes(b"\x89PNG but no more")
    return folder


def click(url: str) -> dict:
    task = {"id": 1, "data": {"image": url}}
    return predict_request(task, CONFIG, keypoint(40, 40, width=320, height=240))


def assert_known(backend, *urls: str) -> None:
    for url in urls:
        response = backend.client.post("/predict", json=click(url))
        assert response.status_code == 200
        assert response.json()["results"][0]["result"], backend.log[-2000:]
    assert backend.count("mobilesam_encodes_total") == 0


def test_a_folder(folder: Path, start_backend, serve: Callable[[Path], str]) -> None:
    url = serve(folder)
    cache = folder.parent / "cache"
    command = ("backend", "precompute", "--folder", str(folder), "--url-prefix", f"{url}/")
    first = run(*command, CACHE_DIR=str(cache))
    assert first.returncode == 1
    assert "broken.png: the 16 bytes that came are no image of a kind" in first.stderr
    assert "1 failed" in first.stderr
    assert first.stdout == "4 images: 3 embedded now, 0 were there already, 1 failed\n"
    kept = {path: path.stat().st_mtime_ns for path in cache.glob("??/*.safetensors")}
    assert len(kept) == 3

    (folder / "broken.png").unlink()
    again = run(*command, CACHE_DIR=str(cache))
    assert again.returncode == 0, again.stderr
    assert again.stdout == "3 images: 0 embedded now, 3 were there already, 0 failed\n"
    assert {path: path.stat().st_mtime_ns for path in cache.glob("??/*.safetensors")} == kept

    backend = start_backend(LABEL_STUDIO_URL=url, CACHE_DIR=str(cache))
    assert_known(backend, *(f"{url}/{name}" for name in ("one.png", "two.jpg", "below/three.png")))


ODD_NAMES = ("my photo.png", "hällo.png", "a+b.png", "(1).png", "a#b.png", "100%.png", "%41.png")


def test_a_folder_of_odd_names(tmp_path: Path, start_backend, serve: Callable[[Path], str]) -> None:
    """A task has the URL as Label Studio writes it, or as a person does."""
    folder = tmp_path / "odd"
    folder.mkdir()
    picture = Image.effect_noise((320, 240), 50)
    for index, name in enumerate((*ODD_NAMES, "picture.avif", "picture.ICO", "picture.jfif")):
        picture.putpixel((0, 0), index)
        format = "JPEG" if name.endswith("jfif") else None
        picture.convert("RGB").save(folder / name, format)
    cache, url = str(tmp_path / "cache"), serve(tmp_path)
    for prefix in ("/data/local-files/?d=odd/", f"{url}/odd/"):
        command = ("backend", "precompute", "--folder", str(folder), "--url-prefix", prefix)
        done = run(*command, CACHE_DIR=cache)
        assert done.returncode == 0, done.stderr

    backend = start_backend(
        LABEL_STUDIO_URL="http://127.0.0.1:9",
        LOCAL_FILES_DOCUMENT_ROOT=str(tmp_path),
        CACHE_DIR=cache,
    )
    quoted = [quote(name) for name in (*ODD_NAMES, "picture.avif", "picture.jfif")]
    assert_known(backend, *(f"/data/local-files/?d=odd%2F{name}" for name in quoted))
    assert_known(backend, *(f"{url}/odd/{name}" for name in quoted))
    written = [name for name in ODD_NAMES if name not in ("a#b.png", "%41.png")]
    assert_known(backend, *(f"{url}/odd/{name}" for name in written))
    assert_known(backend, *(f"{url}/odd/{quote(name).lower()}" for name in ("hällo.png",)))


def test_tasks_on_workers_of_several_hosts(
    folder: Path, start_backend, serve: Callable[[Path], str], redis_server: tuple
) -> None:
    _, redis_url = redis_server
    url = serve(folder)
    names = ["one.png", "two.jpg", "below/three.png", "broken.png", "gone.png"]
    tasks = [{"id": i, "data": {"image": f"{url}/{name}"}} for i, name in enumerate(names)]
    (folder.parent / "tasks.json").write_text(json.dumps([*tasks, {"id": 9, "data": {}}]))
    (folder.parent / "config.xml").write_text(CONFIG)

    def settings(host: str) -> dict[str, str]:
        return {
            "REDIS_URL": redis_url,
            "CACHE_DIR": str(folder.parent / host),
            "LABEL_STUDIO_URL": url,
        }

    workers = [
        subprocess.Popen(
            [str(Path(sys.executable).with_name("rq")), "worker", "--url", redis_url, "mobile-sam"],
            cwd=ROOT,
            env={
                **os.environ,  # noqa: TID251
                "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
                **settings(host),
            },
            stderr=subprocess.DEVNULL,
        )
        for host in ("first", "second")
    ]
    done = run(
        "backend",
        *("precompute", "--tasks", str(folder.parent / "tasks.json")),
        *("--config", str(folder.parent / "config.xml"), "--queue"),
        **settings("asking"),
    )
    for worker in workers:
        worker.terminate()
        worker.wait(30)

    assert done.returncode == 1
    assert "task 3: the 16 bytes that came are no image" in done.stderr
    assert "task 4: " in done.stderr and "gone.png answered 404" in done.stderr
    assert "task 9: the task's data has no image URL" in done.stderr
    assert "3 failed" in done.stderr
    assert done.stdout == "6 images: 3 embedded now, 0 were there already, 3 failed\n"
    backend = start_backend(**settings("serving"))
    assert_known(backend, *(task["data"]["image"] for task in tasks[:3]))


@pytest.mark.parametrize(
    ("arguments", "settings", "sentence"),
    [
        pytest.param(
            ["--project", "1"],
            {},
            "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY: the",
            id="no-url",
        ),
        pytest.param(["--tasks", "gone.json"], {}, "--tasks needs --config", id="no-config"),
        pytest.param(
            ["--tasks", "gone.json", "--config", "gone.xml"],
            {},
            "error: gone.json does not exist\n",
            id="no-tasks",
        ),
        pytest.param(["--folder", "/gone"], {}, "--folder needs --url-prefix", id="no-prefix"),
        pytest.param(
            ["--folder", "gone", "--url-prefix", "/"],
            {},
            "the folder gone does not exist",
            id="no-folder",
        ),
        pytest.param(
            ["--project", "1"],
            {"LABEL_STUDIO_URL": "http://127.0.0.1:9"},
            "Label Studio did not answer: http://127.0.0.1:9/",
            id="nobody-there",
        ),
        pytest.param(
            ["--folder", ".", "--url-prefix", "/", "--queue"], {}, "--queue needs", id="no-redis"
        ),
        pytest.param(
            ["--folder", ".", "--url-prefix", "/"],
            {"CACHE_DISK_GB": "0"},
            "the embeddings would be lost",
            id="nowhere-to-keep",
        ),
    ],
)
def test_what_cannot_be_done_says_why(
    arguments: list[str], settings: dict[str, str], sentence: str
) -> None:
    done = run("backend", "precompute", *arguments, **settings)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
