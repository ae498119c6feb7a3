"""A real backend answers requests that a real Label Studio sent."""

import base64
import json
import random
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image

from backend import __version__

Recorded = Callable[[str], dict]

CLICKS = {
    "click_positive": ("Object", (1200, 800), 1),
    "click_two_positive": ("Object", (1200, 800), 1),
    "click_two_positive_one_negative": ("Object", (1200, 800), 1),
    "click_other_label_with_draft": ("Other", (1200, 800), 1),
    "rectangle": ("Object", (1200, 800), 1),
    "two_rectangles": ("Object", (1200, 800), 2),
    "click_exif_orientation_6": ("Object", (600, 1000), 1),
}


def send(backend, request: dict) -> httpx.Response:
    return backend.client.request(request["method"], request["path"], json=request["json"])


def check_regions(response: httpx.Response, label: str, size: tuple[int, int], count: int) -> None:
    assert response.status_code == 200
    (prediction,) = response.json()["results"]
    assert prediction["model_version"] == "mobile-sam-builtin"
    assert 0 <= prediction["score"] <= 1
    assert len(prediction["result"]) == count
    for region in prediction["result"]:
        assert region["type"] == "brushlabels"
        assert (region["from_name"], region["to_name"]) == ("tag", "image")
        assert region["value"]["brushlabels"] == [label]
        assert (region["original_width"], region["original_height"]) == size
        assert 0 <= region["score"] <= 1


@pytest.mark.parametrize("name", CLICKS)
def test_recorded_clicks_get_masks(backend, recorded: Recorded, name: str) -> None:
    label, size, count = CLICKS[name]
    response = send(backend, recorded(name))
    check_regions(response, label, size, count)
    width, height = size
    for region in response.json()["results"][0]["result"]:
        channels = decode_rle(region["value"]["rle"]).reshape(height, width, 4)
        assert set(np.unique(channels)) <= {0, 255}
        assert channels.any()


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("versions", 200, {"versions": ["mobile-sam-builtin"]}),
        ("predict_three_tasks", 200, {"results": [[], [], []]}),
        ("predict_task_opened", 200, {"results": [[]]}),
        ("predict_url_kinds", 200, {"results": [[]] * 7}),
        ("webhook_start_training", 201, {}),
        ("webhook_annotation_created", 201, {}),
    ],
)
def test_other_recorded_requests(
    backend, recorded: Recorded, name: str, status: int, body: dict
) -> None:
    response = send(backend, recorded(name))
    assert response.status_code == status
    assert response.json() == body


def test_setup_tells_where_label_studio_is(
    start_backend, image_host: str, recorded: Recorded
) -> None:
    """Uploaded files are fetched from the Label Studio that /setup names, by every worker."""
    backend = start_backend(
        WORKERS="2", CACHE_DISK_GB="0", BASIC_AUTH_USER="sam", BASIC_AUTH_PASS="secret"
    )
    backend.client.auth = httpx.BasicAuth("sam", "secret")
    assert send(backend, recorded("click_positive")).json()["results"][0]["result"] == []

    setup = recorded("setup")
    setup["json"]["hostname"] = image_host
    response = send(backend, setup)
    assert response.status_code == 200
    assert response.json() == {"model_version": "mobile-sam-builtin"}
    for _ in range(8):
        check_regions(send(backend, recorded("click_positive")), *CLICKS["click_positive"])


def test_health_names_weights_and_engine(backend, recorded: Recorded) -> None:
    response = send(backend, recorded("health"))
    assert response.status_code == 200
    health = response.json()
    assert (health["status"], health["model_version"]) == ("UP", "mobile-sam-builtin")
    assert " on " in health["engine"]


def test_the_workers_run_without_torch(start_backend, image_host: str, recorded: Recorded) -> None:
    backend = start_backend(LABEL_STUDIO_URL=image_host, ENGINE="openvino")
    check_regions(send(backend, recorded("click_positive")), *CLICKS["click_positive"])
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(backend.process.pid)], capture_output=True, text=True
    )
    (worker,) = listed.stdout.split()
    mapped = Path(f"/proc/{worker}/maps").read_text()
    assert "libopenvino" in mapped
    assert "libtorch" not in mapped


def test_the_first_page(backend) -> None:
    shown = backend.client.get("/").json()
    assert shown["model_version"] == "mobile-sam-builtin"
    assert shown["version"] == __version__


def test_200_mixed_requests_at_once(backend, recorded: Recorded) -> None:
    """2 workers x 4 threads, 8 clients: every answer belongs to its own request."""
    names = [*CLICKS, "health", "setup", "predict_task_opened", "webhook_annotation_created"]
    requests = [(name, recorded(name)) for name in random.Random(0).choices(names, k=200)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda request: send(backend, request[1]), requests))

    ids = []
    for (name, _), response in zip(requests, answers, strict=True):
        assert response.status_code < 300
        if name in CLICKS:
            check_regions(response, *CLICKS[name])
            ids += [region["id"] for region in response.json()["results"][0]["result"]]
    assert len(ids) == len(set(ids)) > 50


