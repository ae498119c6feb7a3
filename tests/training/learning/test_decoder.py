"""Steps of a tiny decoder."""

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.architecture import MobileSAMConfig
from model.network.mobile_sam import MobileSAM
from training.learning import decoder
from training.learning.decoder import DecoderTrainer, Recipe
from training.learning.lessons import Lessons

TINY = MobileSAMConfig(
    image_size=64,
    encoder_widths=(16, 16, 16, 16),
    encoder_depths=(1, 1, 1, 1),
    encoder_heads=(1, 1, 1, 1),
    embedding_width=32,
    decoder_mlp_width=32,
    iou_head_width=32,
)
RECIPE = Recipe(learning_rate=1e-3, objects=4, scene_objects=2, corrections=1)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "_WARM_UP_STEPS", 1)


@pytest.fixture(scope="module")
def network() -> MobileSAM:
    torch.manual_seed(0)
    return MobileSAM(TINY)


def lessons(count: int = 4, seed: int = 0) -> Lessons:
    """Squares whose places the embeddings show."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 0.1, (count, 32, 4, 4)).astype(np.float16)
    targets = np.zeros((count, 16, 16), np.uint8)
    boxes = np.zeros((count, 2, 2), np.float32)
    for index in range(count):
        row, column = divmod(index % 4, 2)
        features[index, :4, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 2
        targets[index, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
        boxes[index] = [(32 * column, 32 * row), (32 * column + 31, 32 * row + 31)]
    sizes = np.full((count, 2), 64, np.float32)
    return Lessons(
        features, sizes, np.arange(count), targets, boxes, np.ones(count, dtype=np.float32)
    )


def difference(first: dict, second: dict) -> float:
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


@torch.no_grad()
def answers(network: MobileSAM, of: Lessons) -> Tensor:
    """The masks, 0 to 1, of a click on the first cell of each object."""
    batch = of.select(np.arange(len(of)), "cpu")
    cells = batch.targets.flatten(1).argmax(1)
    side = batch.targets.shape[-1]
    coords = 4.0 * torch.stack([cells % side, cells // side], dim=1)[:, None]
    sparse, dense = network.prompt_encoder(coords, torch.ones(len(of), 1, dtype=torch.int64), None)
    image_pe = network.prompt_encoder.image_pe()
    masks, _ = network.mask_decoder(batch.features, image_pe, sparse, dense)
    return masks.sigmoid()


def test_it_learns_squares_by_heart(network: MobileSAM) -> None:
    trainer = DecoderTrainer(network, Recipe(1, 3e-3, 4, 0, 1, pull=0, average_decay=0.5), "cpu")
    before = np.mean(trainer.mean_ious(lessons()))
    for _ in range(60):
        trainer.train_step(lessons(), lessons(), 0)
    assert np.mean(trainer.mean_ious(lessons())) > before + 0.2


def test_every_weight_of_the_decoder_learns_and_the_encoder_stays(network: MobileSAM) -> None:
    encoder = {k: v.clone() for k, v in network.image_encoder.state_dict().items()}
    trainer = DecoderTrainer(network, RECIPE, "cpu")
    before = trainer.tensors()
    for _ in range(3):
        trainer.train_step(lessons(), lessons(seed=1), 0)
    after = trainer.tensors()
    same = {name for name in before if (before[name] == after[name]).all()}
    assert same == {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"}
    network = trainer.averaged_network()
    assert all(v.equal(encoder[k]) for k, v in network.image_encoder.state_dict().items())


def test_on_scenes_it_learns_to_answer_as_its_base_does(network: MobileSAM) -> None:
    squares = lessons(seed=1)
    scenes = dataclasses.replace(squares, features=-squares.features)  # unlike the project's images
    right = answers(network, scenes)
    differences = []
    for scene_objects in (0, 8):
        recipe = Recipe(1, 1e-3, 4, scene_objects, 1, pull=0, average_decay=0.5)
        trainer = DecoderTrainer(network, recipe, "cpu")
        for _ in range(40):
            trainer.train_step(lessons(), scenes, 0)
        differences.append(
            float((answers(trainer.averaged_network(), scenes) - right).abs().mean())
        )
    assert differences[1] < 0.6 * differences[0], differences


def test_the_pull_leads_back_to_the_base(network: MobileSAM) -> None:
    distances = []
    for pull in (0.0, 0.5):
        trainer = DecoderTrainer(network, Recipe(1, 1e-3, 4, 2, 1, pull, 0.0), "cpu")
        before = trainer.tensors()
        for _ in range(5):
            trainer.train_step(lessons(), lessons(seed=1), 0)
        distances.append(difference(before, trainer.tensors()))
    assert distances[1] < 0.6 * distances[0]


def test_a_restored_trainer_goes_on_as_the_first_would_have(
    network: MobileSAM, tmp_path: Path
) -> None:
    first, second = (DecoderTrainer(network, RECIPE, "cpu", seed) for seed in (0, 1))
    for _ in range(2):
        first.train_step(lessons(), lessons(seed=1), 0)
    file = BytesIO()
    torch.save(first.state(), file)
    first.train_step(lessons(), lessons(seed=1), 0.5)
    file.seek(0)
    second.restore(torch.load(file, weights_only=True))
    second.train_step(lessons(), lessons(seed=1), 0.5)
    assert second.step == first.step == 3
    assert difference(first.tensors(), second.tensors()) == 0


def test_a_look_at_watched_lessons_changes_nothing(network: MobileSAM) -> None:
    trainer = DecoderTrainer(network, RECIPE, "cpu")
    state = torch.get_rng_state()
    assert trainer.mean_ious(lessons()) == trainer.mean_ious(lessons())
    assert torch.get_rng_state().equal(state)


def test_part_of_the_way_back_to_the_base(network: MobileSAM) -> None:
    trainer = DecoderTrainer(network, RECIPE, "cpu")
    base = trainer.tensors()
    for _ in range(3):
        trainer.train_step(lessons(), lessons(seed=1), 0)
    learnt, half = trainer.tensors(), trainer.tensors(0.5)
    assert difference(trainer.tensors(0), base) == 0
    assert difference(half, {name: (base[name] + learnt[name]) / 2 for name in base}) < 1e-6


def test_the_decoder_has_no_batch_norm_whose_statistics_would_drift(network: MobileSAM) -> None:
    parts = (network.prompt_encoder, network.mask_decoder)
    modules = [module for part in parts for module in part.modules()]
    assert not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in modules)
