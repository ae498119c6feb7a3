"""Fixtures that several rooms' tests share, and a home folder for all of them."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

# What earlier runs left in the user's home is not for tests, nor theirs for the user: the folders
# that settings default to begin there. Before any import that asks where it is.
_home = tempfile.TemporaryDirectory(prefix="home-")
os.environ["HOME"] = _home.name  # noqa: TID251

DATA = Path(__file__).parent / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-factor",
        type=int,
        default=1,
        help="send so many times more odd requests, other ones at each run",
    )


@pytest.fixture(scope="session")
def seeded_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the format of the published mobile_sam.pt, with values from a fixed recipe."""
    import torch

    from benchmarks.weights import seeded

    path = tmp_path_factory.mktemp("weights") / "seeded.pt"
    torch.save(seeded(), path)
    return path


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """What the original MobileSAM code computes from the seeded checkpoint."""
    with np.load(DATA / "mobile_sam_golden.npz") as file:
        return {key: file[key] for key in file.files}