class TestClicksThatCannotBeAnswered:
    """The answer is empty and well-formed, and a line of the log says why."""

    def check(self, backend, request: dict, sentence: str) -> None:
        response = send(backend, request)
        assert response.status_code == 200
        (prediction,) = response.json()["results"]
        assert prediction == {
            "result": [],
            "score": 0.0,
            "model_version": "mobile-sam-builtin",
        }
        lines = [line for line in backend.log.splitlines() if sentence in line]
        assert lines, backend.log[-2000:]
        assert f"task {request['json']['tasks'][0]['id']}: the click got no mask" in lines[-1]

    def test_unknown_tag(self, backend, recorded: Recorded) -> None:
        request = recorded("click_positive")
        request["json"]["params"]["context"]["result"][0]["from_name"] = "renamed"
        self.check(backend, request, 'no control tag "renamed"')

    def test_no_tag_for_masks(self, backend, recorded: Recorded) -> None:
        request = recorded("click_positive")
        config = request["json"]["label_config"]
        for tag in ("BrushLabels", "RectangleLabels"):
            config = config.replace(tag, "VectorLabels")
        request["json"]["label_config"] = config
        self.check(backend, request, 'no tag for the image "image" to put masks in')

    def test_a_wrong_attribute_of_a_tag(self, backend, recorded: Recorded) -> None:
        request = recorded("click_positive")
        config = request["json"]["label_config"]
        request["json"]["label_config"] = config.replace(
            "<BrushLabels", '<BrushLabels model_tolerance="fine"'
        )
        self.check(backend, request, 'model_tolerance of BrushLabels "tag" is "fine"')

    def test_no_such_image(self, backend, recorded: Recorded) -> None:
        request = recorded("click_positive")
        request["json"]["tasks"][0]["data"]["image"] = "/data/upload/1/gone.png"
        self.check(backend, request, "/data/upload/1/gone.png answered 404")

    def test_an_image_of_another_size(self, backend, recorded: Recorded) -> None:
        request = recorded("click_positive")
        request["json"]["params"]["context"]["result"][0]["original_width"] = 1199
        self.check(backend, request, "shows an image of 1199 x 800, and the image fetched here has")

    def test_no_region_at_all(self, backend, recorded: Recorded) -> None:
        request = recorded("click_positive")
        request["json"]["params"]["context"]["result"] = []
        (prediction,) = send(backend, request).json()["results"]
        assert prediction["result"] == []


@pytest.mark.parametrize("kind", ["Polygon", "Bitmask", "Ellipse", "Rectangle"])
def test_masks_go_into_the_tag_of_the_config(backend, recorded: Recorded, kind: str) -> None:
    request = recorded("click_positive")
    config = request["json"]["label_config"]
    request["json"]["label_config"] = config.replace("BrushLabels", f"{kind}Labels")
    (prediction,) = send(backend, request).json()["results"]
    assert prediction["result"]
    for region in prediction["result"]:
        assert region["type"] == f"{kind.lower()}labels"
        assert region["from_name"] == "tag"
        assert region["value"][f"{kind.lower()}labels"] == ["Object"]


