"""What the gate lets through, and what it says where it does not."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from model.architecture import decoder_shapes
from model.checkpoint import read_parameters
from model.predictor import Predictor, load_predictor
from model.weights import BUILTIN_PATH
from training.evaluation_datasets import synthetic_scenes
from training.learning.gate import Pair, Verdict, decide, heeded_shares, judge_pairs
from training.learning.pictures import Origin, Picture, pictures_of
from training.scores import Score


def score(ious: Sequence[float], clicks: int | None = 3) -> Score:
    return Score("object", "", tuple(ious), ious[-1], ious[-1], ious[-1], (1, clicks, None), ())


def pairs(
    gains: Sequence[float],
    *,
    per_task: int = 4,
    origin: Origin = Origin.MANUAL,
    clicks: tuple[int | None, int | None] = (4, 2),
) -> list[Pair]:
    """Objects of tasks; each task gains a number of IoU at all clicks."""
    before = score([0.6] * 5, clicks[0])
    return [
        Pair(task, origin, before, score([0.6 + gain] * 5, clicks[1]))
        for task, gain in enumerate(gains)
        for _ in range(per_task)
    ]


UNCHANGED = pairs([0.0] * 5, clicks=(4, 4))
GAINS = (0.1, 0.12, 0.05, 0.2, 0.08, 0.1)


def verdict(own: Sequence[Pair], scenes: Sequence[Pair] = UNCHANGED, after: float = 0.7) -> Verdict:
    return decide(own, scenes, (0.7, after))


def test_a_decoder_that_is_better_everywhere_is_offered() -> None:
    decision = verdict(pairs(GAINS))
    assert decision.is_offered and decision.reasons == ()
    assert (decision.objects, decision.tasks) == (24, 6)
    gain = decision.gains["iou"]
    assert (gain.before, gain.after) == (0.6, pytest.approx(0.6 + np.mean(GAINS), abs=1e-4))
    assert 0.05 < gain.lower < np.mean(GAINS)
    assert decision.gains["noc_85"].lower == 2  # each object needs two clicks less


def test_an_object_that_is_never_found_counts_as_twenty_clicks() -> None:
    decision = verdict(pairs(GAINS, clicks=(None, 5)))
    assert decision.gains["noc_85"].before == 20


def test_many_objects_of_few_lucky_tasks_are_no_proof() -> None:
    """A bootstrap over objects would see 300 gains and no doubt."""
    decision = verdict(pairs((0.5, -0.05, -0.05, -0.05, -0.05, -0.05), per_task=50))
    assert not decision.is_offered
    assert "may be chance" in decision.reasons[0]


@pytest.mark.parametrize(
    ("own", "scenes", "after", "sentence"),
    [
        pytest.param(pairs([0.2] * 4), UNCHANGED, 0.7, "only 4 held-out tasks", id="few tasks"),
        pytest.param(pairs([-0.1] * 6), UNCHANGED, 0.7, "it is not better", id="worse"),
        pytest.param(
            pairs(GAINS, clicks=(2, 4)), UNCHANGED, 0.7, "it needs more clicks", id="more clicks"
        ),
        pytest.param(
            pairs(GAINS), pairs([-0.02] * 5), 0.7, "it has forgotten what", id="forgotten scenes"
        ),
        pytest.param(
            [*pairs(GAINS), *pairs([-0.05] * 5, origin=Origin.ACCEPTED)], UNCHANGED, 0.7,
            "had accepted", id="accepted masks",
        ),
        pytest.param(
            pairs(GAINS), UNCHANGED, 0.5, "heeds 50% of the negative", id="deaf to negative clicks"
        ),
    ],
)  # fmt: skip
def test_it_says_why_a_decoder_is_refused(
    own: Sequence[Pair], scenes: Sequence[Pair], after: float, sentence: str
) -> None:
    decision = verdict(own, scenes, after)
    assert not decision.is_offered
    (reason,) = decision.reasons
    assert sentence in reason
    assert ": " in reason  # the remedy


def test_without_held_out_objects_it_asks_for_more_tasks() -> None:
    decision = verdict([])
    assert not decision.is_offered
    assert "annotate more tasks" in decision.reasons[0]


@pytest.mark.slow
def test_the_base_against_itself_gains_and_loses_nothing(
    predictor: Predictor, eggs: Callable[[int], list[Picture]]
) -> None:
    judged = judge_pairs(predictor, predictor, eggs(1), "eggs")
    assert len(judged) == 4
    assert all(pair.before == pair.after for pair in judged)
    assert all(pair.before.ious[0] < 0.6 for pair in judged)  # one click gets the yolk


@pytest.mark.slow
def test_a_decoder_that_takes_negative_clicks_for_positive_ones_heeds_none() -> None:
    base = load_predictor(BUILTIN_PATH, "openvino", "fp32")
    parameters = read_parameters(BUILTIN_PATH)
    decoder = {name: parameters.arrays[name] for name in decoder_shapes(parameters.config)}
    negative, positive = (f"prompt_encoder.point_embeddings.{sign}.weight" for sign in (0, 1))
    decoder[negative] = decoder[positive]
    scenes = pictures_of(synthetic_scenes(3), base)
    before, after = heeded_shares(base, base.with_decoder(decoder), scenes)
    assert before > 0.5
    assert after < 0.1


@pytest.mark.slow
def test_of_many_objects_some_of_each_picture_are_judged(
    predictor: Predictor, eggs: Callable[[int], list[Picture]]
) -> None:
    judged = judge_pairs(predictor, predictor, eggs(2), "eggs", objects=4)
    assert [pair.task_id for pair in judged] == [1000, 1000, 1001, 1001]
