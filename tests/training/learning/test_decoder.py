"""Steps of a tiny decoder."""

import dataclasses
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

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


def learn(network: MobileSAM, own: Lessons, scenes: Lessons, steps: int = 60) -> DecoderTrainer:
    """A decoder that changes fast and is not held back."""
    recipe = Recipe(1, 3e-3, 4, 4, 1, pull=0, average_decay=0.5)
    trainer = DecoderTrainer(network, recipe, "cpu")
    for _ in range(steps):
        trainer.train_step(own, scenes, 0)
    return trainer


def mean_iou(trainer: DecoderTrainer, of: Lessons) -> float:
    return float(np.mean(trainer.mean_ious(of)))


def test_it_learns_squares_by_heart(network: MobileSAM) -> None:
    squares = lessons()
    before = mean_iou(learn(network, squares, squares, steps=0), squares)
    assert mean_iou(learn(network, squares, squares), squares) > before + 0.2


def test_rehearsed_scenes_are_not_forgotten(network: MobileSAM) -> None:
    squares = lessons()
    scenes = dataclasses.replace(squares, features=-squares.features)  # unlike the squares
    base = learn(network, scenes, scenes).averaged_network()
    known = mean_iou(learn(base, squares, scenes, steps=0), scenes)
    assert mean_iou(learn(base, squares, squares), scenes) < known - 0.2
    assert mean_iou(learn(base, squares, scenes), scenes) > known - 0.05


def test_the_whole_decoder_learns_and_the_encoder_stays(network: MobileSAM) -> None:
    encoder = {k: v.clone() for k, v in network.image_encoder.state_dict().items()}
    trainer = DecoderTrainer(network, RECIPE, "cpu")
    before = trainer.tensors()
    for _ in range(3):
        trainer.train_step(lessons(), lessons(seed=1), 0)
    after = trainer.tensors()
    # Of the three answers to a click, only the best one learns.
    of_answers = tuple(f"mask_decoder.output_hypernetworks_mlps.{answer}." for answer in (1, 2, 3))
    same = {name for name in before if (before[name] == after[name]).all()}
    assert {name for name in same if not name.startswith(of_answers)} == {
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    }
    assert any(name.startswith(of_answers) for name in before.keys() - same)
    network = trainer.averaged_network()
    assert all(v.equal(encoder[k]) for k, v in network.image_encoder.state_dict().items())


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
