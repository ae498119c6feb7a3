"""The contract of the predictor, with the built-in weights."""

from collections.abc import Callable

import numpy as np
import pytest

from model import Predictor, Prompt, load_predictor
from model.predictor import MAX_BATCH
from model.types import Choose, DecoderInputs, DecoderOutputs
from model.weights import BUILTIN_PATH


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor(BUILTIN_PATH, precision="fp32")


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 5), (480, 640), (2000, 1500)])
def test_any_size_of_image(predictor: Predictor, size: tuple[int, int]) -> None:
    embedding = predictor.embed(np.full((*size, 3), 128, dtype=np.uint8))
    prediction = predictor.predict(embedding, Prompt.from_points([(0, 0)]))
    assert prediction.mask.shape == size
    assert prediction.mask.dtype == bool


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(np.zeros((4, 4), np.uint8), id="grey"),
        pytest.param(np.zeros((4, 4, 4), np.uint8), id="rgba"),
        pytest.param(np.zeros((4, 4, 3), np.float32), id="float"),
        pytest.param(np.zeros((0, 4, 3), np.uint8), id="empty"),
    ],
)
def test_an_array_that_is_no_image_is_refused(predictor: Predictor, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="image must be H x W x 3 uint8"):
        predictor.embed(image)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        pytest.param(lambda: Prompt.from_points([]), "at least one point", id="empty"),
        pytest.param(lambda: Prompt.from_points([(1, float("nan"))]), "finite", id="nan"),
        pytest.param(lambda: Prompt.from_points([(1, 1)], [7]), "must be -1, 0", id="label"),
        pytest.param(lambda: Prompt.from_points([(1, 1)], [2]), "both of its corners", id="half"),
        pytest.param(lambda: Prompt.from_points([(1, 1)], [1, 1]), "N x 2", id="shapes"),
    ],
)
def test_an_impossible_prompt_is_refused(make: Callable[[], Prompt], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_box_may_be_drawn_from_any_corner() -> None:
    prompts = [Prompt.from_box(box) for box in [(1, 2, 30, 40), (30, 40, 1, 2), (30, 2, 1, 40)]]
    assert all((p.point_coords == [[1, 2], [30, 40]]).all() for p in prompts)


def test_many_prompts_pass_through_the_network_in_batches(predictor: Predictor) -> None:
    sizes: list[int] = []

    class Counted:
        image_size, embedding_width = predictor.engine.image_size, predictor.engine.embedding_width

        def decode(self, inputs: DecoderInputs, choose: Choose) -> DecoderOutputs:
            sizes.append(len(inputs.point_coords))
            return predictor.engine.decode(inputs, choose)

    embedding = predictor.embed(np.zeros((30, 40, 3), np.uint8))
    boxes = [Prompt.from_box((0, 0, 9 + index, 20)) for index in range(2 * MAX_BATCH + 1)]
    answers = Predictor(Counted(), predictor.checkpoint).predict_low_res(embedding, boxes)
    assert sizes == [MAX_BATCH, MAX_BATCH, 1]
    (alone,) = predictor.predict_low_res(embedding, boxes[-1:])
    np.testing.assert_allclose(answers[-1].low_res_mask, alone.low_res_mask, atol=1e-3)
