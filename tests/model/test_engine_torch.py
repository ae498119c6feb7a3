"""The torch engine: batches, memory, precision. On CUDA the functions are recorded too."""

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from model import reference
from model.engine_torch import TorchEngine, verified_engine
from model.engines import OutOfDeviceMemoryError
from model.network.runners import resize_on_device
from model.openvino.self_check import BUILTIN_ANSWERS_PATH
from model.reference import Answers
from model.types import DecoderInputs
from model.weights import BUILTIN_PATH

# How far embeddings are apart where a GPU and Pillow round some pixels differently, relative.
RESIZED = 1e-2

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


@pytest.fixture(scope="module")
def plain(tiny_checkpoint: Path) -> TorchEngine:
    """Takes any number of images and prompts together."""
    return TorchEngine(tiny_checkpoint, "fp32")


@pytest.fixture(scope="module")
def batched(tiny_checkpoint: Path) -> TorchEngine:
    """Fills batches up to 1, 4 or 16."""
    return TorchEngine(
        tiny_checkpoint, "fp32", encode_batches=(1, 4, 16), decode_batches=(1, 4, 16)
    )


@pytest.fixture(scope="module")
def recorded(tiny_checkpoint: Path) -> TorchEngine:
    """On CUDA, as it serves."""
    return verified_engine(tiny_checkpoint, "fp32")


@pytest.fixture(scope="module", params=["batched", pytest.param("recorded", marks=needs_cuda)])
def engine(request: pytest.FixtureRequest) -> TorchEngine:
    served: TorchEngine = request.getfixturevalue(request.param)
    return served


