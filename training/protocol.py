"""How one object is judged: clicks that follow the errors, as interactive segmentation is measured.

The first click is at the centre of the object. Each further click is at the centre of the largest
error. A centre is the pixel with the largest distance to the edge of the region. Xu et al., "Deep
Interactive Object Selection" (CVPR 2016), and Li et al., "Interactive Image Segmentation with
Latent Diversity" (CVPR 2018), simulate a user in this way. RITM (Sofiiuk et al., "Reviving
Iterative Training with Mask Guidance for Interactive Segmentation", ICIP 2022) gives numbers of
clicks. Segment Anything (Kirillov et al., ICCV 2023, section 7.1) gives the mean IoU after 1, 3
and more clicks. As in RITM, no pixel is clicked twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from model import interactive
from model.interactive import EmbedCrop
from model.predictor import Predictor
from model.types import BACKGROUND, FOREGROUND, ImageEmbedding, MaskPrediction, Prompt
from training.scenes import Bool

MAX_CLICKS = 20
COUNTED_CLICKS = (1, 3, 5)
TARGETS = (0.80, 0.85, 0.90)

# The answer to a prompt. The last argument is the answer before the prompt's last click.
Strategy = Callable[
    [Predictor, ImageEmbedding, EmbedCrop, Prompt, MaskPrediction | None],
    MaskPrediction,
]


@dataclass(frozen=True)
class Answer:
    """One mask that an annotator would have been shown.

    Attributes:
        mask: H x W.
        iou_prediction: the IoU that the network expects.
        iou: the true IoU.
    """

    mask: Bool
    iou_prediction: float
    iou: float


@dataclass(frozen=True)
class Trial:
    """All clicks and answers for one object.

    Attributes:
        name: the names of the picture and of the object.
        image: H x W x 3 uint8 RGB.
        target: H x W, the true mask.
        clicks: (x, y, label), in order.
        answers: one for every click; fewer than ``MAX_CLICKS`` where the highest of ``TARGETS``
            was reached.
        box: the answer to the exact bounding box.
        box_and_click: the answer to that box and a click that corrects it.
        oracle: IoU of the best of the three answers to the first click.
    """

    name: str
    image: npt.NDArray[np.uint8]
    target: Bool
    clicks: tuple[tuple[int, int, int], ...]
    answers: tuple[Answer, ...]
    box: Answer
    box_and_click: Answer
    oracle: float

    def iou_after(self, clicks: int) -> float:
        """IoU of the answer to the first ``clicks`` clicks."""
        return self.answers[clicks - 1].iou

    def clicks_to(self, target: float) -> int | None:
        """The number of the first click whose IoU is ``target`` or more; None if there is none."""
        reached = (number for number, a in enumerate(self.answers, start=1) if a.iou >= target)
        return next(reached, None)


def judge(
    predictor: Predictor,
    embedding: ImageEmbedding,
    image: npt.NDArray[np.uint8],
    target: Bool,
    name: str,
    strategy: Strategy,
    unknown: Bool | None = None,
    embed_crop: EmbedCrop | None = None,
) -> Trial:
    """Click on one object until it is found or ``MAX_CLICKS`` are spent.

    Args:
        embedding: the embedding of ``image``.
        target: H x W, the true mask; not empty.
        unknown: H x W, pixels outside ``target`` that may be part of an answer or not; None for
            no such pixels.
        embed_crop: the embeddings of crops. None: the predictor makes them of ``image``.
    """
    known = np.ones_like(target) if unknown is None else ~unknown
    embed_crop = embed_crop or cache(lambda crop: predictor.embed(crop.cut(image)))
    clicks: list[tuple[int, int, int]] = []
    answers: list[Answer] = []
    prediction: MaskPrediction | None = None
    mask = np.zeros_like(target)

    while len(answers) < MAX_CLICKS:
        clicks.append(next_click(target, mask, clicks))
        prediction = strategy(predictor, embedding, embed_crop, _prompt(clicks), prediction)
        answers.append(_answer(prediction, target, known))
        mask = prediction.mask & known
        if len(answers) >= max(COUNTED_CLICKS) and max(a.iou for a in answers) >= max(TARGETS):
            break
    offered = predictor.predict_masks(embedding, _prompt(clicks[:1]), multimask_output=True)
    box = bounding_box(target)
    boxed = strategy(predictor, embedding, embed_crop, Prompt.from_box(box), None)
    both = _prompt([next_click(target, boxed.mask & known, [])], box)
    corrected = strategy(predictor, embedding, embed_crop, both, boxed)
    return Trial(
        name=name,
        image=image,
        target=target,
        clicks=tuple(clicks),
        answers=tuple(answers),
        box=_answer(boxed, target, known),
        box_and_click=_answer(corrected, target, known),
        oracle=max(iou(one.mask & known, target) for one in offered),
    )


def next_click(
    target: Bool, mask: Bool, clicks: Sequence[tuple[int, int, int]]
) -> tuple[int, int, int]:
    """The click that corrects ``mask``: (x, y, label).

    Args:
        target: H x W, the true mask.
        mask: H x W, the answer so far; empty before the first click.
        clicks: those already made, never repeated.
    """
    missed, excess = _largest_region(target & ~mask), _largest_region(mask & ~target)
    is_missed = np.count_nonzero(missed) >= np.count_nonzero(excess)
    depth = _depth(missed if is_missed else excess)
    for x, y, _ in clicks:
        depth[y, x] = 0
    if not depth.any():  # nothing is wrong, or nothing that was not clicked before
        depth = _depth(target)
        is_missed = True
    y, x = divmod(int(depth.argmax()), depth.shape[1])
    return x, y, FOREGROUND if is_missed else BACKGROUND


def bounding_box(mask: Bool) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of the outermost pixels that belong to the mask."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return left, top, left + width - 1, top + height - 1


def iou(first: Bool, second: Bool) -> float:
    """Intersection over union; 1 for two empty masks."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def stability(prediction: MaskPrediction, offset: float = 1.0) -> float:
    """How little the mask changes when the threshold of its logits changes, 0 to 1.

    The IoU between the mask at ``offset`` above the threshold and at ``offset`` below it, as
    Segment Anything's automatic mask generator computes it.
    """
    logits = prediction.low_res_mask
    inner, outer = np.count_nonzero(logits > offset), np.count_nonzero(logits > -offset)
    return inner / outer if outer else 0.0


