"""A request with a great many points or boxes costs no gigabytes, and says what to do."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image

from backend.regions.prompts import MAX_POINTS, MAX_REGIONS
from model.predictor import MAX_BATCH

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image" model_crop_refinement="false">'
    '<Label value="Object"/></BrushLabels>'
    '<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/>'
    "</KeyPointLabels>"
    '<RectangleLabels name="box" toName="image" smart="true"><Label value="Object"/>'
    "</RectangleLabels></View>"
)


def box(x: float) -> dict:
    value = {"x": x, "y": 20, "width": 40, "height": 60, "rectanglelabels": ["Object"]}
    return {"type": "rectanglelabels", "from_name": "box", "value": value}


def point(x: float) -> dict:
    value = {"x": x, "y": 50, "width": 1, "keypointlabels": ["Object"]}
    return {"type": "keypointlabels", "from_name": "point", "is_positive": True, "value": value}


@pytest.fixture
def ask(start_backend, serve, square, click_at, tmp_path: Path):
    """Sends regions on one image; gives the regions that come back, and the backend."""
    square().save(tmp_path / "image.png")
    url = serve(tmp_path)
    backend = start_backend(LABEL_STUDIO_URL=url)

    def send(*regions: dict) -> tuple[list[dict], str]:
        body = {**click_at(f"{url}/image.png"), "label_config": CONFIG}
        frame = {"to_name": "image", "original_width": 320, "original_height": 240}
        body["params"] = {"context": {"result": [{**frame, **region} for region in regions]}}
        (prediction,) = backend.client.post("/predict", json=body).json()["results"]
        return prediction["result"], backend.log

    return send


def test_objects_of_several_batches_come_back_in_their_order(ask) -> None:
    boxes = [box(index) for index in range(2 * MAX_BATCH + 1)]
    together, _ = ask(*boxes)
    assert len(together) == len(boxes)
    for index in (0, MAX_BATCH, 2 * MAX_BATCH):
        (alone,), _ = ask(boxes[index])
        assert together[index]["value"] == alone["value"]


def test_too_many_regions_are_named(ask) -> None:
    masks, log = ask(*(box(0.05 * index) for index in range(1000)))
    assert masks == []
    assert f"there are more than {MAX_REGIONS} smart points and boxes: accept or delete" in log


def test_too_many_points_on_one_object_are_named(ask) -> None:
    masks, log = ask(*(point(1 + 0.5 * index) for index in range(MAX_POINTS + 1)))
    assert masks == []
    assert f"there are more than {MAX_POINTS} points on one object: accept the mask" in log
    masks, _ = ask(*(point(30 + 0.5 * index) for index in range(MAX_POINTS)))
    assert len(masks) == 1


def test_forty_first_clicks_on_large_images_take_little_memory(
    start_backend, serve, click_at, tmp_path: Path
) -> None:
    """The whole images of 40 clicks that wait for the encoder would take 5.5 GB."""
    gradient = Image.linear_gradient("L").resize((4000, 3000))
    for index in range(40):
        Image.merge("RGB", (gradient, gradient.rotate(180), gradient)).save(
            tmp_path / f"{index}.jpg", quality=75 + index // 2
        )
    backend = start_backend(LABEL_STUDIO_URL=serve(tmp_path), CACHE_DISK_GB="0")

    def click(index: int) -> int:
        body = click_at(f"{backend.settings['LABEL_STUDIO_URL']}/{index}.jpg")
        (region,) = body["params"]["context"]["result"]
        region["original_width"], region["original_height"] = 4000, 3000
        return backend.client.post("/predict", json=body).status_code

    with ThreadPoolExecutor(40) as annotators:
        assert set(annotators.map(click, range(40))) == {200}
    assert backend.count("mobilesam_encodes_total") >= 32  # the others found no seat to wait
    (worker,) = psutil.Process(backend.process.pid).children()
    status = Path(f"/proc/{worker.pid}/status").read_text()
    (peak_kb,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    assert int(peak_kb) < 1_500_000
