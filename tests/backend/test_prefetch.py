"""Images are embedded before anybody clicks on them, and never in the way of a click."""

import threading
from collections.abc import Callable, Iterator

import pytest

from backend.embeddings.segmenter import Segmenter
from backend.embeddings.store import EmbeddingStore
from backend.http.client import HttpClient
from backend.images.fetching import Fetcher
from backend.images.freshness import ImageWatch
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


def test_an_image_that_is_not_available_is_counted_and_named(
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


FETCHER = Fetcher(None, HttpClient())


class HeldImages(ImageLoader):
    """Notes which images are asked for. The first image waits for :meth:`release`."""

    def __init__(self) -> None:
        super().__init__(FETCHER)
        self.asked: list[str] = []
        self.is_asked, self._may_go = threading.Event(), threading.Event()

    def load(self, ref: ImageRef):
        self.asked.append(ref.url)
        self.is_asked.set()
        self._may_go.wait(30)
        return super().load(ref)

    def release(self) -> None:
        self._may_go.set()


def tasks(*names: str) -> list[dict]:
    return [{"id": i, "data": {"image": f"data:,{name}"}} for i, name in enumerate(names)]


@pytest.fixture
def images() -> HeldImages:
    return HeldImages()


@pytest.fixture
def prefetcher(images: HeldImages) -> Iterator[Prefetcher]:
    """A prefetcher whose thread is busy with the image `held` until the images are released."""
    store, watch = EmbeddingStore(1 << 20), ImageWatch(FETCHER)
    segmenter = Segmenter(load_predictor(BUILTIN_PATH), store, images, watch)
    prefetcher = Prefetcher(segmenter, None)
    prefetcher.start()
    prefetcher.tasks_opened(tasks("held"), CONFIG)
    assert images.is_asked.wait(30)
    yield prefetcher
    images.release()
    prefetcher.wait_until_empty()


def finish(prefetcher: Prefetcher, images: HeldImages) -> list[str]:
    """The images that were asked for after the held image, in their order."""
    images.release()
    prefetcher.wait_until_empty()
    return [url.removeprefix("data:,") for url in images.asked[1:]]


def test_the_current_task_goes_before_an_import_of_thousands(
    prefetcher: Prefetcher, images: HeldImages, caplog: pytest.LogCaptureFixture
) -> None:
    prefetcher.tasks_opened(tasks(*(f"rest-{i}" for i in range(4000))), CONFIG)
    prefetcher.tasks_opened(tasks("current"), CONFIG)
    asked = finish(prefetcher, images)
    assert asked == ["current", *(f"rest-{i}" for i in range(500))]
    (warning,) = [one for one in caplog.messages if "too many images wait" in one]
    assert warning.endswith("python -m backend precompute --project ID")


def test_an_image_that_waits_twice_is_one_job_of_the_higher_priority(
    prefetcher: Prefetcher, images: HeldImages
) -> None:
    prefetcher.tasks_opened(tasks("one", "two", "three"), CONFIG)
    two = [{"id": 1, "data": {"image": "data:,two"}}]
    for _ in range(3):
        prefetcher.tasks_opened(two, CONFIG)
    assert finish(prefetcher, images) == ["two", "one", "three"]


def test_large_data_uris_wait_only_up_to_a_limit(
    prefetcher: Prefetcher, images: HeldImages
) -> None:
    for index in range(20):
        prefetcher.tasks_opened(tasks(f"{index}-{'x' * (20 << 20)}"), CONFIG)
    prefetcher.tasks_opened(tasks("small"), CONFIG)
    asked = finish(prefetcher, images)
    assert [url.partition("-")[0] for url in asked] == ["0", "1", "2", "small"]


def test_a_long_list_of_images_does_not_take_the_room_of_opened_tasks(
    prefetcher: Prefetcher, images: HeldImages
) -> None:
    pages = LabelingConfig.parse(
        '<View><Image name="image" valueList="$pages"/>'
        '<BrushLabels name="brush" toName="image"><Label value="A"/></BrushLabels></View>'
    )
    task = {"id": 1, "data": {"pages": [f"data:,page-{i}" for i in range(2000)]}}
    prefetcher.tasks_opened([task], pages)
    prefetcher.tasks_opened(tasks("current"), CONFIG)
    asked = finish(prefetcher, images)
    assert asked[:21] == [*(f"page-{i}" for i in range(20)), "current"]
    assert len(asked) == 20 + 1 + 500


@pytest.fixture
def frozen_label_studio(start_server: Callable[..., str]) -> Iterator[tuple[str, threading.Event]]:
    """A Label Studio that answers nothing before the event is set, and then 404: URL and event."""
    may_go = threading.Event()

    def answer(request: object) -> tuple[int, dict[str, str], bytes]:
        may_go.wait(120)
        return 404, {}, b""

    yield start_server(answer), may_go
    may_go.set()


def test_hints_of_strangers_do_not_take_the_room_of_an_opened_task(
    start_backend, image_host: str, recorded: Recorded, frozen_label_studio
) -> None:
    url, may_go = frozen_label_studio
    backend = start_backend(LABEL_STUDIO_URL=url)
    hint = {"action": "ANNOTATION_CREATED", "project": {"id": 1}}
    for index in range(1200):
        body = {**hint, "annotation": {"task": index}}
        assert backend.client.post("/webhook", json=body).status_code == 201
    dropped = 'mobilesam_jobs_total{outcome="dropped"}'
    assert backend.count(dropped) == 1200 - 500 - 1  # the thread has taken a job

    opened = recorded("predict_task_opened")["json"]
    opened["tasks"][0]["data"]["image"] = f"{image_host}/http.jpg"
    assert backend.client.post("/predict", json=opened).status_code == 200
    assert backend.count(dropped) == 1200 - 500 - 1
    may_go.set()
    backend.wait_for("mobilesam_encodes_total", 1)
    before, _, _ = backend.log.partition("encoded an image")
    assert before.count("was not embedded ahead of its click") == 1  # the job that was running


def test_a_webhook_of_many_tasks_is_one_job(prefetcher: Prefetcher) -> None:
    waiting = len(prefetcher._queue)
    body = {"project": {"id": 1}, "tasks": [{"id": index} for index in range(100_000)]}
    for action in ("TASKS_CREATED", "TASKS_DELETED", "TASKS_DELETED"):
        prefetcher.event(action, body)
    assert len(prefetcher._queue) == waiting + 2
