"""The OpenVINO graphs compute what the torch network does, of any configuration."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from model import reference
from model.architecture import MobileSAMConfig
from model.checkpoint import read_parameters
from model.engine_torch import TorchEngine
from model.network.checkpoint import load_network, save_network
from model.network.mobile_sam import MobileSAM
from model.openvino.engine import OpenVINOEngine
from model.types import DecoderInputs
from model.weights import BUILTIN_PATH

# Sides of 40 / 20 / 10 / 10 tokens: no window of 7 or 14 fits without padding.
ODD = MobileSAMConfig(
    image_size=160,
    encoder_widths=(24, 36, 60, 72),
    encoder_depths=(1, 2, 1, 1),
    encoder_heads=(1, 3, 2, 4),
    embedding_width=64,
    mask_prompt_width=8,
    decoder_depth=3,
    decoder_heads=4,
    decoder_mlp_width=100,
    iou_head_width=40,
)
# Wide and flat, sides of 16 / 8 / 4 / 4 tokens: less than a window.
SMALLER_THAN_A_WINDOW = MobileSAMConfig(image_size=64, encoder_depths=(2, 1, 1, 2))

Answers = tuple[np.ndarray, np.ndarray]


def random_checkpoint(path: Path, config: MobileSAMConfig) -> Path:
    """Of values as a trained network has them: no bias, scale or statistic is 0 or 1."""
    torch.manual_seed(0)
    network = MobileSAM(config)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() == 1:
            tensor.add_(0.2 * torch.randn_like(tensor))
        elif "attention_biases" in name:
            tensor.normal_()
    save_network(path, network, {})
    return path


@pytest.fixture(
    scope="module", params=["published", "builtin", "odd sizes", "smaller than a window"]
)
def checkpoint(
    request: pytest.FixtureRequest,
    seeded_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    if request.param == "published":
        return seeded_checkpoint
    if request.param == "builtin":
        return BUILTIN_PATH
    path = tmp_path_factory.mktemp("random") / "random.safetensors"
    return random_checkpoint(path, ODD if request.param == "odd sizes" else SMALLER_THAN_A_WINDOW)


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> OpenVINOEngine:
    return OpenVINOEngine(read_parameters(checkpoint), "fp32")


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> MobileSAM:
    return load_network(checkpoint)


@pytest.fixture(scope="module")
def features(network: MobileSAM) -> np.ndarray:
    """Of torch, for both decoders."""
    image = torch.from_numpy(reference.image(network.config.image_size))
    with torch.inference_mode():
        return network.image_encoder(network.preprocess(image.permute(2, 0, 1)[None])).numpy()


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("shape", [(3, 4), (4, 3), (1, 1)], ids=["wide", "high", "square"])
def test_embedding(engine: OpenVINOEngine, network: MobileSAM, shape: tuple[int, int]) -> None:
    size = network.config.image_size
    height, width = (size * side // max(shape) for side in shape)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with torch.inference_mode():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        expected = network.image_encoder(network.preprocess(pixels)).numpy()
    assert_close(engine.encode([image]), expected)


PROMPTS = {
    "point": ([[(0.4, 0.2), (0, 0)]], [[1, -1]]),
    "points": ([[(0.4, 0.2), (0.42, 0.25), (0.1, 0.08), (0, 0)]], [[1, 1, 0, -1]]),
    "box": ([[(0.28, 0.08), (0.52, 0.32)]], [[2, 3]]),
    "box and points": ([[(0.3, 0.1), (0.4, 0.2), (0.28, 0.08), (0.52, 0.32)]], [[0, 1, 2, 3]]),
    "batch": (
        [[(0.4, 0.2), (0.9, 0.9)], [(0.1, 0.1), (0.2, 0.5)], [(0.99, 0.0), (0, 0)]],
        [[1, 0], [2, 3], [0, -1]],
    ),
}


@pytest.mark.parametrize("has_masks", [False, True], ids=["no mask", "mask"])
@pytest.mark.parametrize("name", PROMPTS)
def test_masks(
    engine: OpenVINOEngine, network: MobileSAM, features: np.ndarray, name: str, has_masks: bool
) -> None:
    size = network.config.image_size
    coords = np.array(PROMPTS[name][0], np.float32) * size
    labels = np.array(PROMPTS[name][1])
    masks = None
    if has_masks:
        shape = (len(coords), 1, size // 4, size // 4)
        masks = 4 * np.random.default_rng(3).standard_normal(shape, dtype=np.float32)
    with torch.inference_mode():
        expected_masks, expected_ious = network.decode(
            torch.from_numpy(features),
            torch.from_numpy(coords),
            torch.from_numpy(labels),
            None if masks is None else torch.from_numpy(masks),
        )
    found_masks, found_ious = engine.decode(DecoderInputs(features, coords, labels, masks))
    assert_close(found_masks, expected_masks.numpy())
    assert_close(found_ious, expected_ious.numpy())


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_a_mask_that_is_chosen_is_the_one_among_all(
    engine: OpenVINOEngine, checkpoint: Path, features: np.ndarray, name: str
) -> None:
    engines = {"openvino": lambda: engine, "torch": lambda: TorchEngine(checkpoint, "fp32")}
    asked = engines[name]()
    coords = np.array(PROMPTS["batch"][0], np.float32) * asked.image_size
    labels = np.array(PROMPTS["batch"][1])
    inputs = DecoderInputs(features, coords, labels)
    answers = np.array([3, 0, 2])
    every_mask, every_iou = asked.decode(inputs)
    seen = []

    def choose(ious: np.ndarray) -> np.ndarray:
        seen.append(ious.copy())
        return answers

    masks, ious = asked.decode(inputs, choose)
    assert_close(masks, every_mask[np.arange(3), answers][:, None])
    np.testing.assert_array_equal(ious, every_iou)
    np.testing.assert_array_equal(seen, [every_iou])


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_masks_that_are_found_are_those_of_confident_answers(
    engine: OpenVINOEngine, checkpoint: Path, features: np.ndarray, name: str
) -> None:
    engines = {"openvino": lambda: engine, "torch": lambda: TorchEngine(checkpoint, "fp32")}
    asked = engines[name]()
    coords = np.array(PROMPTS["batch"][0], np.float32) * asked.image_size
    labels = np.array(PROMPTS["batch"][1])
    inputs = DecoderInputs(features, coords, labels)
    rows = asked.image_size // 4 - 5
    every_mask, every_iou = asked.decode(inputs)
    ious = np.sort(every_iou[:, 1:].ravel())
    for thresh in (ious[0] - 1, (ious[4] + ious[5]) / 2, ious[-1] + 1):
        masks, found_ious = asked.find_masks(inputs, float(thresh), rows)
        wanted = every_iou[:, 1:] >= thresh
        np.testing.assert_allclose(found_ious, every_iou[:, 1:][wanted], rtol=1e-4, atol=1e-5)
        expected = every_mask[:, 1:, :rows][wanted]
        assert masks.shape == expected.shape
        if len(expected):
            assert_close(masks, expected)


def test_features_may_come_in_half_precision(engine: OpenVINOEngine, features: np.ndarray) -> None:
    prompt = reference.points(engine.image_size)
    half = features.astype(np.float16)
    found, _ = engine.decode(DecoderInputs(half, *prompt))
    expected, _ = engine.decode(DecoderInputs(half.astype(np.float32), *prompt))
    np.testing.assert_array_equal(found, expected)


def test_threads_of_different_batches(engine: OpenVINOEngine, features: np.ndarray) -> None:
    coords = np.array(PROMPTS["batch"][0], np.float32) * engine.image_size
    labels = np.array(PROMPTS["batch"][1])
    batches = [slice(0, 1), slice(0, 3), slice(1, 3)] * 10

    def masks(batch: slice) -> np.ndarray:
        return engine.decode(DecoderInputs(features, coords[batch], labels[batch]))[0]

    expected = [masks(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(masks, batches), expected, strict=True):
            np.testing.assert_array_equal(one, other)
