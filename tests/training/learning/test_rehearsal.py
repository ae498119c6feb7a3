"""Which synthetic scenes are learnt from, watched and judged by."""

from pathlib import Path

import numpy as np
import pytest

from model.predictor import Predictor
from training.learning.pictures import Role
from training.learning.rehearsal import Rehearsal

pytestmark = pytest.mark.slow


def test_no_scene_is_learnt_from_and_judged_by_although_the_counts_change(
    predictor: Predictor, tmp_path: Path
) -> None:
    Rehearsal(tmp_path, predictor, {Role.JUDGE: 1, Role.WATCH: 1, Role.LEARN: 2}).prepare()
    rehearsal = Rehearsal(tmp_path, predictor, {Role.JUDGE: 3, Role.WATCH: 1, Role.LEARN: 2})
    rehearsal.prepare()
    judged = [scene.embed().features for scene in rehearsal.pictures(Role.JUDGE)]
    for role in (Role.WATCH, Role.LEARN):
        for learnt in rehearsal.lessons(role).features:
            assert not any(np.allclose(learnt, features[0], atol=0.05) for features in judged)
