"""Masks are for tasks only that may see the image. A real backend, and a host for Label Studio."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from io import BytesIO

import pytest
from PIL import Image, ImageDraw

from demo.smart_regions import keypoint, predict_request

CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="Object"/></BrushLabels>'
    '<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/>'
    "</KeyPointLabels></View>"
)
SIGNED = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k&X-Amz-Signature="


def picture(radius: int) -> bytes:
    image = Image.new("RGB", (300, 200), (120, 120, 120))
    box = (150 - radius, 100 - radius, 150 + radius, 100 + radius)
    ImageDraw.Draw(image).ellipse(box, fill=(210, 50, 40))
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def host(start_server: Callable[..., str]) -> str:
    """Task 1 may see the storage, task 2 may not; only the signature "good" is valid."""

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        if request.path.startswith("/plain?sig="):
            return 200, {}, picture(int(request.path[-2:]))
        if request.path.startswith("/tasks/1/presign/") or request.path.endswith("good"):
            return 200, {}, picture(40)
        return 403, {}, b""

    return start_server(answer)


def click(backend, task_id: int, url: str) -> list[int] | None:
    """The RLE of the mask; None where the click got no mask."""
    task = {"id": task_id, "data": {"image": url}}
    body = predict_request(task, CONFIG, keypoint(50, 50, width=300, height=200))
    (prediction,) = backend.client.post("/predict", json=body).json()["results"]
    return prediction["result"][0]["value"]["rle"] if prediction["result"] else None


def test_the_cache_does_not_answer_a_task_that_is_refused(host: str, start_backend) -> None:
    backend = start_backend(LABEL_STUDIO_URL=host, LABEL_STUDIO_API_KEY="0" * 40)
    assert click(backend, 1, "s3://bucket/a.png")
    assert click(backend, 2, "s3://bucket/a.png") is None
    assert "Label Studio refuses" in backend.log
    assert click(backend, 1, "s3://bucket/a.png")

    url = host.replace("127.0.0.1", "localhost")  # another host than Label Studio
    assert click(backend, 1, f"{url}/a.png?{SIGNED}good")
    assert click(backend, 1, f"{url}/a.png?{SIGNED}forged") is None
    assert click(backend, 1, f"{url}/a.png") is None


def test_unlike_pictures_whose_urls_differ_in_sig_alone(host: str, start_backend) -> None:
    backend = start_backend(ALLOWED_HOSTS="127.0.0.1")
    masks = [click(backend, 1, f"{host}/plain?sig={radius}") for radius in (30, 70)]
    assert None not in masks
    assert masks[0] != masks[1]
