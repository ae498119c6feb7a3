"""It is MobileSAM: the original code's numbers, from a checkpoint in the published format."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model import ImageEmbedding, Predictor, Prompt, load_predictor
from model.engine_torch import best_device

Golden = dict[str, np.ndarray]

BOX = (280.0, 80.0, 520.0, 320.0)
CLICK = Prompt.from_points([(400, 200)])
MASK_INPUT = np.random.default_rng(3).standard_normal((1, 256, 256)) * 4
PROMPTS = {
    "point": CLICK,
    "points": Prompt.from_points([(400, 200), (430.5, 250.25), (100, 80)], [1, 1, 0]),
    "box": Prompt.from_box(BOX),
    "box_point": Prompt.from_points([(300, 100)], [0], BOX),
    "point_mask": replace(CLICK, mask_input=MASK_INPUT[0].astype(np.float32)),
}


@pytest.fixture(scope="module", params=["torch", "openvino"])
def predictor(request: pytest.FixtureRequest, seeded_checkpoint: Path) -> Predictor:
    predictor = load_predictor(seeded_checkpoint, engine=request.param, precision="fp32")
    device = best_device() if request.param == "torch" else "cpu"
    assert predictor.engine.description.lower() == f"{request.param} on {device}, fp32"
    return predictor


@pytest.fixture(scope="module")
def embedding(predictor: Predictor, golden: Golden) -> ImageEmbedding:
    return predictor.embed(golden["image"])


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_embedding(embedding: ImageEmbedding, golden: Golden) -> None:
    features = embedding.features
    assert features.shape == (1, 256, 64, 64)
    assert features.dtype == np.float32
    assert embedding.original_size == (427, 640)
    assert relative_error(features[:, ::16, ::8, ::8], golden["embedding_sample"]) < 1e-4
    assert features.std() == pytest.approx(float(golden["embedding_std"]), rel=1e-4)
    # the mean is near zero: relative to the spread, not to itself
    assert abs(features.mean() - golden["embedding_mean"]) < 1e-4 * golden["embedding_std"]


@pytest.mark.parametrize("output", ["multi", "single"])
@pytest.mark.parametrize("name", PROMPTS)
def test_masks(
    predictor: Predictor, embedding: ImageEmbedding, golden: Golden, name: str, output: str
) -> None:
    predictions = predictor.predict_masks(
        embedding, PROMPTS[name], multimask_output=output == "multi"
    )

    expected = {part: golden[f"{name}_{output}_{part}"] for part in ("iou", "low", "mask")}
    masks = np.stack([prediction.mask for prediction in predictions])
    low_res = np.stack([prediction.low_res_mask for prediction in predictions])
    iou = np.array([prediction.iou_prediction for prediction in predictions])
    expected_masks = np.unpackbits(expected["mask"], count=masks.size).reshape(masks.shape)
    assert relative_error(iou, expected["iou"]) < 1e-4
    assert relative_error(low_res[:, ::8, ::8], expected["low"]) < 1e-4
    assert (masks == expected_masks.astype(bool)).mean() > 0.9999


def test_predict_chooses_the_best_of_three_for_one_click(
    predictor: Predictor, embedding: ImageEmbedding, golden: Golden
) -> None:
    prediction = predictor.predict(embedding, CLICK)
    assert prediction.iou_prediction == pytest.approx(golden["point_multi_iou"].max(), rel=1e-4)
    assert prediction.mask.shape == (427, 640)


@pytest.mark.parametrize("name", ["points", "box", "box_point", "point_mask"])
def test_predict_gives_the_single_mask_for_a_clear_prompt(
    predictor: Predictor, embedding: ImageEmbedding, golden: Golden, name: str
) -> None:
    prediction = predictor.predict(embedding, PROMPTS[name])
    expected = float(golden[f"{name}_single_iou"][0])
    assert prediction.iou_prediction == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_attention_biases_of_the_file_are_used(
    seeded_checkpoint: Path, tmp_path: Path, embedding: ImageEmbedding, golden: Golden
) -> None:
    """A network set to eval before its weights are loaded runs with biases of zero, silently."""
    import torch

    state_dict = torch.load(seeded_checkpoint, weights_only=True)
    for key in state_dict:
        if "attention_biases" in key:
            state_dict[key] = torch.zeros_like(state_dict[key])
    without_biases = tmp_path / "without_biases.pt"
    torch.save(state_dict, without_biases)

    other = load_predictor(without_biases, engine="torch", precision="fp32").embed(golden["image"])

    assert relative_error(other.features, embedding.features) > 1e-3
