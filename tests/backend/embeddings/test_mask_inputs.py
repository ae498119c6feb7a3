"""The mask of the earlier clicks is found, and no other mask."""

import gc
import weakref
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from backend.embeddings.mask_inputs import MaskInputCache
from backend.embeddings.segmenter import Segmenter
from backend.embeddings.store import EmbeddingStore
from backend.http.client import HttpClient
from backend.images.fetching import Fetcher
from backend.images.freshness import ImageWatch
from backend.images.image_ref import ImageRef
from backend.images.loading import ImageLoader, LoadedImage
from backend.images.validator import Validator
from model import ImageEmbedding, MaskPrediction, Predictor, Prompt, load_predictor
from model.engines import Engine
from model.interactive import MaskInputs
from model.weights import BUILTIN_PATH

POINTS, SIGNS = [(80.0, 60.0), (20.0, 20.0), (110.0, 80.0)], [1, 0, 1]
LOW_RES = np.ones((4, 4), np.float32)
ANSWER = MaskPrediction(np.ones((2, 2), bool), LOW_RES, 0.5)


def clicks(count: int) -> Prompt:
    return Prompt.from_points(POINTS[:count], SIGNS[:count])


def embedding() -> ImageEmbedding:
    return ImageEmbedding(np.zeros((1, 1, 1, 1), np.float32), (120, 160))


def predictor() -> Predictor:
    return Predictor.__new__(Predictor)  # the cache only asks which predictor it is


@pytest.fixture
def cache() -> Iterator[MaskInputs]:
    """The masks of one predictor."""
    one = predictor()
    yield MaskInputCache().of(one)
    del one


class TestCache:
    def test_the_next_click_finds_the_mask_of_the_earlier_clicks(self, cache: MaskInputs) -> None:
        one = embedding()
        cache.keep(one, [clicks(2)], [ANSWER])
        assert cache.recall(one, clicks(3)).mask_input is LOW_RES

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(clicks(1), id="fewer"),
            pytest.param(clicks(2), id="the same"),
            pytest.param(Prompt.from_points([(81, 60), *POINTS[1:]], SIGNS), id="moved"),
            pytest.param(Prompt.from_points(POINTS, [1, 1, 1]), id="another sign"),
            pytest.param(Prompt.from_points(POINTS[::-1], SIGNS[::-1]), id="another order"),
            pytest.param(Prompt.from_points(POINTS, SIGNS, (0, 0, 9, 9)), id="a box"),
            pytest.param(Prompt.from_box((0, 0, 9, 9)), id="a box alone"),
        ],
    )
    def test_another_prompt_finds_nothing(self, cache: MaskInputs, other: Prompt) -> None:
        one = embedding()
        cache.keep(one, [clicks(2)], [ANSWER])
        assert cache.recall(one, other) is other

    def test_a_click_finds_the_mask_of_the_box_before_it(self, cache: MaskInputs) -> None:
        one, box = embedding(), (0, 0, 9, 9)
        cache.keep(one, [Prompt.from_box(box)], [ANSWER])
        prompt = Prompt.from_points(POINTS[:1], SIGNS[:1], box)
        assert cache.recall(one, prompt).mask_input is LOW_RES

    def test_another_image_finds_nothing(self, cache: MaskInputs) -> None:
        one, another = embedding(), embedding()
        cache.keep(one, [clicks(2)], [ANSWER])
        assert cache.recall(another, clicks(3)).mask_input is None

    def test_another_decoder_finds_nothing(self) -> None:
        cache, one, predictors = MaskInputCache(), embedding(), [predictor(), predictor()]
        cache.of(predictors[0]).keep(one, [clicks(2)], [ANSWER])
        assert cache.of(predictors[1]).recall(one, clicks(3)).mask_input is None
        assert cache.of(predictors[0]).recall(one, clicks(3)).mask_input is LOW_RES

    def test_a_deleted_embedding_is_not_kept_alive(self, cache: MaskInputs) -> None:
        one = embedding()
        cache.keep(one, [clicks(2)], [ANSWER])
        alive = weakref.ref(one)
        del one
        gc.collect()
        assert alive() is None
        # some of these get the memory address of the deleted embedding
        others = [embedding() for _ in range(1000)]
        assert all(cache.recall(other, clicks(3)).mask_input is None for other in others)

    def test_the_oldest_masks_are_removed(self, cache: MaskInputs) -> None:
        images = [embedding() for _ in range(129)]
        for one in images:
            cache.keep(one, [clicks(2)], [ANSWER])
        known = [cache.recall(one, clicks(3)).mask_input is not None for one in images]
        assert known == [False, *[True] * 128]


class CountedEngine:
    """An engine that counts the passes through the network."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.image_size = engine.image_size
        self.encode_batch = engine.encode_batch
        self.passes = 0

    def encode(self, images: list[np.ndarray]) -> np.ndarray:
        return self._engine.encode(images)

    def decode(self, *inputs: object) -> tuple[np.ndarray, np.ndarray]:
        self.passes += 1
        return self._engine.decode(*inputs)


class Disc(ImageLoader):
    """Loads one picture: a red disc on grey."""

    def __init__(self, radius: int) -> None:
        rows, columns = np.ogrid[:600, :900]
        picture = np.full((600, 900, 3), 120, np.uint8)
        picture[(columns - 200) ** 2 + (rows - 150) ** 2 <= radius**2] = (210, 50, 40)
        content = BytesIO()
        Image.fromarray(picture).save(content, "PNG", compress_level=1)
        self.content = content.getvalue()

    def load(self, ref: ImageRef) -> LoadedImage:
        return LoadedImage(self.content, Validator())


@pytest.mark.parametrize(
    ("radius", "passes"),
    [
        pytest.param(140, 1, id="large"),
        pytest.param(12, 2, id="small"),  # in the whole image and in the crop
    ],
)
def test_a_further_click_replays_nothing(radius: int, passes: int) -> None:
    """A session of clicks gets the mask that all its clicks get at once."""
    loaded = load_predictor(BUILTIN_PATH)
    engine, ref = CountedEngine(loaded.engine), ImageRef("data:,disc")
    counted = Predictor(engine, loaded.checkpoint)

    def segmenter() -> Segmenter:
        watch = ImageWatch(Fetcher(None, HttpClient()))
        return Segmenter(counted, EmbeddingStore(64 << 20), Disc(radius), watch)

    x, y = 200.0, 150.0
    box = (x - radius, y - radius, x + radius, y + radius)  # decides which crop is used
    points, signs = [(x, y), (x + 3, y + 2), (x, y + 0.9 * radius)], [1, 1, 0]
    session = segmenter()
    embedding = session.embed(ref)
    for count in (1, 2, 3):
        engine.passes = 0
        prompt = Prompt.from_points(points[:count], signs[:count], box)
        (step,) = session.segment(ref, embedding, [prompt])
        # The first click comes with its box, which is replayed.
        assert engine.passes == (2 * passes if count == 1 else passes)
    other = segmenter()
    (whole,) = other.segment(ref, other.embed(ref), [prompt])
    np.testing.assert_allclose(step.low_res_mask, whole.low_res_mask, atol=1e-4)
    assert np.count_nonzero(step.mask != whole.mask) <= 0.001 * step.mask.sum()
