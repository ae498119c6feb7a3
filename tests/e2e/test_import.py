"""The tasks that `python -m model --format label-studio` writes, in a real Label Studio."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from demo.backend import ROOT
from demo.label_studio import LabelStudio
from model.__main__ import main
from model.formats import brush_rle
from model.weights import BUILTIN_PATH


def test_predictions_arrive_with_their_masks(label_studio: LabelStudio, tmp_path: Path) -> None:
    image = np.full((240, 320, 3), 170, dtype=np.uint8)
    image[60:180, 40:140] = (210, 40, 30)
    (tmp_path / "photos").mkdir()
    Image.fromarray(image).save(tmp_path / "photos" / "a b.png")
    path = tmp_path / "tasks.json"
    status = main(
        [
            *(str(tmp_path / "photos"), "--box", "38,58,142,182", "--point", "90,120"),
            *("--format", "label-studio", "-o", str(path), "--url-prefix", "/data/local-files/?d="),
            *("--checkpoint", str(BUILTIN_PATH)),
        ]
    )
    assert status == 0

    config = (ROOT / "examples" / "keypoints-and-boxes.xml").read_text()
    project_id = label_studio.create_project("tasks of the command line", config)
    label_studio.import_tasks(project_id, json.loads(path.read_text()))
    (task,) = label_studio.tasks(project_id)
    assert task["data"]["image"] == "/data/local-files/?d=a%20b.png"
    (prediction,) = label_studio.open_task(task["id"])["predictions"]
    assert prediction["model_version"] == "mobile-sam-builtin"
    (region,) = prediction["result"]
    assert region["value"]["brushlabels"] == ["Object"]
    mask = brush_rle.decode(region["value"]["rle"], (240, 320))
    assert mask[62:178, 42:138].mean() > 0.95
    assert mask.sum() < 1.2 * 120 * 100