class TestTheComingEditor:
    """Its prompts are coordinates alone, its masks are PNGs, and it shows errors."""

    POINT: ClassVar = {"type": "keypointlabels", "value": {"x": 30, "y": 45, "positive": True}}
    MINUS: ClassVar = {"type": "keypointlabels", "value": {"x": 80, "y": 20, "positive": False}}
    BOX: ClassVar = {
        "type": "rectanglelabels",
        "value": {"x": 20, "y": 30, "width": 30, "height": 30},
    }

    def send(self, backend, recorded: Recorded, context: dict, **changes: str) -> httpx.Response:
        request = recorded("click_positive")
        request["json"]["params"]["context"] = context
        for old, new in changes.items():
            request["json"]["label_config"] = request["json"]["label_config"].replace(old, new)
        return send(backend, request)

    @pytest.mark.parametrize(
        "result", [[POINT], [POINT, MINUS], [BOX], [POINT, BOX, MINUS], [POINT, POINT]]
    )
    def test_one_png_of_the_images_size(
        self, backend, recorded: Recorded, result: list[dict]
    ) -> None:
        response = self.send(backend, recorded, {"result": result})
        assert response.status_code == 200
        (region,) = response.json()["results"][0]["result"]
        content = base64.b64decode(region["value"]["imageDataURL"].partition(",")[2])
        red = np.asarray(Image.open(BytesIO(content)).convert("RGBA"))[..., 0]
        assert red.shape == (800, 1200)
        for item in result:
            if "positive" in item["value"]:
                x, y = item["value"]["x"] * 12, item["value"]["y"] * 8
                assert (red[y, x] > 127) == item["value"]["positive"]

    @pytest.mark.parametrize(
        ("result", "sentence"),
        [
            ([MINUS], "only negative points were placed: place a positive one on the object first"),
            ([BOX, BOX], "there are several boxes in one prompt"),
        ],
    )
    def test_errors_reach_the_annotator(
        self, backend, recorded: Recorded, result: list[dict], sentence: str
    ) -> None:
        """Label Studio shows the status line of an error, but not the body."""
        response = self.send(backend, recorded, {"result": result})
        assert response.status_code == 422
        assert response.reason_phrase.startswith(sentence)
        assert response.json()["error"].startswith(sentence)
        assert sentence in backend.log

    def test_an_image_that_does_not_exist(self, backend, recorded: Recorded) -> None:
        request = recorded("click_positive")
        request["json"]["params"]["context"] = {"result": [self.POINT]}
        request["json"]["tasks"][0]["data"]["image"] = "/data/upload/1/gone-\u00fc.png"
        response = send(backend, request)
        assert response.status_code == 422
        assert "answered 404" in response.reason_phrase

    def test_prewarm_embeds_before_the_first_click(
        self, start_backend, image_host: str, recorded: Recorded, tmp_path: Path
    ) -> None:
        backend = start_backend(LABEL_STUDIO_URL=image_host, CACHE_DIR=str(tmp_path))

        assert self.send(backend, recorded, {"event": "release"}).json() == {"results": [[]]}
        assert self.send(backend, recorded, {"event": "prewarm"}).json() == {"results": [[]]}
        deadline = time.monotonic() + 60
        while backend.count('mobilesam_jobs_total{outcome="done"}') < 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert backend.count("mobilesam_encodes_total") == 1
        assert self.send(backend, recorded, {"result": [self.POINT]}).status_code == 200
        assert backend.count("mobilesam_encodes_total") == 1


class TestMalformed:
    """The answer is 400 and one sentence, without a traceback."""

    @pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook"])
    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"[]", b"null", b'"text"', b"\xff", b"NaN"],
        ids=["empty", "cut", "list", "null", "text", "binary", "nan"],
    )
    def test_no_object(self, backend, path: str, content: bytes) -> None:
        self.check(backend.client.post(path, content=content))

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"tasks": None}, id="no-tasks"),
            pytest.param({"tasks": [1]}, id="task-no-object"),
            pytest.param({"tasks": []}, id="click-without-task"),
            pytest.param({"label_config": None}, id="no-config"),
            pytest.param({"label_config": "<View>"}, id="broken-config"),
            pytest.param({"params": []}, id="params-list"),
            pytest.param({"params": {"context": 1}}, id="context-number"),
            pytest.param({"params": {"context": {"result": {}}}}, id="result-object"),
            pytest.param({"params": {"context": {"result": [1]}}}, id="region-number"),
            pytest.param({"params": {"context": {"result": [{"type": 1}]}}}, id="type-number"),
        ],
    )
    def test_predict(self, backend, recorded: Recorded, change: dict) -> None:
        body = {**recorded("click_positive")["json"], **change}
        self.check(backend.client.post("/predict", json=body))

    @pytest.mark.parametrize("value", [None, "5", True, [], 1e300, -1e300])
    def test_coordinates(self, backend, recorded: Recorded, value: object) -> None:
        body = recorded("click_positive")["json"]
        body["params"]["context"]["result"][0]["value"]["x"] = value
        self.check(backend.client.post("/predict", json=body))

    def test_not_a_number(self, backend, recorded: Recorded) -> None:
        body = recorded("click_positive")["json"]
        body["params"]["context"]["result"][0]["value"]["x"] = float("nan")
        content = json.dumps(body)  # httpx would refuse to write NaN
        self.check(backend.client.post("/predict", content=content))

    def check(self, response: httpx.Response) -> None:
        assert response.status_code == 400
        (sentence,) = response.json().values()
        assert isinstance(sentence, str)
        assert 10 < len(sentence) < 300
        assert "Traceback" not in sentence

    @pytest.mark.parametrize(
        ("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/nothing", 404)]
    )
    def test_wrong_route(self, backend, method: str, path: str, status: int) -> None:
        response = backend.client.request(method, path)
        assert response.status_code == status
        assert list(response.json()) == ["error"]

    def test_no_such_path(self, backend) -> None:
        assert backend.client.get("/nothing").json() == {
            "error": "no such path: /nothing. For people there is /status, for machines /health"
        }


