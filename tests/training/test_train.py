"""A short training of a tiny network: stopped, taken up again, finished."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from model.network.checkpoint import load_network
from training.record import read_record
from training.train import Plan

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# What `python -m training.train` does, for a network that trains in seconds.
PROGRAM = """
import sys
from pathlib import Path
from model.architecture import MobileSAMConfig
from training.train import Plan, train

CONFIG = MobileSAMConfig(
    image_size=64, encoder_widths=(16, 16, 16, 16), encoder_depths=(1, 1, 1, 1),
    encoder_heads=(1, 1, 1, 1), embedding_width=32, decoder_mlp_width=32, iou_head_width=32,
)
if __name__ == "__main__":
    folder, steps, limit = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    print(train(
        Plan(
            output=folder / "out.safetensors", run=folder / "run", steps=steps, limit=limit,
            photographs=(folder / "discs",), held_out=(folder / "held",), evaluate_minutes=0,
            image_sizes=(64, 96), batch_size=4, scenes=8, seed=5, judged_by=(),
        ),
        CONFIG, side=64,
    ))
"""


def make_dataset(folder: Path, pictures: int) -> None:
    """Discs; the value 255 around them is unknown."""
    rows, columns = np.mgrid[:64, :64]
    for index in range(pictures):
        distance = np.hypot(rows - 30, columns - 24 - index)
        image = np.where(distance[..., None] < 16, (200, 60, 40), (60, 90, 130)).astype(np.uint8)
        labels = np.where(distance < 15, 1, np.where(distance < 17, 255, 0)).astype(np.uint8)
        for part, pixels in (("images", image), ("masks", labels)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / part / f"{index}.png")


def run(folder: Path, steps: int, limit: float = 10) -> str:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), str(folder), str(steps), str(limit)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return done.stdout.strip()


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    make_dataset(folder / "discs", 5)
    make_dataset(folder / "held", 1)
    return folder


def test_it_trains_from_small_pictures_to_large_ones(folder: Path) -> None:
    output = Path(run(folder, steps=4))
    record = read_record(output)
    assert (record.steps, record.seed) == (4, 5)
    assert record.pictures == 2 * 4 + 2 * 4
    assert record.photograph_share == 0.55
    assert record.trained_on == {"discs": 5}
    assert record.config["image_size"] == 96
    state = torch.load(folder / "run" / "state.pt", weights_only=True)
    assert state["trainer"]["step"] == 4


def test_it_is_judged_by_what_was_held_out_during_the_run(folder: Path) -> None:
    (judged,) = [line for line in log(folder) if "dataset" in line]
    assert (judged["dataset"], judged["objects"], judged["step"]) == ("held", 1, 4)
    assert 0 <= judged["1_click"] <= 1


def test_it_goes_on_where_it_stopped(folder: Path) -> None:
    before = torch.load(folder / "run" / "state.pt", weights_only=True)
    output = Path(run(folder, steps=6))
    after = torch.load(folder / "run" / "state.pt", weights_only=True)
    assert after["trainer"]["step"] == read_record(output).steps == 6
    assert after["seconds"] > before["seconds"]
    # Two steps change the weights a little; a fresh start would change them altogether.
    old, new = before["trainer"]["network"], after["trainer"]["network"]
    name = "mask_decoder.iou_token.weight"
    assert 0 < (new[name] - old[name]).norm() < 0.2 * old[name].norm()
    assert load_network(output).config.image_size == 96


def test_it_stops_at_the_limit_and_leaves_its_state(folder: Path) -> None:
    assert run(folder, steps=10_000, limit=0) == "None"
    state = torch.load(folder / "run" / "state.pt", weights_only=True)
    assert state["trainer"]["step"] == 6
    assert read_record(folder / "run" / "latest.safetensors").steps == 6


class TestPlan:
    def plan(self, **flags: Any) -> Plan:
        return Plan(Path("out"), Path("run"), **flags)

    def test_half_of_the_run_is_on_the_smallest_pictures(self) -> None:
        plan = self.plan(steps=1)
        sizes = [plan.image_size_at(progress) for progress in (0, 0.49, 0.5, 0.74, 0.75, 1)]
        assert sizes == [256, 256, 384, 384, 512, 512]

    def test_larger_pictures_come_fewer_at_a_time(self) -> None:
        plan = self.plan(steps=1, batch_size=256)
        assert [plan.batch_size_at(size) for size in (128, 256, 512)] == [256, 256, 64]

    @pytest.mark.parametrize(
        ("flags", "sentence"),
        [
            ({}, "either in minutes or in steps"),
            ({"steps": 1, "minutes": 1}, "either in minutes or in steps"),
            ({"steps": 1, "image_sizes": (100,)}, "multiple of 32, not 100"),
            pytest.param(
                {"steps": 1, "device": "cuda"},
                "choose --device cpu",
                marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
            ),
        ],
    )
    def test_a_mistake_is_answered_with_a_sentence(
        self, flags: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(ValueError, match=sentence):
            self.plan(**flags)
