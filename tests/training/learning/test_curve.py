"""The curve over annotated images."""

from pathlib import Path

import numpy as np
import pytest

from model.predictor import Predictor
from training.labelled_images import LabelledDataset, LabelledImage
from training.learning.curve import _table, split
from training.learning.pictures import Role, role_of
from training.learning.rehearsal import Rehearsal

pytestmark = pytest.mark.slow


def load(number: int) -> LabelledImage:
    mask = np.zeros((32, 32), dtype=bool)
    mask[8:24, 8:24] = True
    return LabelledImage(f"image {number}", np.zeros((32, 32, 3), np.uint8), {"object": mask})


def test_no_image_is_learnt_from_and_judged_by(predictor: Predictor, tmp_path: Path) -> None:
    dataset, rehearsal = LabelledDataset("images", 30, load), Rehearsal(tmp_path, predictor)
    few, held_out = split(dataset, 10, 8, rehearsal)
    more, same = split(dataset, 20, 8, rehearsal)
    names = [[one.name for one in part] for part in (few, held_out, more, same)]
    assert [len(part) for part in names] == [10, 8, 20, 8]
    assert names[1] == names[3]
    assert set(names[0]) < set(names[2])
    assert not set(names[2]) & set(names[1])
    assert {role_of(one.task_id) for one in held_out} == {Role.JUDGE}
    assert Role.JUDGE not in {role_of(one.task_id) for one in more}


def test_too_few_images_are_told_as_such(predictor: Predictor, tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, predictor)
    with pytest.raises(ValueError, match="images has 30 images: 25 to learn from and 8"):
        split(LabelledDataset("images", 30, load), 25, 8, rehearsal)


def test_the_table_begins_with_the_base() -> None:
    gain = {"before": 0.5, "after": 0.75, "lower": 0.1}
    names = ("iou", "1_click", "3_clicks", "5_clicks", "box", "noc_85")
    result = {
        "dataset": "eggs", "images": 30, "learnt_objects": 90, "cpu_s": 61.2, "scenes_loss": 0.004,
        "gains": dict.fromkeys(names, gain),
    }  # fmt: skip
    header, rule, base, learnt = _table([result]).splitlines()
    assert "noc 85" in header
    assert base.startswith("| eggs | 0 | 0 | 0.500 |")
    assert learnt.startswith("| eggs | 30 | 90 | 0.750 |")
    assert learnt.endswith("| +0.100 | +0.004 | 61 |")
