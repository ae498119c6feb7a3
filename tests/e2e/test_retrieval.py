"""Masks for requests in which nobody has clicked: Retrieve predictions, and an opened task."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image

from backend.predictions.retrieval import Retrieval
from backend.regions.labeling_config import LabelingConfig
from backend.service import Service
from backend.settings import Settings
from demo.backend import Backend
from demo.label_studio import LabelStudio
from model.weights import BUILTIN_PATH

WIDTH, HEIGHT = 320, 240
CORNERS = (60, 40, 180, 160)  # of the object: x0, y0, x1, y1 in pixels
OF_BOXES, OF_EVERYTHING = "mobile-sam-builtin boxes", "mobile-sam-builtin everything"


def config(attributes: str) -> str:
    return (
        '<View><Image name="image" value="$image"/>'
        f'<BrushLabels name="brush" toName="image" smart="false" {attributes}>'
        '<Label value="Object"/><Label value="Other"/></BrushLabels>'
        '<RectangleLabels name="box" toName="image" smart="true">'
        '<Label value="Object"/></RectangleLabels></View>'
    )


BOXES = config('model_preannotate="boxes"')


def box() -> dict:
    x0, y0, x1, y1 = CORNERS
    value = {
        "x": 100 * x0 / WIDTH,
        "y": 100 * y0 / HEIGHT,
        "width": 100 * (x1 - x0) / WIDTH,
        "height": 100 * (y1 - y0) / HEIGHT,
        "rectanglelabels": ["Object"],
    }
    return {
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": value,
    }


@pytest.fixture(scope="module")
def folder(label_studio: LabelStudio) -> Path:
    """A folder of one picture: a rectangle on grey."""
    folder = label_studio.log_path.parent / "retrieval"
    folder.mkdir(exist_ok=True)
    image = Image.new("RGB", (WIDTH, HEIGHT), (130, 130, 130))
    image.paste((200, 40, 40), CORNERS)
    image.save(folder / "picture.png")
    return folder


@pytest.fixture
def project(label_studio: LabelStudio, folder: Path) -> Callable[..., int]:
    """Makes a project. Each flag says whether another model has predicted the task's box."""

    def make(label_config: str, *has_box: bool) -> int:
        project_id = label_studio.create_project("retrieval", label_config)
        label_studio.connect_folder(project_id, folder)
        data = {"image": "/data/local-files/?d=retrieval/picture.png"}
        boxes = [{"model_version": "yolo", "result": [box()]}]
        label_studio.import_tasks(
            project_id, [{"data": data, "predictions": boxes if one else []} for one in has_box]
        )
        return project_id

    return make


@pytest.fixture(scope="module")
def service(label_studio: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> Service:
    return Service.start(
        Settings(
            label_studio_url=label_studio.url,
            label_studio_api_key=label_studio.token,
            checkpoint=BUILTIN_PATH,
            cache_dir=tmp_path_factory.mktemp("cache"),
        )
    )


def versions(label_studio: LabelStudio, project_id: int) -> list[list[str]]:
    """The model_versions of the predictions of each task."""
    tasks = label_studio.tasks(project_id)
    return [[one["model_version"] for one in label_studio.predictions(t["id"])] for t in tasks]


def iou(region: dict) -> float:
    """The IoU of a brush region and the object."""
    mask = decode_rle(region["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)[..., 3] > 0
    truth = np.zeros((HEIGHT, WIDTH), bool)
    truth[CORNERS[1] : CORNERS[3], CORNERS[0] : CORNERS[2]] = True
    return float((mask & truth).sum() / (mask | truth).sum())


def test_retrieve_predictions(
    label_studio: LabelStudio, backend: Backend, project: Callable[..., int]
) -> None:
    project_id = project(BOXES, True, False, True)
    label_studio.connect(project_id, backend.url)
    for _ in range(2):  # Label Studio asks again for tasks that have predictions already
        label_studio.retrieve_predictions(project_id)
        assert versions(label_studio, project_id) == [["yolo", OF_BOXES], [], ["yolo", OF_BOXES]]
    first, *_ = label_studio.tasks(project_id)
    _, prediction = label_studio.predictions(first["id"])
    (region,) = prediction["result"]
    assert iou(region) > 0.9
    assert prediction["score"] == region["score"] > 0.5


def test_a_project_that_asks_for_nothing_gets_nothing(
    label_studio: LabelStudio, backend: Backend, project: Callable[..., int]
) -> None:
    project_id = project(config(""), True)
    label_studio.connect(project_id, backend.url)
    label_studio.retrieve_predictions(project_id)
    assert versions(label_studio, project_id) == [["yolo"]]


def test_an_opened_task(
    label_studio: LabelStudio, backend: Backend, project: Callable[..., int]
) -> None:
    """Label Studio asks for a task without predictions: here an annotator has drawn its box."""
    project_id = project(BOXES, False)
    label_studio.connect(project_id, backend.url)
    (task,) = label_studio.tasks(project_id)
    label_studio.annotate(task["id"], [box()])
    opened = label_studio.open_task(task["id"])
    assert [one["model_version"] for one in opened["predictions"]] == [OF_BOXES]
    assert iou(opened["predictions"][0]["result"][0]) > 0.9


def test_everything_in_an_opened_task(
    label_studio: LabelStudio, backend: Backend, project: Callable[..., int]
) -> None:
    attributes = 'model_preannotate="everything" model_preannotate_label="Other"'
    project_id = project(config(attributes), False)
    label_studio.connect(project_id, backend.url)
    (task,) = label_studio.tasks(project_id)
    opened = label_studio.open_task(task["id"])
    assert [one["model_version"] for one in opened["predictions"]] == [OF_EVERYTHING]
    regions = opened["predictions"][0]["result"]
    assert {tuple(region["value"]["brushlabels"]) for region in regions} == {("Other",)}
    assert max(map(iou, regions)) > 0.9


def test_tasks_that_are_not_ready_in_time_are_written_later(
    label_studio: LabelStudio, service: Service, project: Callable[..., int]
) -> None:
    project_id = project(BOXES, True, False, True, True)
    tasks = label_studio.tasks(project_id)
    for task in tasks:
        task["predictions"] = label_studio.predictions(task["id"])
    retrieval = Retrieval(service.segmenter_of, service.label_studio, many_tasks_s=0)
    answers = retrieval.answer(tasks, LabelingConfig.parse(BOXES))
    # What waits is not done a second time when somebody asks again.
    late = [task for task, answer in zip(tasks, answers, strict=True) if answer == []]
    assert retrieval.answer(late, LabelingConfig.parse(BOXES)) == [[] for _ in late]
    retrieval.start()
    retrieval.wait_until_written()
    written = [found.count(OF_BOXES) for found in versions(label_studio, project_id)]
    answered = [len(answer) > 0 for answer in answers]
    assert [w + a for w, a in zip(written, answered, strict=True)] == [1, 0, 1, 1]


def test_a_forged_request_writes_nothing(
    label_studio: LabelStudio, service: Service, project: Callable[..., int]
) -> None:
    """Anybody may send a request where no password is set. The project itself is asked."""
    project_id = project(config(""), True, True)
    tasks = label_studio.tasks(project_id)
    forged = [{**task, "predictions": [{"id": 1, "result": [box()]}]} for task in tasks]
    retrieval = Retrieval(service.segmenter_of, service.label_studio, many_tasks_s=0)
    retrieval.answer(forged, LabelingConfig.parse(BOXES))
    retrieval.start()
    retrieval.wait_until_written()
    assert versions(label_studio, project_id) == [["yolo"], ["yolo"]]
