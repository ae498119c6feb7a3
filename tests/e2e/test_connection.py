"""Tokens, files and labeling configs of a real Label Studio."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from backend.http.client import HttpClient
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.freshness import ImageWatch
from backend.images.image_ref import ImageRef
from backend.label_studio.client import LabelStudio as Connection
from backend.label_studio.errors import LabelStudioError
from backend.regions import config_check
from demo.backend import ROOT, Backend
from demo.label_studio import LabelStudio
from demo.smart_regions import keypoint, predict_request
from model.weights import BUILTIN_PATH

EXAMPLES = sorted((ROOT / "examples").glob("*.xml"))
CONFIG = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()


def png() -> bytes:
    content = BytesIO()
    Image.effect_noise((320, 200), 60).convert("RGB").save(content, "PNG")
    return content.getvalue()


def fetch(url: str, token: str | None, path: str, local_files: Path | None = None) -> bytes:
    http = HttpClient()
    connection = Connection(url, token, http)
    return Fetcher(connection, http, local_files).fetch(path).content


@pytest.fixture(scope="module")
def project_id(label_studio: LabelStudio, backend: Backend) -> int:
    """A connected project of one uploaded image."""
    project_id = label_studio.create_project("connection", CONFIG)
    label_studio.upload(project_id, {"picture.png": png()})
    label_studio.connect(project_id, backend.url)
    return project_id


@pytest.fixture(scope="module")
def upload(label_studio: LabelStudio, project_id: int) -> str:
    (task,) = label_studio.tasks(project_id)
    path: str = task["data"]["image"]
    return path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_label_studio_loads_every_example(label_studio: LabelStudio, path: Path) -> None:
    text = path.read_text()
    assert label_studio.create_project(path.stem, text)
    assert config_check.faults(text) == []


def test_an_upload_with_a_personal_access_token(label_studio: LabelStudio, upload: str) -> None:
    assert upload.startswith("/data/upload/")
    assert fetch(label_studio.url, label_studio.token, upload).startswith(b"\x89PNG")
    # another name of the same machine is not Label Studio's origin
    elsewhere = label_studio.url.replace("127.0.0.1", "localhost") + upload
    with pytest.raises(ValueError, match="not on the public internet"):
        fetch(label_studio.url, label_studio.token, elsewhere)


def test_an_upload_with_a_legacy_token(label_studio: LabelStudio, upload: str) -> None:
    token = label_studio.allow_legacy_tokens()
    assert fetch(label_studio.url, token, upload).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("token", "sentence"),
    [(None, "without a token"), ("0" * 40, "the legacy token in LABEL_STUDIO_API_KEY")],
)
def test_a_refusal_says_what_was_tried(
    label_studio: LabelStudio, upload: str, token: str | None, sentence: str
) -> None:
    with pytest.raises(LabelStudioError, match=sentence):
        fetch(label_studio.url, token, upload)


def test_a_local_file_through_label_studio_and_from_its_folder(label_studio: LabelStudio) -> None:
    root = label_studio.log_path.parent
    folder = root / "pictures"
    folder.mkdir(exist_ok=True)
    content = png()
    (folder / "a b.png").write_bytes(content)
    project_id = label_studio.create_project("local files", CONFIG)
    label_studio.connect_folder(project_id, folder)
    url = "/data/local-files/?d=pictures/a b.png"
    assert fetch(label_studio.url, label_studio.token, url) == content
    assert fetch(label_studio.url, None, url, local_files=root) == content
    with pytest.raises(ValueError, match="not in a local storage of the project"):
        fetch(label_studio.url, label_studio.token, "/data/local-files/?d=pictures/gone.png")


def test_a_local_file_that_is_replaced_behind_label_studio(label_studio: LabelStudio) -> None:
    """Label Studio's own ETag tells. The new file has the size of the old file."""
    folder = label_studio.log_path.parent / "replaced"
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(b"old picture")
    label_studio.connect_folder(label_studio.create_project("replaced", CONFIG), folder)
    http = HttpClient()
    files = Fetcher(Connection(label_studio.url, label_studio.token, http), http)
    ref = ImageRef("/data/local-files/?d=replaced/a.png")
    known = files.fetch(ref.url).validator
    assert known.stamp.startswith("etag:")
    assert files.probe(ref.url, None, known) is known  # 304
    (folder / "a.png").write_bytes(b"new picture")
    assert ImageWatch(files).is_stale(ref, known, waits=True)


@pytest.mark.parametrize("path", ["/api/projects/", "/logout/", "/user/account/", "/projects/"])
def test_pages_and_api_are_no_images(label_studio: LabelStudio, path: str) -> None:
    for url in (path, label_studio.url + path):
        with pytest.raises(LabelStudioError, match="is not an image of Label Studio"):
            fetch(label_studio.url, label_studio.token, url)


def test_a_storage_that_the_project_does_not_have(
    label_studio: LabelStudio, project_id: int
) -> None:
    (task,) = label_studio.tasks(project_id)
    http = HttpClient()
    files = Fetcher(Connection(label_studio.url, label_studio.token, http), http)
    with pytest.raises(ImageError, match="no source storage of the project contains this file"):
        ImageWatch(files).prove_access(ImageRef("s3://bucket/a.png", task["id"]))


def test_doctor_finds_no_fault(label_studio: LabelStudio, project_id: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "backend", "doctor", "--project", str(project_id)],
        cwd=ROOT,
        env={
            **os.environ,  # noqa: TID251
            "LABEL_STUDIO_URL": label_studio.url,
            "LABEL_STUDIO_API_KEY": label_studio.token,
            "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
            "CACHE_DIR": str(tmp_path),
            "CACHE_DISK_GB": "1",
        },
        capture_output=True,
        text=True,
    )
    verdicts = {line.split("\t")[1]: line.split("\t")[0] for line in done.stdout.splitlines()}
    assert done.returncode == 0, done.stdout + done.stderr
    assert verdicts.pop("weights") == "warn"
    assert verdicts.pop("redis") == "skip"
    assert set(verdicts.values()) == {"ok"}, done.stdout
    assert "the personal access token in LABEL_STUDIO_API_KEY is accepted" in done.stdout


def test_a_click_brings_a_mask_and_the_status_page_counts_it(
    label_studio: LabelStudio, backend: Backend, project_id: int
) -> None:
    assert httpx.get(f"{backend.url}/ready").json()["status"] == "READY"
    (task,) = label_studio.tasks(project_id)
    body = predict_request(task, CONFIG, keypoint(50, 50, width=320, height=200))
    (prediction,) = httpx.post(f"{backend.url}/predict", json=body).json()["results"]
    assert prediction["model_version"] == "mobile-sam-builtin"
    page = httpx.get(f"{backend.url}/status").text
    assert "mobile-sam-builtin" in page
    assert label_studio.token not in page
    assert label_studio.token not in backend.log
