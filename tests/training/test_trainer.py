"""Steps of a tiny network on the CPU, which runs all but the recording of the CUDA graph."""

from io import BytesIO

import numpy as np
import pytest
import torch

from model.architecture import MobileSAMConfig
from training.augmentation import Frames, scene_frames
from training.pool import Pictures
from training.replay import Replay
from training.scenes import generate
from training.trainer import Trainer, schedule

TINY = MobileSAMConfig(
    image_size=64,
    encoder_widths=(16, 16, 16, 16),
    encoder_depths=(1, 1, 1, 1),
    encoder_heads=(1, 1, 1, 1),
    embedding_width=32,
    decoder_mlp_width=32,
    iou_head_width=32,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


def frames(size: int = 64, count: int = 4) -> Frames:
    rng = np.random.default_rng(0)
    pictures = Pictures.empty(count, 64, "cpu")
    for index in range(count):
        scene = generate(rng, 64)
        pictures.images[index] = torch.from_numpy(scene.image)
        pictures.part_maps[index] = torch.from_numpy(scene.part_map)
        pictures.owners[index] = torch.from_numpy(scene.owners[:256])
    torch.manual_seed(0)
    return scene_frames(pictures, size)


def difference(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    return max(float((first[key].float() - second[key].float()).abs().max()) for key in first)


def test_it_learns_a_batch_by_heart() -> None:
    trainer = Trainer(TINY, seed=0, device="cpu")
    batch = frames()
    losses = [float(trainer.train_step(batch, 0.1)) for _ in range(120)]
    assert np.mean(losses[-10:]) < 0.94 * np.mean(losses[:10])


def test_every_weight_learns() -> None:
    trainer = Trainer(TINY, seed=0, device="cpu")
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    for _ in range(2):
        trainer.train_step(frames(), 0.1)
    same = [name for name, value in trainer.network.named_parameters() if value.equal(before[name])]
    assert same == []


def test_the_averaged_network_follows() -> None:
    trainer = Trainer(TINY, seed=0, device="cpu")
    start = trainer.averaged_network().state_dict()
    for _ in range(5):
        trainer.train_step(frames(), 0.1)
    now, average = trainer.network.state_dict(), trainer.averaged_network().state_dict()
    assert 0 < difference(average, now) < difference(start, now)


def test_the_image_size_changes_and_the_weights_stay() -> None:
    trainer = Trainer(TINY, seed=0, device="cpu")
    trainer.train_step(frames(), 0.1)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.set_image_size(96)
    assert difference(before, trainer.network.state_dict()) == 0
    trainer.train_step(frames(96), 0.1)
    assert trainer.averaged_network().config.image_size == 96
    assert (trainer.step, trainer.pictures) == (2, 8)


def test_a_restored_trainer_goes_on_as_the_first_would_have() -> None:
    first = Trainer(TINY, seed=0, device="cpu")
    for _ in range(3):
        first.train_step(frames(), 0.1)
    second = Trainer(TINY, seed=1, device="cpu")
    file = BytesIO()
    torch.save(first.state(), file)
    file.seek(0)
    second.restore(torch.load(file, weights_only=True))
    for trainer in (first, second):
        torch.manual_seed(7)
        trainer.train_step(frames(), 0.2)
    assert second.step == first.step == 4
    assert difference(first.network.state_dict(), second.network.state_dict()) == 0
    average = first.averaged_network().state_dict()
    assert difference(average, second.averaged_network().state_dict()) == 0


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [schedule(step / 100) for step in range(101)]
    assert rates[0] < 0.02
    assert max(rates) == rates[2] == 1
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(0)


def test_without_cuda_a_replay_is_a_call() -> None:
    forgotten = []
    replay = Replay(lambda first, second: first + second, lambda: forgotten.append(1))
    for number in range(5):
        assert replay(torch.tensor(number), torch.tensor(2)).item() == number + 2
    assert len(forgotten) == 5
