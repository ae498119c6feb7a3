"""Choosing an engine, converting once, and noticing one that computes wrongly."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.agreement import BAR, agreement
from model import Predictor, Prompt, interactive, load_predictor
from model.architecture import MobileSAMConfig
from model.network.checkpoint import save_network
from model.network.mobile_sam import MobileSAM
from model.weights import BUILTIN_PATH

ROOT = Path(__file__).parents[2]
IMAGE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network as small as it gets."""
    import torch

    torch.manual_seed(0)
    config = MobileSAMConfig(
        image_size=64,
        encoder_widths=(16, 16, 16, 16),
        encoder_depths=(1, 1, 1, 1),
        encoder_heads=(1, 1, 1, 1),
        embedding_width=32,
        decoder_mlp_width=32,
        iou_head_width=32,
    )
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_network(path, MobileSAM(config), {})
    return path


@pytest.fixture(scope="module")
def model_dir(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint's conversion, for which several processes asked at once."""
    model_dir = tmp_path_factory.mktemp("models")
    program = (
        "import sys; from pathlib import Path; from model import load_predictor;"
        "load_predictor(sys.argv[1], 'openvino', 'fp32', Path(sys.argv[2]));"
        "assert 'torch' not in sys.modules"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, checkpoint, model_dir],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert sum("converting" in text for text in said) == 1
    return model_dir


@pytest.fixture(scope="module")
def predictor(checkpoint: Path, model_dir: Path) -> Predictor:
    return load_predictor(checkpoint, "openvino", "fp32", model_dir)


def test_a_conversion_is_made_once_and_leaves_nothing_else(
    predictor: Predictor, model_dir: Path
) -> None:
    assert predictor.engine.description == "OpenVINO on cpu, fp32"
    kept = [path.name for path in (model_dir / "openvino").iterdir()]
    fingerprint = predictor.checkpoint.fingerprint[:16]
    assert all(name.startswith(fingerprint) for name in kept)
    assert len([name for name in kept if not name.endswith(".lock")]) == 1


def test_an_engine_that_is_off_is_replaced_by_torch(
    checkpoint: Path,
    predictor: Predictor,
    model_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As when the processor or a library computes wrongly: the answers are not the stored ones."""
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    (stored,) = tmp_path.glob("openvino/*/reference.npz")
    with np.load(stored) as file:
        answers = dict(file)
    answers["low_res_masks"] = answers["low_res_masks"][:, ::-1] + 1
    np.savez(stored, **answers)

    fallback = load_predictor(checkpoint, "auto", "auto", tmp_path)

    assert fallback.engine.description.startswith("torch on cpu, fp32, since OpenVINO")
    assert "failed its self-check (low_res_masks is off by" in caplog.text
    click = Prompt.from_points([(40, 30)])
    found = fallback.predict(fallback.embed(IMAGE), click)
    expected = predictor.predict(predictor.embed(IMAGE), click)
    np.testing.assert_allclose(found.low_res_mask, expected.low_res_mask, atol=1e-4)


def test_an_engine_that_cannot_run_is_replaced_by_torch(
    checkpoint: Path, model_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As on a processor that OpenVINO has no code for."""
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    (decoder,) = tmp_path.glob("openvino/*/decoder.xml")
    decoder.write_text("<net/>")

    fallback = load_predictor(checkpoint, "auto", "auto", tmp_path)

    assert fallback.engine.description.startswith("torch on cpu, fp32, since OpenVINO")
    assert "OpenVINO failed its self-check" in caplog.text
    assert "torch serves" in caplog.text


def test_objects_predicted_together_are_those_predicted_alone(predictor: Predictor) -> None:
    embedding = predictor.embed(IMAGE)
    click = Prompt.from_points([(40, 30)])
    refined = replace(click, mask_input=predictor.predict(embedding, click).low_res_mask)
    prompts = [
        Prompt.from_box((10, 10, 30, 40)),
        click,
        Prompt.from_box((50, 20, 80, 50)),
        refined,
        Prompt.from_points([(40, 30), (5, 5)], [1, 0]),
    ]
    together = interactive.segment(predictor, embedding, prompts)
    alone = [interactive.segment(predictor, embedding, [prompt])[0] for prompt in prompts]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.low_res_mask, other.low_res_mask, atol=1e-4)
        assert one.iou_prediction == pytest.approx(other.iou_prediction, abs=1e-4)
        assert one.mask.shape == other.mask.shape == (60, 90)
    assert interactive.segment(predictor, embedding, []) == []


def test_threads_may_share_an_engine(predictor: Predictor) -> None:
    images = [np.roll(IMAGE, 10 * shift, axis=1) for shift in range(6)]
    prompt = Prompt.from_box((10, 10, 50, 40))

    def low_res_mask(image: np.ndarray) -> np.ndarray:
        return predictor.predict(predictor.embed(image), prompt).low_res_mask

    expected = [low_res_mask(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(low_res_mask, images * 20))
    for index, mask in enumerate(found):
        np.testing.assert_array_equal(mask, expected[index % len(images)])


def test_a_folder_that_cannot_be_written_to(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "openvino").write_text("not a folder")
    with pytest.raises(OSError, match="set MODEL_DIR to a folder that can be written to"):
        load_predictor(checkpoint, "openvino", "fp32", tmp_path)


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        pytest.param({"engine": "fastest"}, "engine is 'fastest'; it must be", id="engine"),
        pytest.param({"precision": "int4"}, "precision is 'int4'; it must be", id="precision"),
    ],
)
def test_what_is_no_choice_is_refused(checkpoint: Path, choice: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_predictor(checkpoint, **choice)


def test_what_auto_chooses_gives_the_masks_of_fp32() -> None:
    served = load_predictor(BUILTIN_PATH)
    assert "self-check" not in served.engine.description
    exact = load_predictor(BUILTIN_PATH, "openvino", "fp32")
    figures = agreement(served, exact, clicks=400)
    assert all(figures[name] >= least for name, least in BAR.items()), figures
