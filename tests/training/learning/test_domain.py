"""What comes out where the masks are right, and where they are not."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model.predictor import Predictor
from training.learning import run
from training.learning.decoder import Recipe
from training.learning.gate import Pair, Verdict, decide, judge_pairs
from training.learning.pictures import Object, Origin, Picture, Role, by_role
from training.learning.rehearsal import Rehearsal
from training.learning.run import prepare, train
from training.scores import Score

pytestmark = pytest.mark.slow

RECIPE = Recipe(steps=20, learning_rate=2e-4, objects=6, scene_objects=2, corrections=2)
_SCORE = Score("scene", "", (0.6,) * 5, 0.6, 0.6, 0.6, (1, 2, 3), ())
SCENES = [Pair(0, Origin.MANUAL, _SCORE, _SCORE)]  # nothing is forgotten


@pytest.fixture(scope="module")
def rehearsal(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    counts = {Role.JUDGE: 1, Role.WATCH: 1, Role.LEARN: 3}
    made = Rehearsal(tmp_path_factory.mktemp("scenes"), predictor, counts)
    made.prepare()
    return made


def outcome(pictures: list[Picture], rehearsal: Rehearsal, folder: Path) -> Verdict:
    """Learn from pictures, and judge by the held-out pictures."""
    base = rehearsal.predictor
    prepare(folder, pictures, base)
    learnt = base.with_decoder(train(folder, rehearsal, RECIPE, "cpu", minutes=10))
    own = judge_pairs(base, learnt, by_role(pictures)[Role.JUDGE], "eggs")
    return decide(own, SCENES, (1.0, 1.0))


def with_one_egg(picture: Picture, *, shift: int = 0) -> Picture:
    def moved(read: Callable[[], np.ndarray]) -> np.ndarray:
        return np.roll(read(), shift, axis=(0, 1))

    (first, *_) = picture.objects
    return dataclasses.replace(picture, objects=[Object(partial(moved, first.read))])


@pytest.mark.parametrize(("shuffled", "is_offered"), [(False, True), (True, False)])
def test_right_masks_are_learnt_and_masks_of_other_pictures_are_not(
    shuffled: bool, is_offered: bool, eggs: Callable[[int], list[Picture]], rehearsal: Rehearsal,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(run, "_ALLOWED_LOSS", 1.0)  # one scene says little
    monkeypatch.setattr(run, "_CHECK_STEPS", 6)
    chance = np.random.default_rng(5)
    pictures = [
        with_one_egg(one, shift=int(chance.integers(50, 200)) if shuffled else 0)
        for one in eggs(30)
    ]
    verdict = outcome(pictures, rehearsal, tmp_path)
    assert verdict.is_offered is is_offered, verdict
    assert verdict.tasks == 6
