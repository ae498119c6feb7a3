"""The mask after each click: it is corrected, has no specks, and agrees with every click."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import Predictor, Prompt, interactive, load_predictor
from model.types import Choose, DecoderInputs, DecoderOutputs
from model.weights import BUILTIN_PATH


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_predictor(BUILTIN_PATH, precision="fp32")


def test_each_click_corrects_the_mask_of_the_earlier_clicks(predictor: Predictor) -> None:
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[30:90, 40:120] = (200, 60, 30)
    embedding = predictor.embed(image)
    points, signs = [(80.0, 60.0), (20.0, 20.0), (110.0, 80.0)], [1, 0, 1]
    offered = predictor.predict_masks(
        embedding, Prompt.from_points(points[:1], signs[:1]), multimask_output=True
    )
    shown = max(offered, key=lambda prediction: prediction.iou_prediction)
    for count in (2, 3):
        alone = Prompt.from_points(points[:count], signs[:count])
        corrected = Prompt(alone.point_coords, alone.point_labels, shown.low_res_mask)
        (shown,) = predictor.predict_masks(embedding, corrected, multimask_output=False)
    (segmented,) = interactive.segment(predictor, embedding, [Prompt.from_points(points, signs)])
    np.testing.assert_allclose(segmented.low_res_mask, shown.low_res_mask, atol=1e-3)
    assert segmented.mask[60, 80]
    assert not segmented.mask[20, 20]
    assert segmented.mask[80, 110]


def test_a_click_corrects_the_mask_of_the_box_before_it(predictor: Predictor) -> None:
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[30:90, 40:120] = (200, 60, 30)
    embedding = predictor.embed(image)
    box, click = (35.0, 25.0, 125.0, 95.0), (110.0, 80.0)
    shown = predictor.predict(embedding, Prompt.from_box(box))
    both = Prompt.from_points([click], box=box)
    corrected = Prompt(both.point_coords, both.point_labels, shown.low_res_mask)
    (expected,) = predictor.predict_masks(embedding, corrected, multimask_output=False)
    (segmented,) = interactive.segment(predictor, embedding, [both])
    np.testing.assert_array_equal(segmented.low_res_mask, expected.low_res_mask)


def test_objects_segmented_together_get_the_masks_they_get_alone(predictor: Predictor) -> None:
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    embedding = predictor.embed(image)
    prompts = [
        Prompt.from_points([(80, 60), (10, 10)], [1, 0]),
        Prompt.from_points([(30, 30)]),
        Prompt.from_box((10, 10, 90, 70)),
        Prompt.from_points([(5, 5), (100, 60), (120, 70)], [0, 1, 1]),
    ]
    for prompt, together in zip(
        prompts, interactive.segment(predictor, embedding, prompts), strict=True
    ):
        (alone,) = interactive.segment(predictor, embedding, [prompt])
        np.testing.assert_allclose(together.low_res_mask, alone.low_res_mask, atol=1e-3)


class Drawing:
    """An engine whose every answer is the same low-res mask."""

    def __init__(self, low_res_mask: np.ndarray) -> None:
        self.low_res_mask = low_res_mask
        self.image_size = 4 * len(low_res_mask)

    def encode(self, images: list[np.ndarray]) -> np.ndarray:
        return np.zeros((1, 1, 4, 4), np.float32)

    def decode(self, inputs: DecoderInputs, choose: Choose) -> DecoderOutputs:
        masks = np.tile(self.low_res_mask, (len(inputs.point_coords), 4, 1, 1))
        return masks, np.zeros(masks.shape[:2])


def drawing(low_res_mask: np.ndarray, height: int, width: int) -> Callable[[Prompt], np.ndarray]:
    """A function from a prompt to the cleaned mask, for an image of this size."""
    predictor = Predictor(Drawing(low_res_mask.astype(np.float32)), None)
    embedding = predictor.embed(np.zeros((height, width, 3), np.uint8))
    return lambda prompt: interactive.segment(predictor, embedding, [prompt])[0].mask


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    clicks=st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=8
    ),
)
def test_the_mask_agrees_with_every_click(
    seed: int, height: int, width: int, clicks: list[tuple[float, float, int]]
) -> None:
    """For images of any size. Of two opposite clicks on one pixel, the later click counts."""
    segment = drawing(np.random.default_rng(seed).standard_normal((16, 16)), height, width)
    points = [(x * (width - 1), y * (height - 1)) for x, y, _ in clicks]
    signs = [sign for _, _, sign in clicks]

    mask = segment(Prompt.from_points(points, signs))

    last = {}
    for (x, y), sign in zip(np.float32(points), signs, strict=True):
        last[int(np.floor(y + 0.5)), int(np.floor(x + 0.5))] = sign
    assert {pixel: int(mask[pixel]) for pixel in last} == last


def test_specks_are_removed_at_any_size_of_the_image() -> None:
    alone = np.full((256, 256), -2.0)
    alone[40:160, 40:160] = 2
    with_speck = alone.copy()
    with_speck[180, 70] = 2
    for height, width in ((300, 400), (2250, 3000)):
        click = Prompt.from_points([(width * 100 / 256, width * 100 / 256)])
        expected = drawing(alone, height, width)(click)
        np.testing.assert_array_equal(drawing(with_speck, height, width)(click), expected)
        assert expected.any()


def test_a_click_makes_no_object_where_the_network_sees_none() -> None:
    segment = drawing(np.full((16, 16), -1.0), 30, 40)
    assert not segment(Prompt.from_points([(20, 15)])).any()
