"""The clicks before are known, and only those."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from backend.click_memory import ClickMemory
from backend.embedding_store import EmbeddingStore
from backend.fetching import Fetcher
from backend.image_ref import ImageRef
from backend.images import ImageLoader
from backend.outgoing import Outgoing
from backend.segmenter import Segmenter
from model import ImageEmbedding, MaskPrediction, Predictor, Prompt, load_predictor
from model.weights import BUILTIN_PATH

POINTS, SIGNS = [(80.0, 60.0), (20.0, 20.0), (110.0, 80.0)], [1, 0, 1]
LOW_RES = np.ones((4, 4), np.float32)
ANSWER = MaskPrediction(np.ones((2, 2), bool), LOW_RES, 0.5)


def clicks(count: int) -> Prompt:
    return Prompt.from_points(POINTS[:count], SIGNS[:count])


def embedding() -> ImageEmbedding:
    return ImageEmbedding(np.zeros((1, 1, 1, 1), np.float32), (120, 160))


class TestMemory:
    def test_the_next_click_finds_the_mask_of_those_before(self) -> None:
        memory, one = ClickMemory(), embedding()
        memory.keep(one, [clicks(2)], [ANSWER])
        assert memory.recall(one, clicks(3)).mask_input is LOW_RES

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
    def test_others_do_not(self, other: Prompt) -> None:
        memory, one = ClickMemory(), embedding()
        memory.keep(one, [clicks(2)], [ANSWER])
        assert memory.recall(one, other) is other

    def test_a_click_finds_the_mask_of_the_box_before_it(self) -> None:
        memory, one, box = ClickMemory(), embedding(), (0, 0, 9, 9)
        memory.keep(one, [Prompt.from_box(box)], [ANSWER])
        prompt = Prompt.from_points(POINTS[:1], SIGNS[:1], box)
        assert memory.recall(one, prompt).mask_input is LOW_RES

    def test_another_image_does_not(self) -> None:
        memory, one, another = ClickMemory(), embedding(), embedding()
        memory.keep(one, [clicks(2)], [ANSWER])
        assert memory.recall(another, clicks(3)).mask_input is None

    def test_images_that_are_forgotten_are_not_kept_alive(self) -> None:
        memory, one = ClickMemory(), embedding()
        memory.keep(one, [clicks(2)], [ANSWER])
        alive = weakref.ref(one)
        del one
        gc.collect()
        assert alive() is None
        # some of these come to lie where it was
        others = [embedding() for _ in range(1000)]
        assert all(memory.recall(other, clicks(3)).mask_input is None for other in others)

    def test_the_oldest_go(self) -> None:
        memory, images = ClickMemory(), [embedding() for _ in range(129)]
        for one in images:
            memory.keep(one, [clicks(2)], [ANSWER])
        known = [memory.recall(one, clicks(3)).mask_input is not None for one in images]
        assert known == [False, *[True] * 128]


def test_a_session_of_clicks_is_answered_as_all_at_once() -> None:
    predictor, passes = load_predictor(BUILTIN_PATH), []
    engine = predictor.engine

    class Counting:
        image_size = engine.image_size

        def decode(self, *inputs: object) -> object:
            passes.append(inputs)
            return engine.decode(*inputs)

    image = np.zeros((120, 160, 3), np.uint8)
    image[30:90, 40:120] = (200, 60, 30)
    seen = predictor.embed(image)
    counting = Predictor(Counting(), predictor.checkpoint)
    segmenter = Segmenter(counting, EmbeddingStore(1 << 20), ImageLoader(Fetcher(None, Outgoing())))
    for count in (1, 2, 3):
        passes.clear()
        (step,) = segmenter.segment(ImageRef("/image"), seen, [clicks(count)], refine=False)
        assert len(passes) == 1
    (whole,) = counting.segment(replace(seen), [clicks(3)])
    np.testing.assert_allclose(step.low_res_mask, whole.low_res_mask, atol=1e-4)
    np.testing.assert_array_equal(step.mask, whole.mask)