def pictures(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(count)
    sizes = random.integers(1, 150, (count, 2))
    return [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def prompts(
    features: np.ndarray, count: int, points: int, *, has_mask: bool = False
) -> DecoderInputs:
    random = np.random.default_rng([count, points])
    coords = random.uniform(0, 64, (count, points, 2)).astype(np.float32)
    labels = random.integers(-1, 2, (count, points))
    masks = random.normal(size=(count, 1, 16, 16)).astype(np.float32) if has_mask else None
    return DecoderInputs(features, coords, labels, masks)


@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_images_of_a_batch_do_not_change_each_other(
    plain: TorchEngine, batched: TorchEngine, count: int
) -> None:
    images = pictures(count)
    alone = np.concatenate([plain.encode([image]) for image in images])
    np.testing.assert_allclose(batched.encode(images), alone, atol=1e-4)
    np.testing.assert_allclose(plain.encode(images), alone, atol=1e-4)


@pytest.mark.parametrize("has_mask", [False, True], ids=["no mask", "mask"])
@pytest.mark.parametrize("points", [2, 10, 12])
@pytest.mark.parametrize("count", [1, 3, 18])
def test_prompts_of_a_batch_do_not_change_each_other(
    plain: TorchEngine, engine: TorchEngine, count: int, points: int, has_mask: bool
) -> None:
    features = plain.encode(pictures(1)).astype(np.float16)
    inputs = prompts(features, count, points, has_mask=has_mask)
    expected_masks, expected_ious = plain.decode(inputs)
    found_masks, found_ious = engine.decode(inputs)
    np.testing.assert_allclose(found_masks, expected_masks, atol=1e-3)
    np.testing.assert_allclose(found_ious, expected_ious, atol=1e-3)
    chosen = np.arange(count) % 4
    one_each, _ = engine.decode(inputs, lambda _: chosen)
    np.testing.assert_allclose(one_each[:, 0], found_masks[np.arange(count), chosen], atol=1e-3)


def test_a_search_finds_what_decode_answers(plain: TorchEngine, engine: TorchEngine) -> None:
    inputs = prompts(plain.encode(pictures(1)), 6, 2)
    masks, ious = plain.decode(inputs)
    threshold = float(np.sort(ious[:, 1:].ravel())[8:10].mean())
    found, found_ious = engine.find_masks(inputs, threshold, 10)
    is_wanted = ious[:, 1:] > threshold
    np.testing.assert_allclose(found, masks[:, 1:, :10][is_wanted], atol=1e-3)
    np.testing.assert_allclose(found_ious, ious[:, 1:][is_wanted], atol=1e-3)


@pytest.mark.parametrize("size", [(40, 64), (64, 64), (7, 64)])
def test_the_device_scales_images_as_pillow_does(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 480, 3), dtype=np.uint8)
    pillow = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    found = resize_on_device(torch.from_numpy(image), size).numpy()
    difference = np.abs(found.astype(int) - np.asarray(pillow).astype(int))
    assert difference.max() <= 1
    assert resize_on_device(torch.from_numpy(found), size).numpy() is not image


class FullDevice:
    """A runner of a device that has room for some images only."""

    def __init__(self, engine: TorchEngine, room: int) -> None:
        self._runner = engine._encoder
        self._room = room
        self.batches: list[int] = []

    def run(self, images: list[np.ndarray]) -> np.ndarray:
        self.batches.append(len(images))
        if len(images) > self._room:
            raise torch.OutOfMemoryError("out of memory")
        return self._runner.run(images)


def test_a_batch_without_room_is_encoded_in_parts(
    tiny_checkpoint: Path, plain: TorchEngine
) -> None:
    engine = TorchEngine(tiny_checkpoint, "fp32", encode_batches=(1, 4, 16))
    full = FullDevice(engine, room=2)
    engine._encoder = full
    images = pictures(7)
    np.testing.assert_allclose(engine.encode(images), plain.encode(images), atol=1e-4)
    assert full.batches == [7, 3, 1, 2, 4, 2, 2]


def test_a_device_without_room_for_an_image_is_told(tiny_checkpoint: Path) -> None:
    engine = TorchEngine(tiny_checkpoint, "fp32")
    engine._encoder = FullDevice(engine, room=0)
    with pytest.raises(OutOfDeviceMemoryError, match="has no memory left .* another process"):
        engine.encode(pictures(2))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_reduced_precision_answers_nearly_as_fp32(precision: str) -> None:
    engine = TorchEngine(BUILTIN_PATH, precision)
    with open(BUILTIN_ANSWERS_PATH, "rb") as file:
        reference.check(engine, Answers.load(file), precision)


@needs_cuda
@pytest.mark.parametrize("count", [1, 3, 20])
def test_recorded_encoders_answer_as_a_cpu_does(
    plain: TorchEngine, recorded: TorchEngine, count: int
) -> None:
    assert recorded.description == "torch on cuda, fp32"
    expected = plain.encode(pictures(count))
    found = recorded.encode(pictures(count))
    assert np.linalg.norm(found - expected) < RESIZED * np.linalg.norm(expected)


@needs_cuda
def test_threads_do_not_disturb_each_other_on_a_gpu(
    plain: TorchEngine, recorded: TorchEngine
) -> None:
    features = plain.encode(pictures(1))
    questions = [prompts(features, count, 2 + count % 3) for count in range(1, 9)]
    masks = [plain.decode(inputs)[0] for inputs in questions]
    embeddings = plain.encode(pictures(20))

    def click(turn: int) -> None:
        found, _ = recorded.decode(questions[turn % len(questions)])
        np.testing.assert_allclose(found, masks[turn % len(questions)], atol=1e-3)

    def prefetch(_: int) -> None:
        found = recorded.encode(pictures(20))
        assert np.linalg.norm(found - embeddings) < RESIZED * np.linalg.norm(embeddings)

    with ThreadPoolExecutor(8) as pool:
        prefetched = [pool.submit(prefetch, turn) for turn in range(20)]
        list(pool.map(click, range(400)))
        for one in prefetched:
            one.result()


@needs_cuda
def test_auto_is_fp16_on_cuda() -> None:
    assert verified_engine(BUILTIN_PATH, "auto").description == "torch on cuda, fp16"


@pytest.fixture
def little_memory() -> Iterator[Callable[[float], None]]:
    """Leaves this process so many gigabytes of the GPU."""
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    yield lambda gigabytes: torch.cuda.set_per_process_memory_fraction(gigabytes * 2**30 / total)
    torch.cuda.set_per_process_memory_fraction(1.0)


@needs_cuda
def test_a_nearly_full_gpu_encodes_one_image_at_a_time(
    seeded_checkpoint: Path, little_memory: Callable[[float], None]
) -> None:
    little_memory(2)
    engine = verified_engine(seeded_checkpoint, "auto")
    assert engine.encode_batch == 1
    assert engine.encode(pictures(3)).shape == (3, 256, 64, 64)


@needs_cuda
def test_a_full_gpu_is_told(
    seeded_checkpoint: Path, little_memory: Callable[[float], None]
) -> None:
    little_memory(0.5)
    with pytest.raises(OutOfDeviceMemoryError, match="nvidia-smi"):
        verified_engine(seeded_checkpoint, "auto")
