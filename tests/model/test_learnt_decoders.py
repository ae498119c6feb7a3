"""An engine with a learnt decoder: the same embeddings, other masks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from model import Predictor, Prompt, load_predictor
from model.architecture import DECODER_PARTS, MobileSAMConfig, decoder_shapes
from model.checkpoint import Arrays, read_parameters
from model.engines import EngineName

IMAGE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
PROMPTS = [
    Prompt.from_points([(40, 30)]),
    Prompt.from_points([(40, 30), (5, 5)], [1, 0]),
    Prompt.from_box((10, 10, 50, 40)),
]


@pytest.fixture(scope="module")
def save_checkpoint(
    tmp_path_factory: pytest.TempPathFactory, tiny_config: MobileSAMConfig
) -> Callable[[int, int], Path]:
    """Saves the smallest network, whose encoder and decoder come from seeds."""
    import torch

    from model.network.checkpoint import save_network
    from model.network.mobile_sam import MobileSAM

    def network(seed: int) -> MobileSAM:
        torch.manual_seed(seed)
        return MobileSAM(tiny_config)

    def save(encoder_seed: int, decoder_seed: int) -> Path:
        made, decoder = network(encoder_seed), network(decoder_seed)
        made.mask_decoder, made.prompt_encoder = decoder.mask_decoder, decoder.prompt_encoder
        path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
        save_network(path, made, {})
        return path

    return save


def decoder_of(path: Path) -> Arrays:
    arrays = read_parameters(path).arrays
    return {name: array for name, array in arrays.items() if name.startswith(DECODER_PARTS)}


def answers(predictor: Predictor, embedded_by: Predictor) -> list[np.ndarray]:
    """Low-res masks to points, to a box, and to a click with the mask before it."""
    embedding = embedded_by.embed(IMAGE)
    masks = [predictor.predict(embedding, prompt).low_res_mask for prompt in PROMPTS]
    refined = Prompt(PROMPTS[1].point_coords, PROMPTS[1].point_labels, masks[0])
    return [*masks, predictor.predict(embedding, refined).low_res_mask]


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_masks_are_those_of_a_checkpoint_with_this_decoder(
    save_checkpoint: Callable[[int, int], Path], engine: EngineName
) -> None:
    base = load_predictor(save_checkpoint(0, 0), engine, "fp32")
    checkpoint = save_checkpoint(0, 1)
    expected = load_predictor(checkpoint, engine, "fp32")
    before = answers(base, base)

    learnt = base.with_decoder(decoder_of(checkpoint))

    for found, wanted in zip(answers(learnt, base), answers(expected, expected), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    for found, wanted in zip(answers(base, learnt), before, strict=True):
        np.testing.assert_array_equal(found, wanted)  # the base answers as before


def test_threads_may_ask_several_decoders_at_once(
    save_checkpoint: Callable[[int, int], Path],
) -> None:
    base = load_predictor(save_checkpoint(0, 0), "openvino", "fp32")
    predictors = [base, *(base.with_decoder(decoder_of(save_checkpoint(0, n))) for n in (1, 2))]
    embedding = base.embed(IMAGE)

    def low_res_mask(index: int) -> np.ndarray:
        return predictors[index % 3].predict(embedding, PROMPTS[1]).low_res_mask

    expected = [low_res_mask(index) for index in range(3)]
    assert not np.allclose(expected[0], expected[1])
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(low_res_mask, range(150)))
    for index, mask in enumerate(found):
        np.testing.assert_array_equal(mask, expected[index % 3])


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_decoder_that_does_not_fit_is_refused(
    save_checkpoint: Callable[[int, int], Path], engine: EngineName
) -> None:
    base = load_predictor(save_checkpoint(0, 0), engine, "fp32")
    with pytest.raises(ValueError, match="the decoder does not fit: .* missing"):
        base.with_decoder({})
    of_published = decoder_shapes(MobileSAMConfig())
    with pytest.raises(ValueError, match="of another shape"):
        base.with_decoder({name: np.zeros(s, np.float32) for name, s in of_published.items()})


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_a_decoder_whose_answers_are_not_finite_is_refused(
    save_checkpoint: Callable[[int, int], Path], engine: EngineName
) -> None:
    checkpoint = save_checkpoint(0, 0)
    arrays = dict(decoder_of(checkpoint))
    for name in ("output_upscaling.3.bias", "output_hypernetworks_mlps.0.layers.2.bias"):
        arrays[f"mask_decoder.{name}"] = np.full_like(arrays[f"mask_decoder.{name}"], 1e38)
    with pytest.raises(ValueError, match="masks of the decoder are not finite"):
        load_predictor(checkpoint, engine, "fp32").with_decoder(arrays)
