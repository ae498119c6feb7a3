"""`python -m backend preannotate` with a real Label Studio: each task gets one prediction."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image, ImageDraw

from backend.cli import main
from backend.label_studio.client import LabelStudio as Connection
from backend.label_studio.predictions import Predictions
from demo.backend import ROOT
from demo.label_studio import LabelStudio
from model.weights import BUILTIN_PATH

WIDTH, HEIGHT = 320, 240
OBJECTS = {"Object": (40, 50, 140, 150), "Other": (190, 90, 280, 200)}  # x0, y0, x1, y1 in pixels
OURS = "mobile-sam-builtin boxes"
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image" smart="false">'
    '<Label value="Object"/><Label value="Other"/></BrushLabels>'
    '<RectangleLabels name="box" toName="image" smart="true">'
    '<Label value="Object"/><Label value="Other"/><Label value="Unmaskable"/>'
    "</RectangleLabels></View>"
)


def picture() -> Image.Image:
    """Two rectangles of different colours on grey."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (130, 130, 130))
    draw = ImageDraw.Draw(image)
    for corners, color in zip(OBJECTS.values(), ((200, 40, 40), (40, 70, 200)), strict=True):
        draw.rectangle(corners, fill=color)
    return image


def box(label: str, corners: tuple[int, ...] | None = None, rotation: float = 0) -> dict:
    """A rectangle of Label Studio around an object, as another model would predict it."""
    x0, y0, x1, y1 = corners or OBJECTS[label]
    value = {
        "x": 100 * x0 / WIDTH,
        "y": 100 * y0 / HEIGHT,
        "width": 100 * (x1 - x0) / WIDTH,
        "height": 100 * (y1 - y0) / HEIGHT,
        "rotation": rotation,
        "rectanglelabels": [label],
    }
    return {"from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value}


BOXES = [box("Object"), box("Other")]


@pytest.fixture(scope="module")
def image(label_studio: LabelStudio) -> Callable[[int], str]:
    """Makes an image available to a project; returns its URL."""
    folder = label_studio.log_path.parent / "boxes"
    folder.mkdir(exist_ok=True)
    picture().save(folder / "picture.png")

    def connect(project_id: int) -> str:
        label_studio.connect_folder(project_id, folder)
        return "/data/local-files/?d=boxes/picture.png"

    return connect


@pytest.fixture
def project(label_studio: LabelStudio, image: Callable[[int], str]) -> Callable[..., int]:
    """Makes a project; each argument is the list of boxes that another model predicts for a task.

    None instead of a list is a task without any prediction.
    """

    def make(*boxes: list[dict] | None) -> int:
        project_id = label_studio.create_project("boxes", CONFIG)
        url = image(project_id)
        tasks = [
            {
                "data": {"image": url},
                "predictions": [] if one is None else [{"model_version": "yolo", "result": one}],
            }
            for one in boxes
        ]
        label_studio.import_tasks(project_id, tasks)
        return project_id

    return make


@pytest.fixture
def settings(label_studio: LabelStudio, tmp_path: Path) -> dict[str, str]:
    return {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
        "CACHE_DIR": str(tmp_path / "cache"),
    }


@pytest.fixture
def command(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command; returns its exit status and what it has printed (stdout, stderr)."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    def run(project_id: int, *arguments: str) -> tuple[int, str, str]:
        status = main(["preannotate", "--project", str(project_id), *arguments])
        return status, *capsys.readouterr()

    return run


def ours(label_studio: LabelStudio, project_id: int) -> list[list[dict]]:
    """The predictions that the backend has written, of each task of a project."""
    tasks = label_studio.tasks(project_id)
    return [
        [one for one in label_studio.predictions(task["id"]) if one["model_version"] == OURS]
        for task in tasks
    ]


def iou(region: dict, corners: tuple[int, ...]) -> float:
    """The IoU of a brush region and a rectangle of pixels."""
    assert (region["original_width"], region["original_height"]) == (WIDTH, HEIGHT)
    mask = decode_rle(region["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[..., 3] > 0
    truth = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(truth).rectangle(corners, fill=1)
    wanted = np.asarray(truth)
    return float((mask & wanted).sum() / (mask | wanted).sum())


def test_each_box_becomes_a_mask_of_its_label(
    label_studio: LabelStudio, project: Callable[..., int], command: Callable[..., tuple]
) -> None:
    project_id = project(BOXES, None)
    status, out, _ = command(project_id, "--dry-run")
    assert status == 0
    assert f'1 tasks would get a prediction "{OURS}"; 0 have one, 1 have no boxes' in out
    assert "1 boxes: Object\n1 boxes: Other\n" in out
    assert ours(label_studio, project_id) == [[], []]

    status, out, _ = command(project_id)
    assert status == 0
    assert "1 predictions written; 0 tasks had one, 1 have no boxes" in out
    assert f'To show them these, choose "{OURS}"' in out
    [prediction], none = ours(label_studio, project_id)
    assert none == []
    assert [region["value"]["brushlabels"] for region in prediction["result"]] == [
        ["Object"],
        ["Other"],
    ]
    for region, corners in zip(prediction["result"], OBJECTS.values(), strict=True):
        assert (region["from_name"], region["type"]) == ("brush", "brushlabels")
        assert iou(region, corners) > 0.9
    scores = [region["score"] for region in prediction["result"]]
    assert prediction["score"] == min(scores) > 0.5

    assert "0 predictions written; 1 tasks had one" in command(project_id)[1]
    assert ours(label_studio, project_id) == [[prediction], []]


def test_what_cannot_become_a_mask_is_listed(
    label_studio: LabelStudio, project: Callable[..., int], command: Callable[..., tuple]
) -> None:
    corners = OBJECTS["Object"]
    project_id = project([box("Unmaskable", corners), box("Other")], [box("Other")])
    task_id = label_studio.tasks(project_id)[0]["id"]
    sentence = f'task {task_id}: BrushLabels "brush" has no label "Unmaskable": add it there'
    for arguments in (["--dry-run"], []):
        status, _, error = command(project_id, *arguments)
        assert status == 1
        assert sentence in error
        assert "1 failed" in error
    assert [len(found) for found in ours(label_studio, project_id)] == [0, 1]

    assert command(project_id, "--label", "Other")[0] == 0
    [chosen], _ = ours(label_studio, project_id)
    assert [region["value"]["brushlabels"] for region in chosen["result"]] == [["Other"]]


def test_annotated_boxes_and_again_after_they_have_changed(
    label_studio: LabelStudio, project: Callable[..., int], command: Callable[..., tuple]
) -> None:
    project_id = project(None)
    (task,) = label_studio.tasks(project_id)
    x0, y0, x1, y1 = OBJECTS["Object"]
    # A rotation turns a box around its top-left corner: this is the same box, lying on its side.
    turned = box("Object", (x1, y0, x1 + y1 - y0, y0 + x1 - x0), rotation=90)
    label_studio.annotate(task["id"], [turned])
    assert "1 have no boxes" in command(project_id)[1]
    assert command(project_id, "--from", "annotations")[0] == 0
    [[first]] = ours(label_studio, project_id)
    assert [iou(region, OBJECTS["Object"]) > 0.9 for region in first["result"]] == [True]

    label_studio.annotate(task["id"], [box("Other")])
    assert "1 tasks had one" in command(project_id, "--from", "annotations")[1]
    assert "1 predictions written" in command(project_id, "--from", "annotations", "--again")[1]
    [[second]] = ours(label_studio, project_id)
    assert second["id"] == first["id"]
    assert [iou(region, OBJECTS["Other"]) > 0.9 for region in second["result"]] == [True]


def test_only_the_tasks_of_a_view(
    label_studio: LabelStudio, project: Callable[..., int], command: Callable[..., tuple]
) -> None:
    project_id = project([box("Object")], [box("Object")], [box("Object")])
    middle = label_studio.tasks(project_id)[1]["id"]
    chosen = {"filter": "filter:tasks:id", "operator": "equal", "type": "Number", "value": middle}
    view_id = label_studio.create_view(project_id, [chosen])
    assert command(project_id, "--filter", str(view_id))[0] == 0
    assert [len(found) for found in ours(label_studio, project_id)] == [0, 1, 0]

    status, _, error = command(project(None), "--filter", str(view_id))
    assert status == 1
    assert f"has no view {view_id} in its Data Manager" in error


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(["--from", OURS], "are predictions of this backend", id="own"),
        pytest.param(["--queue"], "--queue needs REDIS_URL", id="no-redis"),
    ],
)
def test_what_cannot_be_asked_for(
    command: Callable[..., tuple], arguments: list[str], sentence: str
) -> None:
    status, _, error = command(1, *arguments)
    assert status == 1
    assert sentence in error


def test_everything_beside_the_masks_of_boxes(
    label_studio: LabelStudio, project: Callable[..., int], command: Callable[..., tuple]
) -> None:
    project_id = project([box("Object")])
    assert command(project_id)[0] == 0
    arguments = ("--everything", "--label", "Other", "--max-count", "3", "--min-area", "500")
    assert "1 tasks would get a prediction" in command(project_id, *arguments, "--dry-run")[1]
    for sentence in ("1 predictions written", "1 tasks had one"):
        assert sentence in command(project_id, *arguments)[1]
    (task,) = label_studio.tasks(project_id)
    _, of_boxes, everything = label_studio.predictions(task["id"])
    assert of_boxes["model_version"] == OURS
    assert everything["model_version"] == "mobile-sam-builtin everything"
    assert {tuple(one["value"]["brushlabels"]) for one in everything["result"]} == {("Other",)}
    assert len(everything["result"]) <= 3
    for corners in OBJECTS.values():
        assert max(iou(region, corners) for region in everything["result"]) > 0.9


DETECTED = {
    "boxes": [list(corners) for corners in OBJECTS.values()] + [[0, 0, 9, 9]],
    "labels": ["object", "Other", "person"],  # the case of a label does not count
    "scores": [0.9, 0.8, 0.7],
}
DETECTOR_MODULE = f"""
DETECTED = {DETECTED!r}

def detect(image):
    assert image.shape == ({HEIGHT}, {WIDTH}, 3) and image.dtype == "uint8"
    assert image[100, 100].tolist() == [200, 40, 40]
    return tuple(DETECTED.values())

def fail(image):
    raise RuntimeError("out of weights")
"""


@pytest.fixture
def detector_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a Python module with detectors."""
    (tmp_path / "some_detectors.py").write_text(DETECTOR_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_detectors"
    sys.modules.pop("some_detectors", None)


@pytest.fixture
def detector_service(start_server: Callable[..., str]) -> str:
    """The URL of a service that takes images, and under /predict requests of Label Studio."""

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if request.path == "/predict":
            asked = json.loads(request.body)
            (task,) = asked["tasks"]
            assert task["data"]["image"] and "box" in asked["label_config"]
            found = {"results": [{"result": [*BOXES, box("person", (0, 0, 9, 9))]}]}
        else:
            assert request.headers["Content-Type"] == "image/jpeg"
            assert Image.open(BytesIO(request.body)).size == (WIDTH, HEIGHT)
            found = DETECTED if request.path == "/detect" else {"objects": []}
        return 200, {}, json.dumps(found).encode()

    return start_server(answer)


@pytest.mark.parametrize("kind", ["function", "service", "backend"])
def test_boxes_of_a_detector(
    label_studio: LabelStudio,
    project: Callable[..., int],
    command: Callable[..., tuple],
    detector_module: str,
    detector_service: str,
    kind: str,
) -> None:
    project_id = project(None, [box("Other")])
    detectors = {
        "function": f"{detector_module}:detect",
        "service": f"{detector_service}/detect",
        "backend": f"ml+{detector_service}/",
    }
    status, out, error = command(project_id, "--detector", detectors[kind])
    assert status == 0, error
    assert "2 predictions written" in out
    assert 'left out: 1 boxes of "person", a label that no tag of the project has' in out
    [detected], [given] = ours(label_studio, project_id)
    assert [region["value"]["brushlabels"] for region in detected["result"]] == [
        ["Object"],
        ["Other"],
    ]
    for region, corners in zip(detected["result"], OBJECTS.values(), strict=True):
        assert iou(region, corners) > 0.9
    assert len(given["result"]) == 1  # the task had a box of its own


def test_a_detector_that_fails(
    project: Callable[..., int],
    command: Callable[..., tuple],
    detector_module: str,
    detector_service: str,
) -> None:
    project_id = project(None)
    for name, sentence in (
        (f"{detector_module}:fail", "the detector fails: RuntimeError: out of weights"),
        (f"{detector_service}/other", '/other must answer {"boxes": [[x0, y0, x1, y1], ...]'),
    ):
        status, _, error = command(project_id, "--detector", name)
        assert status == 1
        assert sentence in error


class Proxy:
    """Passes requests on to Label Studio, and lets a test disturb the writing of predictions.

    Attributes:
        url: where it listens.
        disturb: called for each new prediction with the number of those before it. Passes the
            request on by itself: returns the status to answer with.
    """

    def __init__(self, target: str) -> None:
        self.writes = 0
        self.disturb: Callable[[int, Callable[[], int]], int] = lambda number, send: send()
        proxy, client = self, httpx.Client(base_url=target, timeout=60)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                kept = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in ("host", "connection", "content-length")
                }
                answers: list[httpx.Response] = []

                def send() -> int:
                    answers.append(
                        client.request(self.command, self.path, headers=kept, content=body)
                    )
                    return answers[-1].status_code

                is_write = self.command == "POST" and self.path == "/api/predictions/"
                status = proxy.count(send) if is_write else send()
                content = answers[-1].content if answers and status < 400 else b""
                self.send_response(status)
                if status < 500 and answers:
                    self.send_header("Content-Type", answers[-1].headers.get("Content-Type", ""))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = pass_on

            def log_message(self, *args: object) -> None:
                pass

        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._client = client
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def count(self, send: Callable[[], int]) -> int:
        with self._lock:
            number, self.writes = self.writes, self.writes + 1
        return self.disturb(number, send)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._client.close()


@pytest.fixture
def proxy(label_studio: LabelStudio) -> Iterator[Proxy]:
    running = Proxy(label_studio.url)
    yield running
    running.stop()


def start(project_id: int, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "backend", "preannotate", "--project", str(project_id), *arguments],
        cwd=ROOT,
        env={**os.environ, **settings},  # noqa: TID251
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_twice_and_started_again(
    label_studio: LabelStudio,
    project: Callable[..., int],
    proxy: Proxy,
    settings: dict[str, str],
) -> None:
    """Killed after Label Studio has written the prediction, and before."""
    project_id = project(*[[box("Object")]] * 5)
    settings["LABEL_STUDIO_URL"] = proxy.url
    for writes_first, expected in ((True, 2), (False, 3)):
        reached, killed = threading.Event(), threading.Event()

        def hold(
            number: int,
            send: Callable[[], int],
            writes_first: bool = writes_first,
            reached: threading.Event = reached,
            killed: threading.Event = killed,
        ) -> int:
            if number != 1:
                return send()
            if writes_first:
                send()
            reached.set()
            killed.wait(60)
            return 503

        proxy.writes, proxy.disturb = 0, hold
        with start(project_id, "--workers", "1", **settings) as process:
            assert reached.wait(60)
            process.kill()
            process.communicate()
        killed.set()
        assert sum(map(len, ours(label_studio, project_id))) == expected
    proxy.disturb = lambda number, send: send()
    with start(project_id, **settings) as process:
        out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "2 predictions written; 3 tasks had one" in out
    assert [len(found) for found in ours(label_studio, project_id)] == [1] * 5


def written(url: str, token: str, task: dict, score: float) -> None:
    Predictions(Connection(url, token), OURS).put(
        task["id"], task["project"], BOXES, score, replaces=False
    )


def test_two_writers_at_the_same_time(
    label_studio: LabelStudio, project: Callable[..., int], proxy: Proxy
) -> None:
    """Both have looked and found no prediction before either of them writes."""
    project_id = project(BOXES)
    (task,) = label_studio.tasks(project_id)
    both = threading.Barrier(2, timeout=60)

    def hold(number: int, send: Callable[[], int]) -> int:
        both.wait()
        return send()

    proxy.disturb = hold
    writers = [
        threading.Thread(target=written, args=(proxy.url, label_studio.token, task, score))
        for score in (0.5, 0.7)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert proxy.writes == 2
    assert [len(found) for found in ours(label_studio, project_id)] == [1]


@pytest.mark.parametrize("arrives", [True, False])
def test_a_write_without_an_answer(
    label_studio: LabelStudio, project: Callable[..., int], proxy: Proxy, arrives: bool
) -> None:
    project_id = project(BOXES)
    (task,) = label_studio.tasks(project_id)

    def lose_first(number: int, send: Callable[[], int]) -> int:
        if number > 0:
            return send()
        if arrives:
            send()
        return 504

    proxy.disturb = lose_first
    written(proxy.url, label_studio.token, task, 0.5)
    assert proxy.writes == (1 if arrives else 2)
    assert [len(found) for found in ours(label_studio, project_id)] == [1]


def test_surplus_predictions_of_a_killed_writer_are_removed(
    label_studio: LabelStudio, project: Callable[..., int], command: Callable[..., tuple]
) -> None:
    project_id = project(BOXES, BOXES)
    first, second = label_studio.tasks(project_id)
    for task, copies in ((first, 3), (second, 1)):
        for _ in range(copies):
            label_studio.predict(task["id"], BOXES, OURS)
    oldest = ours(label_studio, project_id)[0][0]["id"]
    assert "0 predictions written; 2 tasks had one" in command(project_id)[1]
    assert [[one["id"] for one in found] for found in ours(label_studio, project_id)][0] == [oldest]
    assert [len(found) for found in ours(label_studio, project_id)] == [1, 1]


def test_on_workers(
    label_studio: LabelStudio,
    project: Callable[..., int],
    command: Callable[..., tuple],
    settings: dict[str, str],
    redis_server: tuple,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, redis_url = redis_server
    project_id = project([box("Object")], BOXES, None, [box("Unmaskable", OBJECTS["Object"])])
    failing = label_studio.tasks(project_id)[3]["id"]
    monkeypatch.setenv("REDIS_URL", redis_url)
    worker = subprocess.Popen(
        [str(Path(sys.executable).with_name("rq")), "worker", "--url", redis_url, "mobile-sam"],
        cwd=ROOT,
        env={**os.environ, **settings},  # noqa: TID251
        stderr=subprocess.DEVNULL,
    )
    try:
        status, out, error = command(project_id, "--queue")
    finally:
        worker.terminate()
        worker.wait(30)
    assert status == 1
    assert "2 predictions written; 0 tasks had one, 1 have no boxes" in out
    assert f'task {failing}: BrushLabels "brush" has no label' in error
    assert [len(found) for found in ours(label_studio, project_id)] == [1, 1, 0, 0]