def served(
    predictor: Predictor,
    embedding: ImageEmbedding,
    embed_crop: EmbedCrop | None,
    prompt: Prompt,
    previous: MaskPrediction | None,
) -> MaskPrediction:
    """What an annotator gets. The earlier clicks are not replayed, since their answer is known."""
    if previous is not None:
        prompt = replace(prompt, mask_input=previous.low_res_mask)
    (prediction,) = interactive.segment(predictor, embedding, [prompt], embed_crop=embed_crop)
    return prediction


def without_crops(
    predictor: Predictor,
    embedding: ImageEmbedding,
    embed_crop: EmbedCrop,
    prompt: Prompt,
    previous: MaskPrediction | None,
) -> MaskPrediction:
    """What an annotator gets without crop refinement."""
    return served(predictor, embedding, None, prompt, previous)


def network_alone(score: Callable[[MaskPrediction], float] | None, *, chained: bool) -> Strategy:
    """A strategy that shows the network's answer without cleaning up.

    Args:
        score: the answer to one click is the mask of three with the best score; None for the
            single mask.
        chained: whether further clicks come with the low-res mask that they correct, as Segment
            Anything was trained to use it. That includes the first click after a box.
    """

    def answer(
        predictor: Predictor,
        embedding: ImageEmbedding,
        embed_crop: EmbedCrop,
        prompt: Prompt,
        previous: MaskPrediction | None,
    ) -> MaskPrediction:
        if chained and previous is not None:
            prompt = replace(prompt, mask_input=previous.low_res_mask)
        if score is None or not prompt.is_ambiguous:
            return predictor.predict_masks(embedding, prompt, multimask_output=False)[0]
        return max(predictor.predict_masks(embedding, prompt, multimask_output=True), key=score)

    return answer


def _predicted_iou(prediction: MaskPrediction) -> float:
    return prediction.iou_prediction


def _predicted_iou_and_stability(prediction: MaskPrediction) -> float:
    return prediction.iou_prediction * stability(prediction)


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "served": served,
        "without-crops": without_crops,
        "iou": network_alone(_predicted_iou, chained=False),
        "stability": network_alone(stability, chained=False),
        "iou-stability": network_alone(_predicted_iou_and_stability, chained=False),
        "single": network_alone(None, chained=False),
        "iou-chained": network_alone(_predicted_iou, chained=True),
        "stability-chained": network_alone(stability, chained=True),
        "iou-stability-chained": network_alone(_predicted_iou_and_stability, chained=True),
        "single-chained": network_alone(None, chained=True),
    }
)


def _prompt(
    clicks: Sequence[tuple[int, int, int]], box: tuple[int, int, int, int] | None = None
) -> Prompt:
    points = [(x, y) for x, y, _ in clicks]
    return Prompt.from_points(points, [label for *_, label in clicks], box)


def _answer(prediction: MaskPrediction, target: Bool, known: Bool) -> Answer:
    actual = iou(prediction.mask & known, target)
    return Answer(prediction.mask, prediction.iou_prediction, actual)


def _largest_region(errors: Bool) -> Bool:
    """The largest 8-connected region; empty if there is none."""
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(errors.view(np.uint8))
    if count == 1:
        return errors
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return np.asarray(numbers == largest)


def _depth(mask: Bool) -> npt.NDArray[np.float32]:
    """Distance to the nearest pixel outside; the picture's edge is outside."""
    padded = np.pad(mask, 1).view(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1].astype(
        np.float32
    )
