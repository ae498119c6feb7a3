"""Whether a learnt decoder is better than the base: only then may it serve.

Both decoders find the same objects with the same rules as annotators get them, so each object is a
pair. Objects of one task are alike, so chance draws whole tasks (the cluster bootstrap: Davison and
Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from backend.images.errors import ImageError
from model.predictor import Predictor
from model.types import BACKGROUND, FOREGROUND, ImageEmbedding, Prompt
from training.learning.pictures import Origin, Picture
from training.protocol import MAX_CLICKS, TARGETS, judge, next_click, served
from training.scenes import Bool
from training.scores import Score

FEWEST_TASKS = 5  # held out; the chance of fewer tasks is no measure
ALLOWED_LOSS = 0.01  # IoU
_JUDGED = 240  # objects, at most, and about as many of each picture: both decoders find each
SCENE_OBJECTS = 480  # more of the scenes: chance must not decide whether the loss is small enough
_DRAWS = 4000
_LOWER = 0.05  # one-sided
_ALLOWED_OBSTINACY = 0.1  # share of the negative clicks
_NOC_TARGET = TARGETS.index(0.85)

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pair:
    """One object, found by both decoders.

    Attributes:
        task_id: of the picture.
        origin: how the true mask came about.
        before, after: the scores of the base and of the learnt decoder.
    """

    task_id: int
    origin: Origin
    before: Score
    after: Score


@dataclass(frozen=True)
class Gain:
    """The mean of a number before and after, and how sure the difference is.

    Attributes:
        before, after: means over the objects.
        lower: the gain is at least this, with a confidence of 95 %. Fewer clicks are a gain.
    """

    before: float
    after: float
    lower: float


@dataclass(frozen=True)
class Verdict:
    """The decision of the gate.

    Attributes:
        is_offered: whether the learnt decoder may serve.
        reasons: a sentence for each condition that is not met.
        objects, tasks: how many were held out and judged.
        gains: by name: ``iou`` is the mean of the IoUs after 1, 3 and 5 clicks and from the box.
        scenes_loss: mean IoU lost on synthetic scenes.
        accepted_loss: mean IoU lost on masks of the backend that annotators accepted; None without
            such masks.
        heeded: the share of negative clicks that were heeded, before and after.
    """

    is_offered: bool
    reasons: tuple[str, ...]
    objects: int
    tasks: int
    gains: Mapping[str, Gain]
    scenes_loss: float
    accepted_loss: float | None
    heeded: tuple[float, float]

    @property
    def scores(self) -> dict[str, object]:
        """All of it for JSON."""
        return asdict(self)


def judge_pairs(
    base: Predictor,
    learnt: Predictor,
    pictures: Sequence[Picture],
    description: str,
    on_progress: Callable[[], None] = lambda: None,
    objects: int = _JUDGED,
) -> list[Pair]:
    """Find objects of the pictures with both decoders; shows a progress bar.

    Args:
        base, learnt: the decoders.
        pictures: those whose image is not available are left out.
        description: of the progress bar.
        on_progress: is called before each picture.
        objects: how many are judged, at most, but two of each picture.
    """
    pairs = []
    most = _of_each(pictures, objects)
    for picture in tqdm(pictures, description, unit="image", mininterval=1):
        on_progress()
        try:
            embedding = picture.embed()
            for one in picture.objects[:most]:
                before, after = (_score(p, picture, embedding, one.mask) for p in (base, learnt))
                pairs.append(Pair(picture.task_id, one.origin, before, after))
        except ImageError:
            continue
    return pairs


def heeded_shares(
    base: Predictor, learnt: Predictor, pictures: Sequence[Picture]
) -> tuple[float, float]:
    """How often a negative click takes its place out of a mask that is too large.

    The first click is in the middle of the object, and the negative click is in the middle of what
    the answer has too much. The network alone is asked: the clean-up would always take the place
    out. Pictures whose image is not available are left out.

    Returns:
        The shares of ``base`` and of ``learnt``; 1 where no mask is too large.
    """
    heeded: tuple[list[bool], list[bool]] = ([], [])
    most = _of_each(pictures, _JUDGED)
    for picture in pictures:
        with suppress(ImageError):
            embedding = picture.embed()
            for one in picture.objects[:most]:
                for predictor, answers in zip((base, learnt), heeded, strict=True):
                    answer = _heeds(predictor, embedding, one.mask)
                    if answer is not None:
                        answers.append(answer)
    before, after = (round(float(np.mean(one)), 4) if one else 1.0 for one in heeded)
    return before, after


def decide(own: Sequence[Pair], scenes: Sequence[Pair], heeded: tuple[float, float]) -> Verdict:
    """Decide whether the learnt decoder may serve.

    Args:
        own: objects of held-out tasks of the project.
        scenes: objects of synthetic scenes, none of which was learnt from.
        heeded: the share of negative clicks that were heeded, before and after.
    """
    gains = {name: _gain(own, value, sign) for name, (value, sign) in _MEASURES.items()}
    accepted = [pair for pair in own if pair.origin in (Origin.ACCEPTED, Origin.CLICKED)]
    tasks = len({pair.task_id for pair in own})
    scenes_loss = _loss(scenes)
    accepted_loss = _loss(accepted) if accepted else None
    reasons = [
        *_reasons_of_gain(gains, tasks),
        *_reasons_of_loss(scenes_loss, accepted_loss),
        *_reasons_of_clicks(*heeded),
    ]
    return Verdict(
        not reasons, tuple(reasons), len(own), tasks, gains, scenes_loss, accepted_loss, heeded
    )


def _of_each(pictures: Sequence[Picture], objects: int) -> int:
    """How many objects of each picture are judged, at most."""
    return max(2, objects // max(1, len(pictures)))


def _score(
    predictor: Predictor, picture: Picture, embedding: ImageEmbedding, target: Bool
) -> Score:
    no_image = np.empty((0, 0, 3), np.uint8)
    trial = judge(
        predictor, embedding, no_image, target, picture.name, served, embed_crop=picture.embed_crop
    )
    return Score.of(trial)


def _heeds(predictor: Predictor, embedding: ImageEmbedding, target: Bool) -> bool | None:
    """Whether the mask of one click heeds a negative click; None where it is not too large."""
    first = next_click(target, np.zeros_like(target), [])
    answer = predictor.predict(embedding, Prompt.from_points([first[:2]]))
    x, y, label = next_click(target, answer.mask, [first])
    if label != BACKGROUND or not answer.mask[y, x]:
        return None
    both = Prompt.from_points([first[:2], (x, y)], [FOREGROUND, BACKGROUND])
    corrected = replace(both, mask_input=answer.low_res_mask)
    return not bool(predictor.predict(embedding, corrected).mask[y, x])


def _mean_iou(score: Score) -> float:
    return float(np.mean([score.ious[0], score.ious[2], score.ious[4], score.box]))


def _clicks(score: Score) -> float:
    return float(score.clicks_to[_NOC_TARGET] or MAX_CLICKS)


# The number, and whether more of it is better (1) or worse (-1).
_MEASURES: Mapping[str, tuple[Callable[[Score], float], int]] = {
    "iou": (_mean_iou, 1),
    "1_click": (lambda score: score.ious[0], 1),
    "3_clicks": (lambda score: score.ious[2], 1),
    "5_clicks": (lambda score: score.ious[4], 1),
    "box": (lambda score: score.box, 1),
    "noc_85": (_clicks, -1),
}


def _gain(pairs: Sequence[Pair], value: Callable[[Score], float], sign: int) -> Gain:
    if not pairs:
        return Gain(0.0, 0.0, 0.0)
    before = np.array([value(pair.before) for pair in pairs])
    after = np.array([value(pair.after) for pair in pairs])
    gains = sign * (after - before)
    lower = _lower_bound(gains, np.array([pair.task_id for pair in pairs]))
    return Gain(*(round(float(x), 4) for x in (before.mean(), after.mean(), lower)))


def _lower_bound(gains: Numbers, tasks: npt.NDArray[np.int64]) -> float:
    """The lower bound of the mean gain, by drawing tasks with replacement."""
    _, index = np.unique(tasks, return_inverse=True)
    totals = np.bincount(index, gains)
    counts = np.bincount(index)
    drawn = np.random.default_rng(0).integers(len(counts), size=(_DRAWS, len(counts)))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return float(np.quantile(means, _LOWER))


def _loss(pairs: Iterable[Pair]) -> float:
    losses = [_mean_iou(pair.before) - _mean_iou(pair.after) for pair in pairs]
    return round(float(np.mean(losses)), 4) if losses else 0.0


def _reasons_of_gain(gains: Mapping[str, Gain], tasks: int) -> list[str]:
    reasons = []
    iou, clicks = gains["iou"], gains["noc_85"]
    if tasks < FEWEST_TASKS:
        reasons.append(
            f"only {tasks} held-out tasks have objects, and {FEWEST_TASKS} are needed to judge by:"
            " annotate more tasks"
        )
    elif iou.lower <= 0:
        what = (
            "it is not better on held-out tasks"
            if iou.after <= iou.before
            else "the gain on held-out tasks may be chance"
        )
        reasons.append(
            f"{what} (mean IoU {iou.before:.3f} before, {iou.after:.3f} after, lower bound of the"
            f" gain {iou.lower:+.3f}): annotate more tasks, and check that the masks are right"
        )
    if clicks.after > clicks.before:
        reasons.append(
            f"it needs more clicks on held-out tasks ({clicks.before:.2f} before,"
            f" {clicks.after:.2f} after, to an IoU of 0.85): correct more of the masks that are"
            " wrong at their edges"
        )
    return reasons


def _reasons_of_loss(scenes: float, accepted: float | None) -> list[str]:
    reasons = []
    if scenes > ALLOWED_LOSS:
        reasons.append(
            f"it has forgotten what the base knows: on synthetic scenes it loses {scenes:.3f} of"
            f" IoU, and {ALLOWED_LOSS} is allowed: annotate more kinds of objects, or learn with"
            " fewer steps"
        )
    if accepted is not None and accepted > ALLOWED_LOSS:
        reasons.append(
            f"it loses {accepted:.3f} of IoU on masks of the backend that annotators had accepted,"
            f" and {ALLOWED_LOSS} is allowed: annotate more tasks of that kind"
        )
    return reasons


def _reasons_of_clicks(before: float, after: float) -> list[str]:
    if after >= before - _ALLOWED_OBSTINACY:
        return []
    return [
        f"it heeds {after:.0%} of the negative clicks, and the base {before:.0%}: correct more"
        " masks that are too large"
    ]
