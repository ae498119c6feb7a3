"""Many annotators, many images, caches far too small: never a mask of another picture."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image, ImageDraw

from backend.images.loading import decode
from demo.smart_regions import keypoint, predict_request
from model import ImageEmbedding, Prompt, interactive, load_predictor
from model.weights import BUILTIN_PATH

IMAGES, CLICKS_AN_IMAGE, CLICKS, CLIENTS = 40, 5, 2000, 8
WIDTH, HEIGHT = 320, 240
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    '<BrushLabels name="tag" toName="image"><Label value="Object"/></BrushLabels>'
    '<KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/>'
    "</KeyPointLabels></View>"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of shapes, each different."""
    folder = tmp_path_factory.mktemp("shapes")
    for index in range(IMAGES):
        rng = np.random.default_rng(index)
        image = Image.new("RGB", (WIDTH, HEIGHT), tuple(rng.integers(0, 255, 3)))
        draw = ImageDraw.Draw(image)
        for _ in range(6):
            x, y = rng.integers(0, WIDTH), rng.integers(0, HEIGHT)
            box = (x - 60, y - 40, x + 60, y + 40)
            draw.ellipse(box, fill=tuple(rng.integers(0, 255, 3)))
        image.save(folder / f"{index}.png")
    return folder


Click = tuple[int, tuple[float, float]]  # index of the image, (x, y) percent


def body(url: str, click: Click) -> dict:
    index, (x, y) = click
    task = {"id": index, "data": {"image": f"{url}/{index}.png"}}
    return predict_request(task, CONFIG, keypoint(x, y, width=WIDTH, height=HEIGHT))


def mask(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    (prediction,) = response.json()["results"]
    if not prediction["result"]:  # the network may see nothing at a click
        return np.zeros((HEIGHT, WIDTH), bool)
    channels = decode_rle(prediction["result"][0]["value"]["rle"])
    return channels.reshape(HEIGHT, WIDTH, 4)[..., 3] > 0


def test_every_mask_is_the_one_computed_alone(
    folder: Path, start_backend, serve: Callable[[Path], str]
) -> None:
    rng = np.random.default_rng(0)
    spots = [
        (index, (float(x), float(y)))
        for index in range(IMAGES)
        for x, y in rng.uniform(5, 95, (CLICKS_AN_IMAGE, 2))
    ]
    predictor = load_predictor(BUILTIN_PATH)
    alone: dict[Click, np.ndarray] = {}
    embeddings: dict[int, ImageEmbedding] = {}

    def embed(image: np.ndarray) -> ImageEmbedding:
        made = predictor.embed(image)
        return ImageEmbedding(made.features.astype(np.float16), made.original_size)

    for click in spots:
        index, (x, y) = click
        image = decode((folder / f"{index}.png").read_bytes())
        if index not in embeddings:
            embeddings[index] = embed(image)
        prompt = Prompt.from_points([(x / 100 * WIDTH - 0.5, y / 100 * HEIGHT - 0.5)])
        (prediction,) = interactive.segment(
            predictor,
            embeddings[index],
            [prompt],
            embed_crop=partial(lambda image, crop: embed(crop.cut(image)), image),
        )
        alone[click] = prediction.mask
    embedding_bytes = embeddings[0].features.nbytes

    backend = start_backend(
        LABEL_STUDIO_URL=serve(folder),
        WORKERS="2",
        THREADS="4",
        CACHE_MEMORY_MB="1",
        CACHE_DISK_GB=str(IMAGES // 2 * embedding_bytes / 2**30),
    )
    url = backend.settings["LABEL_STUDIO_URL"]
    clicks = random.Random(0).choices(spots, k=CLICKS)
    with ThreadPoolExecutor(CLIENTS) as pool:
        send = partial(backend.client.post, "/predict")
        answers = pool.map(lambda click: send(json=body(url, click)), clicks)
        wrong = [
            click
            for click, answer in zip(clicks, answers, strict=True)
            if np.mean(mask(answer) != alone[click]) > 0.001
        ]

    assert not wrong
    encodes = backend.count("mobilesam_encodes_total")
    assert encodes > IMAGES  # some had to go, or this has tested less than it says
    assert backend.count("mobilesam_embedding_hits_total") > IMAGES


def test_health_and_setup_answer_while_16_clicks_wait_for_images(
    start_backend, start_server
) -> None:
    arrived, may_go = threading.Semaphore(0), threading.Event()

    def answer(request: object) -> tuple[int, dict[str, str], bytes]:
        arrived.release()
        may_go.wait(60)
        return 404, {}, b""

    url = start_server(answer)
    backend = start_backend(WORKERS="1", CACHE_DISK_GB="0")
    with ThreadPoolExecutor(16) as pool:
        waiting = [
            pool.submit(backend.client.post, "/predict", json=body(url, (index, (50, 50))))
            for index in range(16)
        ]
        try:
            assert all(arrived.acquire(timeout=30) for _ in waiting)
            assert backend.client.get("/health").status_code == 200
            setup = {"project": "1", "schema": CONFIG, "hostname": "http://127.0.0.1:1"}
            assert backend.client.post("/setup", json=setup).status_code == 200
            assert not any(click.done() for click in waiting)
        finally:
            may_go.set()
        assert [click.result().status_code for click in waiting] == [200] * 16
