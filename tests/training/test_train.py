"""A short training of a tiny network: stopped, taken up again, finished."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.network.checkpoint import load_network
from training.record import read_record

ROOT = Path(__file__).parents[2]

# What `python -m training.train` does, for a network that two processes train in seconds.
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
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    train(
        Plan(
            output=folder / "out.safetensors", run=folder / "run", steps=steps,
            image_sizes=(64, 96), batch_size=2, seed=5, processes=2, judged_on=(),
        ),
        CONFIG,
    )
"""


def run(folder: Path, steps: int) -> Path:
    program = folder / "program.py"
    program.write_text(PROGRAM)
    subprocess.run(
        [sys.executable, str(program), str(folder), str(steps)],
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return folder / "out.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training")


def test_it_trains_from_small_pictures_to_large_ones(folder: Path) -> None:
    record = read_record(run(folder, steps=4))
    assert record.steps == 4
    assert record.seed == 5
    assert record.config["image_size"] == 96
    state = torch.load(folder / "run" / "state.pt", weights_only=True)
    assert state["step"] == 4


def test_it_goes_on_where_it_stopped(folder: Path) -> None:
    before = torch.load(folder / "run" / "state.pt", weights_only=True)
    output = run(folder, steps=6)
    after = torch.load(folder / "run" / "state.pt", weights_only=True)
    assert after["step"] == read_record(output).steps == 6
    assert after["seconds"] > before["seconds"]
    # Two steps change the weights a little; a fresh start would change them altogether.
    name = "mask_decoder.iou_token.weight"
    moved = (after["network"][name] - before["network"][name]).norm()
    assert 0 < moved < 0.2 * before["network"][name].norm()
    assert load_network(output).config.image_size == 96