def test_basic_auth(start_backend, recorded: Recorded) -> None:
    backend = start_backend(BASIC_AUTH_USER="sam", BASIC_AUTH_PASS="sésame")
    predict, setup = recorded("predict_task_opened"), recorded("setup")

    def status(request: dict, auth: tuple[str, str] | None) -> int:
        return backend.client.request(
            request["method"], request["path"], json=request["json"], auth=auth
        ).status_code

    assert status(predict, None) == 401
    assert status(predict, ("sam", "wrong")) == 401
    assert status(setup, ("wrong", "sésame")) == 401
    assert status(predict, ("sam", "sésame")) == 200
    assert status(setup, ("sam", "sésame")) == 200
    for path in ("/metrics", "/status", "/versions"):
        request = {"method": "GET", "path": path, "json": None}
        assert status(request, None) == 401
        assert status(request, ("sam", "sésame")) == 200
    # The checks of an orchestrator send no password.
    assert status(recorded("health"), None) == 200
    assert status({"method": "GET", "path": "/ready", "json": None}, None) == 200
    # Label Studio's webhooks send no password either. A wrong password is refused.
    webhook = recorded("webhook_annotation_created")
    assert status(webhook, None) == 201
    assert status(webhook, ("sam", "sésame")) == 201
    assert status(webhook, ("sam", "wrong")) == 401


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        pytest.param({"PORT": "http"}, "error: PORT is 'http'", id="setting"),
        pytest.param(
            {"MOBILESAM_CHECKPOINT": "/nowhere/mobile_sam.pt"},
            "the backend cannot start: there is no checkpoint file /nowhere/mobile_sam.pt",
            id="no-checkpoint",
        ),
        pytest.param(
            {"MOBILESAM_CHECKPOINT": __file__},
            "is neither a PyTorch nor a safetensors checkpoint",
            id="wrong-checkpoint",
        ),
    ],
)
def test_a_backend_that_cannot_start_says_why(
    start_backend, environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(RuntimeError, match="ended with status") as caught:
        start_backend(**environment)
    assert sentence in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_ready(backend) -> None:
    response = backend.client.get("/ready")
    assert response.status_code == 200
    assert response.json()["status"] == "READY"
    assert response.json()["model_version"] == "mobile-sam-builtin"


def test_status_shows_the_problems_of_all_workers(start_backend, recorded: Recorded) -> None:
    """The page is escaped, needs no other file, and is the same from every worker."""
    backend = start_backend(WORKERS="2", THREADS="1", LABEL_STUDIO_API_KEY="0" * 40)
    request = recorded("click_positive")
    region = request["json"]["params"]["context"]["result"][0]
    region["from_name"] = "<script>alert(1)</script>"
    for _ in range(3):
        send(backend, request)

    deadline = time.monotonic() + 60
    while "(3 times)" not in backend.client.get("/status").text:  # a thread writes the problems
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for _ in range(4):
        page = backend.client.get("/status")
        assert page.status_code == 200
        assert page.headers["Content-Type"].startswith("text/html")
        assert "(3 times)" in page.text
        assert "no control tag &#34;&lt;script&gt;" in page.text
        assert "<script" not in page.text
        assert "://" not in page.text
        assert "good for trying out only: put mobile_sam.pt into" in page.text
        assert "0 masks, 0 empty, 3 without an answer" in page.text
        assert " on disk, " in page.text
        assert "set, not used yet" in page.text


def test_strangers_do_not_write_to_status(start_backend, recorded: Recorded) -> None:
    backend = start_backend(BASIC_AUTH_USER="sam", BASIC_AUTH_PASS="secret")
    password = ("sam", "secret")
    request = recorded("click_positive")
    request["json"]["params"]["context"]["result"][0]["from_name"] = "renamed"
    backend.client.post("/predict", json=request["json"], auth=password)
    for number in range(80):
        backend.client.get(f"/nothing/{number}")
        backend.client.post("/predict", content=b"x" * number)
        backend.client.post("/predict", json={}, auth=("sam", f"guess {number}"))
        backend.client.post("/webhook", content=b"{" * number)
        backend.client.post("/webhook", json={"action": number})
    backend.client.post("/setup", content=b"{", auth=password)  # a later problem, of the operator

    def page() -> str:
        return backend.client.get("/status", auth=password).text

    deadline = time.monotonic() + 60
    while "POST /setup: 400: the body is not JSON" not in page():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "no control tag &#34;renamed&#34;" in page()
    assert "/nothing" not in page()
    assert "POST /predict: 40" not in page()
    assert "/webhook" not in page()


def test_a_log_line_cannot_be_forged(backend, recorded: Recorded) -> None:
    request = recorded("click_positive")
    region = request["json"]["params"]["context"]["result"][0]
    region["from_name"] = "x\nERROR forged"
    send(backend, request)
    assert "\nERROR forged" not in backend.log
    assert "x\\nERROR forged" in backend.log
