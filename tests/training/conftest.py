"""Predictors that need no network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from model.types import ImageEmbedding, MaskPrediction, Prompt


@dataclass
class StubPredictor:
    """Answers every prompt with what it is told; keeps the prompts."""

    answer: Callable[[Prompt], list[MaskPrediction]]
    prompts: list[Prompt] = field(default_factory=list)

    def embed(self, image: np.ndarray) -> ImageEmbedding:
        return ImageEmbedding(np.zeros((1, 1, 1, 1), np.float32), image.shape[:2])

    def predict_masks(
        self, embedding: ImageEmbedding, prompt: Prompt, *, multimask_output: bool
    ) -> list[MaskPrediction]:
        self.prompts.append(prompt)
        return self.answer(prompt)


@pytest.fixture
def answering() -> Callable[..., StubPredictor]:
    """A predictor that answers every prompt with the same masks."""

    def build(*masks: np.ndarray, iou_predictions: tuple[float, ...] = ()) -> StubPredictor:
        scores = iou_predictions or (1.0,) * len(masks)
        answers = [
            MaskPrediction(mask, np.where(mask, 4.0, -4.0).astype(np.float32), score)
            for mask, score in zip(masks, scores, strict=True)
        ]
        return StubPredictor(lambda prompt: answers)

    return build


@pytest.fixture
def one_thread() -> Iterator[None]:
    """So small a network is faster so, much faster where other programs want the cores too."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
