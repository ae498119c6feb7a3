"""Masks that formats have trouble with."""

import numpy as np
import pytest
from scipy import ndimage

H, W = 120, 160


def _masks() -> dict[str, np.ndarray]:
    rows, columns = np.mgrid[:H, :W]
    rng = np.random.default_rng(0)

    def disc(row: int, column: int, radius: int) -> np.ndarray:
        return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2

    blobs = ndimage.gaussian_filter(rng.random((H, W)), 4) > 0.5
    return {
        "whole": np.ones((H, W), dtype=bool),
        "disc": disc(50, 60, 40),
        "hole": disc(50, 60, 40) & ~disc(45, 65, 12),
        "two holes": disc(50, 60, 45) & ~disc(35, 50, 8) & ~disc(70, 70, 10),
        "dot": (rows == 7) & (columns == 9),
        "line": (rows == 100) & (columns > 20),
        "diagonal": (rows == columns) & (rows < 80),
        "border": (rows < 10) | (columns >= W - 3),
        "dotted hole": disc(50, 60, 40) & ~((rows + columns == 110) & (rows > 45) & (rows < 60)),
        "parts": disc(30, 40, 20) | disc(90, 130, 15),
        "parts in holes": (disc(50, 60, 45) & ~disc(50, 60, 30)) | disc(50, 60, 10),
        "blobs": blobs & disc(60, 80, 55),
    }


MASKS = _masks()


@pytest.fixture(params=MASKS.values(), ids=MASKS.keys())
def mask(request: pytest.FixtureRequest) -> np.ndarray:
    """H x W, not empty."""
    found: np.ndarray = request.param
    return found


@pytest.fixture
def masks() -> dict[str, np.ndarray]:
    """All of them, by name."""
    return MASKS
