"""`python -m backend precompute`: embed images before anybody clicks in them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backend.commands.project_options import require_label_studio, tell_failures
from backend.images.image_ref import ImageRef
from backend.jobs import QUEUE_NAME
from backend.precompute import (
    Failure,
    Report,
    embed_here,
    embed_on_workers,
    images_of_folder,
    images_of_tasks,
)
from backend.regions.labeling_config import LabelingConfig
from backend.service import Service, connect_label_studio
from backend.settings import Settings


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "precompute",
        help="embed images before anybody clicks in them",
        description="Embed the images of a project, of a file of tasks or of a folder. Images that"
        " have an embedding are skipped, so an interrupted run can be started again.",
    )
    parser.set_defaults(run=_run)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--project", type=int, metavar="ID", help="a project of Label Studio")
    source.add_argument("--tasks", type=Path, metavar="FILE", help="tasks as Label Studio's JSON")
    source.add_argument("--folder", type=Path, metavar="FOLDER", help="image files in a folder")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="with --tasks: the labeling config; it says which fields of a task are images",
    )
    parser.add_argument(
        "--url-prefix",
        metavar="URL",
        help="with --folder: the part of the URL in the tasks before the path of the file, such as"
        " '/data/local-files/?d=images/'",
    )
    parser.add_argument(
        "--queue",
        action="store_true",
        help="embed on RQ workers that share the Redis of REDIS_URL; start them on any number of"
        f" machines with the backend's settings: `rq worker --url $REDIS_URL {QUEUE_NAME}`",
    )


def _run(options: argparse.Namespace, settings: Settings) -> int:
    report = Report()
    images, total = _images(options, settings, report.failures)
    if options.queue:
        if settings.redis_url is None:
            raise ValueError("--queue needs REDIS_URL")
        if options.folder is not None:
            raise ValueError(
                "--queue cannot be used with --folder: other machines cannot read its files"
            )
        embed_on_workers(settings, images, total, report)
    else:
        if not settings.cache_disk_gb and settings.redis_url is None:
            raise ValueError(
                "the embeddings would be lost: set CACHE_DISK_GB above 0, or set REDIS_URL"
            )
        embed_here(Service.start(settings), images, total, report)
    print(report)
    return tell_failures([(failure.name, failure.reason) for failure in report.failures])


def _images(
    options: argparse.Namespace, settings: Settings, failures: list[Failure]
) -> tuple[Iterator[ImageRef], int | None]:
    """The images to embed, and their number if it is known."""
    if options.folder is not None:
        if options.url_prefix is None:
            raise ValueError("--folder needs --url-prefix")
        if not options.folder.is_dir():
            raise ValueError(f"the folder {options.folder} does not exist")
        return images_of_folder(options.folder, options.url_prefix), None
    if options.tasks is not None:
        if options.config is None:
            raise ValueError("--tasks needs --config")
        tasks = _read_tasks(options.tasks)
        config = LabelingConfig.parse(options.config.read_text())
        return images_of_tasks(tasks, config, failures), _image_count(len(tasks), config)
    require_label_studio(settings)
    label_studio = connect_label_studio(settings)
    project = label_studio.project(options.project)
    config = LabelingConfig.parse(project["label_config"])
    images = images_of_tasks(label_studio.all_tasks(options.project), config, failures)
    return images, _image_count(project["task_number"], config)


def _image_count(task_count: int, config: LabelingConfig) -> int | None:
    """How many images the tasks show; None where that depends on each task."""
    of_each = config.images_per_task
    return None if of_each is None else task_count * of_each


def _read_tasks(path: Path) -> list[dict[str, Any]]:
    tasks = json.loads(path.read_text())
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError(f"{path} is not a list of tasks in JSON")
    return [task if "data" in task else {"data": task} for task in tasks]
