"""What an annotator does with suggestions is counted, as the real Label Studio tells it."""

import re
import time
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image, ImageDraw

from demo.backend import ROOT, Backend
from demo.editor import Editor
from demo.label_studio import LabelStudio

CONFIG = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()


def picture() -> bytes:
    """A red disc around (30 %, 45 %) and a blue box around (73 %, 53 %) on grey, 900 x 600."""
    image = Image.new("RGB", (900, 600), (130, 130, 130))
    draw = ImageDraw.Draw(image)
    draw.ellipse((150, 150, 390, 390), fill=(200, 40, 40))
    draw.rectangle((540, 200, 780, 440), fill=(40, 70, 200))
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def counts(backend: Backend, project_id: int) -> dict[str, float]:
    """The samples of a project in /metrics, by their names and what is left of their labels."""
    found = {}
    for line in httpx.get(f"{backend.url}/metrics").text.splitlines():
        match = re.fullmatch(r"mobilesam_(\w+)\{(.*)\} (\S+)", line)
        if match and f'project="{project_id}"' in match[2]:
            assert 'version="base"' in match[2]
            others = re.findall(r'(?:outcome|le)="([^"]*)"', match[2])
            found[" ".join([match[1], *others])] = float(match[3])
    return found


def wait_for(backend: Backend, project_id: int, name: str, count: float) -> dict[str, float]:
    deadline = time.monotonic() + 60
    while (found := counts(backend, project_id)).get(name, 0) < count:
        assert time.monotonic() < deadline, f"{found}\n{backend.log[-2000:]}"
        time.sleep(0.1)
    return found


@pytest.fixture
def task(label_studio: LabelStudio, backend: Backend) -> tuple[int, int, int]:
    """A connected project of one task: the ids of project, task and backend."""
    project_id = label_studio.create_project("quality", CONFIG)
    label_studio.upload(project_id, {"picture.png": picture()})
    backend_id = label_studio.connect(project_id, backend.url)
    (made,) = label_studio.tasks(project_id)
    return project_id, made["id"], backend_id


def test_accepted_corrected_and_rejected_suggestions_are_counted(
    label_studio: LabelStudio, backend: Backend, editor: Editor, task: tuple[int, int, int]
) -> None:
    project_id, task_id, _ = task
    editor.open(project_id, task_id)
    editor.choose("KeyPoint", "Object")
    editor.click(30, 45)
    editor.choose("KeyPoint", "Object")
    refined = editor.click(34, 50)  # two clicks for one object
    editor.accept()
    editor.choose("Rectangle", "Other")
    editor.drag(59, 32, 88, 75)
    editor.accept()
    editor.choose("KeyPoint", "Object")
    editor.click(5, 5)
    editor.reject()
    (region,) = refined["result"]
    editor.erase(region["id"], 20, 45, 40, 45)
    editor.submit()

    found = wait_for(backend, project_id, "suggestions_total rejected", 1)
    assert found["suggestions_total shown"] == 4
    assert found["suggestions_total accepted"] == 1
    assert found["suggestions_total corrected"] == 1
    assert found["suggestions_total rejected"] == 1
    assert 0.8 < found["corrected_iou_sum"] < 0.99
    assert found["corrected_iou_count"] == 1
    assert (found["object_clicks_sum"], found["object_clicks_count"]) == (3, 2)
    page = httpx.get(f"{backend.url}/status").text
    assert f"project {project_id}, base: 4 shown, 1 accepted, 1 corrected (mean IoU 0.9" in page


def click(label_studio: LabelStudio, task: tuple[int, int, int], point_id: str) -> dict[str, Any]:
    """The region that a click on the disc gets."""
    point = {
        "id": point_id,
        "type": "keypointlabels",
        "from_name": "point",
        "to_name": "image",
        "original_width": 900,
        "original_height": 600,
        "is_positive": True,
        "value": {"x": 30, "y": 45, "width": 1, "keypointlabels": ["Object"]},
    }
    prediction = label_studio.interact(task[2], task[1], {"result": [point]})
    (region,) = prediction["result"]
    return region


def test_a_webhook_is_not_believed(
    label_studio: LabelStudio, backend: Backend, task: tuple[int, int, int]
) -> None:
    project_id, task_id, _ = task
    region = click(label_studio, task, "first")
    for annotation_id in (10**6, 1):  # of nobody, and of another task
        said = {"id": annotation_id, "task": task_id, "project": project_id, "result": [region]}
        body = {"action": "ANNOTATION_CREATED", "annotation": said, "project": {"id": project_id}}
        assert httpx.post(f"{backend.url}/webhook", json=body).status_code == 201
    label_studio.annotate(task_id, [region])
    found = wait_for(backend, project_id, "suggestions_total accepted", 1)
    (annotation,) = label_studio.annotations(task_id)
    said = {"id": annotation["id"], "task": task_id, "project": project_id}
    for _ in range(3):  # true, and told again
        body = {"action": "ANNOTATION_UPDATED", "annotation": said, "project": {"id": project_id}}
        assert httpx.post(f"{backend.url}/webhook", json=body).status_code == 201
    click(label_studio, task, "second")
    label_studio.annotate(task_id, [])
    found = wait_for(backend, project_id, "suggestions_total rejected", 1)
    assert found["suggestions_total shown"] == 2
    assert found["suggestions_total accepted"] == 1
    assert found["suggestions_total corrected"] == 0
