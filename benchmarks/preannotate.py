"""Masks of boxes: how fast, and whether a killed run loses or repeats anything.

    python -m benchmarks.preannotate speed     # 100 boxes on one embedded image, and 20 clicks
    python -m benchmarks.preannotate project   # 1,000 tasks of a real Label Studio, killed twice

Prints Markdown. The project needs Label Studio as `make test` installs it.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from backend.plugin import MobileSAMBackend
from backend.predictions.orders import Order
from backend.regions.labeling_config import LabelingConfig
from backend.service import Service
from backend.settings import Settings
from demo.__main__ import EXECUTABLE
from demo.backend import ROOT
from demo.label_studio import LabelStudio
from demo.smart_regions import keypoint, rectangle
from model.weights import BUILTIN_PATH

CONFIG = """<View><Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image" smart="false" model_crop_refinement="{refines}">
    <Label value="Object"/></BrushLabels>
  <KeyPointLabels name="point" toName="image" smart="true"><Label value="Object"/></KeyPointLabels>
  <RectangleLabels name="box" toName="image" smart="true"><Label value="Object"/></RectangleLabels>
</View>"""
WIDTH, HEIGHT = 1920, 1080
BOXES, CLICKS = 100, 20
SMALL, LARGE = (50, 90), (400, 700)  # sides of boxes, pixels
VERSION = "mobile-sam-builtin boxes"
Box = tuple[int, int, int, int]


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.preannotate", description=(__doc__ or "").split("\n")[0]
    )
    parts = parser.add_subparsers(required=True, metavar="part")
    speed = parts.add_parser("speed", help="100 boxes on one embedded image, and 20 clicks")
    speed.add_argument("--repetitions", type=int, default=5)
    speed.add_argument("--checkpoint", type=Path, default=BUILTIN_PATH)
    speed.set_defaults(run=lambda options: measure_speed(options.checkpoint, options.repetitions))
    project = parts.add_parser("project", help="tasks of a real Label Studio, killed twice")
    project.add_argument("--tasks", type=int, default=1000)
    project.add_argument("--seed", type=int, default=0)
    project.set_defaults(run=lambda options: measure_project(options.tasks, options.seed))
    options = parser.parse_args()
    options.run(options)


def measure_speed(checkpoint: Path, repetitions: int) -> None:
    """100 boxes on one embedded image as a multiple of 20 clicks on different objects."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        service = Service.start(
            Settings(
                label_studio_url="http://127.0.0.1:9",  # nobody is asked
                local_files_document_root=folder,
                checkpoint=checkpoint,
                model_dir=folder / "models",
                cache_dir=folder / "embeddings",
                cache_memory_mb=4096,
            )
        )
        MobileSAMBackend.service = service
        segmenter = service.segmenter
        print(
            f"{segmenter.model_version}, {segmenter.engine}: processor time, "
            f"the least of {repetitions}\n"
        )
        print("| objects | 20 clicks | 100 boxes | ratio |\n|---|---|---|---|")
        for kind, sides, refines in (
            ("large", LARGE, True),
            ("small, without crop refinement", SMALL, False),
            ("small, each in crops that are encoded anew", SMALL, True),
        ):
            clicks, boxes = zip(
                *(_speed(service, folder, seed, sides, refines) for seed in range(repetitions)),
                strict=True,
            )
            # The least time is the one that other work on the machine has disturbed least.
            of_clicks, of_boxes = min(clicks), min(boxes)
            print(
                f"| {kind} | {of_clicks:.0f} ms | {of_boxes:.0f} ms | {of_boxes / of_clicks:.2f} |"
            )


def _speed(
    service: Service, folder: Path, seed: int, sides: tuple[int, int], refines: bool
) -> tuple[float, float]:
    """Processor time of 20 clicks and of 100 boxes, milliseconds, on embedded images."""
    config = CONFIG.format(refines=str(refines).lower())
    parsed = LabelingConfig.parse(config)
    plugin = MobileSAMBackend(project_id="1.1", label_config=config)
    tasks: list[dict[str, Any]] = []
    found: list[list[Box]] = []
    for part in range(2):  # an image of its own for clicks and for boxes: no crop is there already
        path = f"{seed}-{part}-{sides[0]}-{refines}.png"
        boxes = _picture(folder / path, 10 * seed + part, (WIDTH, HEIGHT), BOXES, sides)
        tasks.append(_task(len(tasks) + 1, f"/data/local-files/?d={path}", boxes, (WIDTH, HEIGHT)))
        found.append(boxes)
        service.segmenter.embed(next(parsed.image_refs(tasks[-1])))

    def click() -> None:
        for x0, y0, x1, y1 in found[0][:CLICKS]:
            x, y = 50 * (x0 + x1) / WIDTH, 50 * (y0 + y1) / HEIGHT
            region = keypoint(x, y, width=WIDTH, height=HEIGHT)
            plugin.predict([tasks[0]], context={"result": [region]})

    def predict() -> None:
        Order().predict(service.segmenter, tasks[1], parsed)

    return _processor_ms(click), _processor_ms(predict)


def _processor_ms(call: Callable[[], object]) -> float:
    """The time that all processors work for a call. Other work on the machine changes it little."""
    begun = time.process_time()
    call()
    return (time.process_time() - begun) * 1000


