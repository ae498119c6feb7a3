"""Images are embedded before anybody clicks on them, and never in the way of a click."""

import threading
from collections.abc import Callable

import pytest

from backend import prefetch
from backend.embeddings.segmenter import Segmenter
from backend.embeddings.store import EmbeddingStore
from backend.images.image_ref import ImageRef
from backend.images.loading import ImageLoader
from backend.prefetch import Prefetcher
from backend.regions.prompts import LabelingConfig
from model import load_predictor
from model.weights import BUILTIN_PATH

Recorded = Callable[[str], dict]


def test_opening_a_task_embeds_its_image(
    start_backend, image_host: str, recorded: Recorded
) -> None:
    backend = start_backend(LABEL_STUDIO_URL=image_host)
    click = recorded("click_positive")["json"]
    opened = {**recorded("predict_task_opened")["json"], "tasks": click["tasks"]}
    assert backend.client.post("/predict", json=opened).json() == {"results": [[]]}
    backend.wait_for("mobilesam_encodes_total", 1)

    (prediction,) = backend.client.post("/predict", json=click).json()["results"]
    assert prediction["result"]
    assert backend.count("mobilesam_encodes_total") == 1


def test_an_image_that_cannot_be_had_is_counted_and_named(
    start_backend, image_host: str, recorded: Recorded
) -> None:
    backend = start_backend(LABEL_STUDIO_URL=image_host)
    opened = recorded("predict_task_opened")["json"]
    opened["tasks"][0]["data"]["image"] = "/data/upload/1/gone.png"
    backend.client.post("/predict", json=opened)
    backend.wait_for('mobilesam_jobs_total{outcome="failed"}', 1)
    assert "an image was not embedded ahead of its click: " in backend.log
    assert "gone.png answered 404" in backend.log


CONFIG = LabelingConfig.parse(
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="brush" toName="image"><Label value="A"/></BrushLabels></View>'
)


class HeldImages(ImageLoader):
    """Notes what is asked for; the first image waits until the queue has been filled."""

    def __init__(self, is_filled) -> None:
        super().__init__(None)
        self.asked: list[str] = []
        self._is_filled = is_filled

    def load(self, ref: ImageRef):
        self.asked.append(ref.url)
        self._is_filled.wait(30)
        return super().load(ref)


def tasks(*names: str) -> list[dict]:
    return [{"id": i, "data": {"image": f"data:,{name}"}} for i, name in enumerate(names)]


def test_the_current_task_goes_before_an_import_of_thousands(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(prefetch, "_MAX_WAITING", 10)
    is_filled = threading.Event()
    images = HeldImages(is_filled)
    segmenter = Segmenter(load_predictor(BUILTIN_PATH), EmbeddingStore(1 << 20), images)
    prefetcher = Prefetcher(segmenter, None)
    prefetcher.start()

    prefetcher.tasks_opened(tasks(*(f"rest-{i}" for i in range(40))), CONFIG)
    prefetcher.tasks_opened(tasks("current"), CONFIG)
    is_filled.set()
    prefetcher.wait_until_empty()

    assert images.asked.index("data:,current") <= 1  # the one that was being loaded goes on
    assert 10 <= len(images.asked) <= 13
    warnings = [r for r in caplog.records if "images wait to be embedded" in r.message]
    assert len(warnings) == 1  # not one for each of thirty
