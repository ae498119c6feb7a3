"""How much the engine that serves agrees with torch in fp32: mask IoU of clicks on photographs.

python -m benchmarks.agreement --engine auto --precision auto
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from skimage import data

from model import ImageEmbedding, MaskPrediction, Predictor, Prompt, load_predictor
from model.weights import BUILTIN_PATH
from training.protocol import iou

# The photographs that come with scikit-image, without a download.
PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "rocket", "clock", "retina")
BAR = {"mean": 0.99, "5th percentile": 0.98, "worst": 0.93}
_TIE = 0.02  # two predicted IoUs that differ by less may change places by rounding


def main() -> int:
    """Print the figures as JSON; the status is 1 where one is below the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=BUILTIN_PATH)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--clicks", type=int, default=400)
    options = parser.parse_args()
    served = load_predictor(options.checkpoint, options.engine, options.precision)
    exact = load_predictor(options.checkpoint, "torch", "fp32")
    figures = agreement(served, exact, options.clicks)
    print(json.dumps({"engine": served.engine.description, "clicks": options.clicks, **figures}))
    return int(any(figures[name] < least for name, least in BAR.items()))


def agreement(served: Predictor, exact: Predictor, clicks: int) -> dict[str, float]:
    """IoU of the masks that two predictors give for single clicks, spread over the photographs.

    One click may mean several things. Where ``exact`` predicts nearly the same IoU for two of its
    answers, either of them is right: the last digit of the arithmetic decides between them.

    Returns:
        ``mean``, ``5th percentile`` and ``worst``.
    """
    rng = np.random.default_rng(0)
    photographs = [photograph(name) for name in PHOTOGRAPHS]
    embeddings = [(as_kept(served.embed(image)), exact.embed(image)) for image in photographs]
    ious = []
    for click in range(clicks):
        embedding, exact_embedding = embeddings[click % len(embeddings)]
        height, width = embedding.original_size
        prompt = Prompt.from_points([(rng.uniform(0, width - 1), rng.uniform(0, height - 1))])
        mask = served.predict(embedding, prompt).mask
        right = _best_answers(exact.predict_masks(exact_embedding, prompt, multimask_output=True))
        ious.append(max(iou(mask, answer.mask) for answer in right))
    return {
        "mean": round(float(np.mean(ious)), 4),
        "5th percentile": round(float(np.percentile(ious, 5)), 4),
        "worst": round(float(np.min(ious)), 4),
    }


def _best_answers(answers: Sequence[MaskPrediction]) -> list[MaskPrediction]:
    best = max(answer.iou_prediction for answer in answers)
    return [answer for answer in answers if answer.iou_prediction >= best - _TIE]


def photograph(name: str) -> npt.NDArray[np.uint8]:
    """One of :data:`PHOTOGRAPHS`, H x W x 3 uint8 RGB."""
    image: npt.NDArray[np.uint8] = getattr(data, name)()
    return np.stack([image] * 3, axis=-1) if image.ndim == 2 else image[..., :3]


def as_kept(embedding: ImageEmbedding) -> ImageEmbedding:
    """An embedding as the backend keeps it: in fp16."""
    return ImageEmbedding(embedding.features.astype(np.float16), embedding.original_size)


if __name__ == "__main__":
    sys.exit(main())
