"""Never a mask for another picture."""

import numpy as np
import pytest

from backend.embedding_store import EmbeddingStore
from backend.segmenter import Segmenter
from model import load_predictor
from model.second_look import Tile
from model.weights import BUILTIN_PATH


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(load_predictor(BUILTIN_PATH), EmbeddingStore(64 << 20))


class Source:
    """An image whose size can change, and how often it was loaded."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.loads = 0

    def load(self) -> np.ndarray:
        self.loads += 1
        return np.zeros((*self.size, 3), dtype=np.uint8)


def test_an_image_is_loaded_and_encoded_once(segmenter: Segmenter) -> None:
    source = Source((30, 40))
    first = segmenter.embed("once", source.load, (30, 40))
    assert segmenter.embed("once", source.load, (30, 40)) is first
    assert segmenter.embed("once", source.load, None) is first
    assert source.loads == 1


def test_an_image_replaced_under_its_url_is_encoded_again(segmenter: Segmenter) -> None:
    source = Source((30, 40))
    segmenter.embed("replaced", source.load, (30, 40))
    source.size = (50, 60)
    assert segmenter.embed("replaced", source.load, (50, 60)).original_size == (50, 60)
    assert source.loads == 2


def test_a_size_that_is_nowhere_is_tried_once(segmenter: Segmenter) -> None:
    source = Source((30, 40))
    assert segmenter.embed("lie", source.load, (1, 1)).original_size == (30, 40)
    assert source.loads == 1


def test_tiles_are_those_of_their_picture(segmenter: Segmenter) -> None:
    source, tile = Source((32, 48)), Tile(16, 0, 48, 32)
    first = segmenter.embed_tile("tile", (300, 400), tile, source.load)
    assert segmenter.embed_tile("tile", (300, 400), tile, source.load) is first
    assert source.loads == 1
    segmenter.embed_tile("tile", (320, 400), tile, source.load)  # replaced under its URL
    segmenter.embed_tile("tile", (300, 400), Tile(16, 16, 48, 32), source.load)
    assert source.loads == 3
