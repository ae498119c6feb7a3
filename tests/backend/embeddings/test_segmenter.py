"""A mask is never of another picture, and no image is fetched or encoded twice."""

import os
import sys
import threading
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from backend.embeddings.priority import Priority
from backend.embeddings.segmenter import Segmenter
from backend.embeddings.store import EmbeddingStore
from backend.http.client import HttpClient
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.freshness import ImageWatch
from backend.images.image_ref import ImageRef
from backend.images.loading import ImageLoader, LoadedImage
from backend.images.validator import Validator
from model import Predictor, Prompt, load_predictor
from model.weights import BUILTIN_PATH

IMAGE = ImageRef("data:,image", 7)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor(BUILTIN_PATH)


def png(image: np.ndarray) -> bytes:
    content = BytesIO()
    Image.fromarray(image).save(content, "PNG", compress_level=1)
    return content.getvalue()


class Images(ImageLoader):
    """Loads a small red disc on grey. The size can change. Counts the loads."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.loads = 0

    def load(self, ref: ImageRef) -> LoadedImage:
        self.loads += 1
        image = np.full((*self.size, 3), 120, dtype=np.uint8)
        rows, columns = np.ogrid[: self.size[0], : self.size[1]]
        image[(columns - 200) ** 2 + (rows - 150) ** 2 <= 12**2] = (210, 50, 40)
        return LoadedImage(png(image), Validator())


@pytest.fixture
def images() -> Images:
    return Images((600, 900))


@pytest.fixture
def segmenter(predictor: Predictor, images: Images) -> Segmenter:
    watch = ImageWatch(Fetcher(None, HttpClient()))
    return Segmenter(predictor, EmbeddingStore(64 << 20), images, watch)


def test_an_image_is_loaded_and_encoded_once(segmenter: Segmenter, images: Images) -> None:
    first = segmenter.embed(IMAGE, reported_size=(600, 900))
    assert segmenter.embed(IMAGE, reported_size=(600, 900)) is first
    assert segmenter.embed(IMAGE) is first
    assert images.loads == 1


def test_an_image_that_was_replaced_is_encoded_again(segmenter: Segmenter, images: Images) -> None:
    segmenter.embed(IMAGE, reported_size=(600, 900))
    images.size = (300, 400)
    assert segmenter.embed(IMAGE, reported_size=(300, 400)).original_size == (300, 400)
    assert images.loads == 2


def test_another_size_than_the_annotator_sees_is_an_error(
    segmenter: Segmenter, images: Images
) -> None:
    with pytest.raises(ImageError, match="shows an image of 2 x 1, .* has 900 x 600: reload"):
        segmenter.embed(IMAGE, reported_size=(1, 2))
    assert images.loads == 1


def box(x: float, y: float) -> Prompt:
    return Prompt.from_box((x - 13, y - 13, x + 13, y + 13))


def test_a_first_click_on_a_small_object_loads_the_image_once(
    segmenter: Segmenter, images: Images
) -> None:
    embedding = segmenter.embed(IMAGE)
    coarse = segmenter.segment(IMAGE, embedding, [box(200, 150)], refine=False)
    fine = segmenter.segment(IMAGE, embedding, [box(200, 150)])
    assert not np.array_equal(coarse[0].mask, fine[0].mask)  # it was refined in a crop
    assert images.loads == 1


def test_a_prefetched_image_is_loaded_once_more_for_all_of_its_crops(
    segmenter: Segmenter, images: Images
) -> None:
    embedding = segmenter.embed(IMAGE, priority=Priority.NEXT)
    segmenter.segment(IMAGE, embedding, [box(200, 150)])
    segmenter.segment(IMAGE, embedding, [box(700, 400)])
    assert images.loads == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_clicks_go_before_an_encode_that_runs(predictor: Predictor, images: Images) -> None:
    niceness: dict[str, int] = {}

    class Noted:
        image_size = predictor.engine.image_size
        encode_batch = 1

        def encode(self, images: list[np.ndarray]) -> np.ndarray:
            niceness["encode"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            return predictor.engine.encode(images)

        def decode(self, *inputs: object) -> object:
            niceness["decode"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            return predictor.engine.decode(*inputs)

    noted = Predictor(Noted(), predictor.checkpoint)
    watch = ImageWatch(Fetcher(None, HttpClient()))
    segmenter = Segmenter(noted, EmbeddingStore(64 << 20), images, watch)
    segmenter.segment(IMAGE, segmenter.embed(IMAGE), [box(200, 150)])
    assert niceness["encode"] > niceness["decode"]
