"""Choosing an engine."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.agreement import BAR, agreement
from model import Predictor, Prompt, engines, interactive, load_predictor
from model.weights import BUILTIN_PATH

ROOT = Path(__file__).parents[2]
IMAGE = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint: Path) -> Predictor:
    return load_predictor(tiny_checkpoint, "openvino", "fp32")


def run_python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, without torch where the program begins with :data:`NO_TORCH`."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


NO_TORCH = "import sys; sys.modules['torch'] = sys.modules['timm'] = None\n"


@pytest.mark.slow
class TestWithoutTorch:
    """As after ``pip install -r requirements-cpu.txt``."""

    LOAD = """
from pathlib import Path
from model import load_predictor
try:
    print(load_predictor(sys.argv[1], sys.argv[2], "fp32", Path(sys.argv[3])).engine.description)
except ValueError as error:
    sys.exit(str(error))
"""

    @pytest.mark.parametrize("engine", ["auto", "openvino"])
    def test_openvino_serves(self, tiny_checkpoint: Path, tmp_path: Path, engine: str) -> None:
        process = run_python(NO_TORCH + self.LOAD, tiny_checkpoint, engine, tmp_path)
        assert process.stdout == "OpenVINO on cpu, fp32\n", process.stderr

    def test_torch_says_what_to_install(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        process = run_python(NO_TORCH + self.LOAD, tiny_checkpoint, "torch", tmp_path)
        assert process.stderr == (
            "the engine is torch, which is not installed:"
            f" {sys.executable} -m pip install -r requirements.txt installs torch and timm, and so"
            " does make run GPU=1\n"
        )

    def test_nothing_to_fall_back_on(self, tiny_checkpoint: Path, tmp_path: Path) -> None:
        no_openvino = "sys.modules['openvino'] = None\n"
        process = run_python(NO_TORCH + no_openvino + self.LOAD, tiny_checkpoint, "auto", tmp_path)
        assert f"serve instead, is not installed: {sys.executable} -m pip" in process.stderr
        assert process.stderr.count("\n") == 1

    @pytest.mark.skipif(
        any(path.exists() for path in engines.ACCELERATOR_DEVICES), reason="there is a GPU"
    )
    def test_auto_leaves_torch_alone_where_there_is_no_gpu(
        self, tiny_checkpoint: Path, tmp_path: Path
    ) -> None:
        program = "import sys" + self.LOAD + "assert 'torch' not in sys.modules"
        process = run_python(program, tiny_checkpoint, "auto", tmp_path)
        assert process.returncode == 0, process.stderr


def test_openvino_that_cannot_run_is_replaced_by_torch(
    tiny_checkpoint: Path,
    predictor: Predictor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "model.openvino.engine", None)

    fallback = load_predictor(tiny_checkpoint, "auto", "auto")

    assert fallback.engine.description.startswith("torch on cpu, fp32, since OpenVINO")
    assert "OpenVINO failed its self-check" in caplog.text
    assert "torch serves" in caplog.text
    click = Prompt.from_points([(40, 30)])
    found = fallback.predict(fallback.embed(IMAGE), click)
    expected = predictor.predict(predictor.embed(IMAGE), click)
    np.testing.assert_allclose(found.low_res_mask, expected.low_res_mask, atol=1e-4)


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


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        pytest.param({"engine": "fastest"}, "engine is 'fastest'; it must be", id="engine"),
        pytest.param({"precision": "int4"}, "precision is 'int4'; it must be", id="precision"),
    ],
)
def test_what_is_no_choice_is_refused(tiny_checkpoint: Path, choice: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        load_predictor(tiny_checkpoint, **choice)


@pytest.mark.slow
def test_what_auto_chooses_gives_the_masks_of_torch_in_fp32() -> None:
    served = load_predictor(BUILTIN_PATH)
    assert "self-check" not in served.engine.description
    exact = load_predictor(BUILTIN_PATH, "torch", "fp32")
    figures = agreement(served, exact, clicks=160)
    assert all(figures[name] >= least for name, least in BAR.items()), figures