def measure_project(task_count: int, seed: int) -> None:
    """Preannotate a project, kill the command twice at random moments, and look at the result."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        label_studio = LabelStudio(EXECUTABLE, Path(name) / "label-studio")
        try:
            project_id = label_studio.create_project("boxes", CONFIG.format(refines="false"))
            boxes = _fill(label_studio, Path(name) / "label-studio", project_id, task_count)
            settings = {
                "LABEL_STUDIO_URL": label_studio.url,
                "LABEL_STUDIO_API_KEY": label_studio.token,
                "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
                "CACHE_DIR": str(Path(name) / "cache"),
            }
            command = ["-m", "backend", "preannotate", "--project", str(project_id)]
            for low, high in ((0.1, 0.4), (0.5, 0.9)):
                written = _killed(
                    [sys.executable, *command],
                    settings,
                    lambda: _written(label_studio, project_id),
                    int(task_count * chance.uniform(low, high)),
                    chance.uniform(0, 1),
                )
                print(f"killed with {written} predictions written", flush=True)
            begun = time.perf_counter()
            done = _run([sys.executable, *command], settings)
            print(f"{done} ({time.perf_counter() - begun:.0f} s)\n", flush=True)
            _report(label_studio, project_id, boxes)
        finally:
            label_studio.stop()


def _fill(label_studio: LabelStudio, data_dir: Path, project_id: int, task_count: int) -> list[int]:
    """Make tasks of small pictures with one to three boxes. Returns the number of boxes of each."""
    folder = data_dir / "pictures"
    folder.mkdir()
    label_studio.connect_folder(project_id, folder)
    tasks, counts = [], []
    for index in range(task_count):
        path, size = f"pictures/{index}.png", (320, 240)
        boxes = _picture(data_dir / path, index, size, 1 + index % 3, (50, 110))
        task = _task(index, f"/data/local-files/?d={path}", boxes, size)
        tasks.append({name: task[name] for name in ("data", "predictions")})
        counts.append(len(boxes))
    label_studio.import_tasks(project_id, tasks)
    return counts


def _killed(
    command: Sequence[str],
    settings: dict[str, str],
    count: Callable[[], int],
    least: int,
    more_s: float,
) -> int:
    """Run a command, and kill it some time after ``least`` predictions are written."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **settings},  # noqa: TID251
        stderr=subprocess.DEVNULL,
    ) as process:
        while count() < least:
            if process.poll() is not None:
                raise RuntimeError(f"the command ended with status {process.returncode}")
            time.sleep(0.5)
        time.sleep(more_s)
        process.kill()
    return count()


def _run(command: Sequence[str], settings: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **settings},  # noqa: TID251
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout.splitlines()[-1]


def _written(label_studio: LabelStudio, project_id: int) -> int:
    """How many tasks have a prediction beside that of the other model."""
    return sum(task["total_predictions"] > 1 for task in label_studio.tasks(project_id))


def _report(label_studio: LabelStudio, project_id: int, boxes: Sequence[int]) -> None:
    tasks = label_studio.tasks(project_id)
    ours = [
        [one for one in label_studio.predictions(task["id"]) if one["model_version"] == VERSION]
        for task in tasks
    ]
    number = Counter(len(found) for found in ours)
    masks = sum(len(one["result"]) for found in ours for one in found)
    print("| tasks | with one prediction | with none | with several | boxes | masks |")
    print("|---|---|---|---|---|---|")
    several = sum(count for length, count in number.items() if length > 1)
    print(f"| {len(tasks)} | {number[1]} | {number[0]} | {several} | {sum(boxes)} | {masks} |")


def _picture(
    path: Path, seed: int, size: tuple[int, int], count: int, sides: tuple[int, int]
) -> list[Box]:
    """Draw ellipses of random colours and places. Returns the boxes around them."""
    rng = np.random.default_rng(seed)
    width, height = size
    image = Image.new("RGB", size, (120, 120, 120))
    draw = ImageDraw.Draw(image)
    boxes = []
    for _ in range(count):
        box_width, box_height = rng.integers(*sides, 2).tolist()
        x, y = int(rng.integers(0, width - box_width)), int(rng.integers(0, height - box_height))
        boxes.append((x, y, x + box_width, y + box_height))
        draw.ellipse(boxes[-1], fill=tuple(rng.integers(0, 255, 3).tolist()))
    image.save(path)
    return boxes


def _task(number: int, url: str, boxes: Sequence[Box], size: tuple[int, int]) -> dict[str, Any]:
    """A task with the boxes as another model predicts them."""
    width, height = size
    regions = [
        {
            **rectangle(
                100 * x0 / width,
                100 * y0 / height,
                100 * (x1 - x0) / width,
                100 * (y1 - y0) / height,
                width=width,
                height=height,
            ),
            "id": f"box-{index}",
        }
        for index, (x0, y0, x1, y1) in enumerate(boxes)
    ]
    prediction = {"id": 1, "model_version": "another model", "result": regions}
    return {"id": number, "data": {"image": url}, "predictions": [prediction]}


if __name__ == "__main__":
    main()
