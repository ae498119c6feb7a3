"""`python -m backend preannotate`: masks of the boxes of a project, before anybody opens a task."""

from __future__ import annotations

import argparse

from backend.commands.project_options import add_project, require_label_studio, tell_failures
from backend.jobs import QUEUE_NAME
from backend.label_studio import task_lists
from backend.label_studio.client import LabelStudio
from backend.preannotate import (
    Report,
    Work,
    count,
    preannotate_here,
    preannotate_on_workers,
)
from backend.predictions.boxes import ANNOTATIONS, PREDICTIONS, is_own
from backend.predictions.orders import Order
from backend.predictions.preannotator import Outcome, Preannotator
from backend.regions.errors import UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig
from backend.service import Service, connect_label_studio, connect_versions
from backend.settings import Settings
from backend.versions.project_decoders import model_version
from model import weights
from model.everything import EverythingSettings


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "preannotate",
        help="masks of the boxes of a project, written as predictions",
        description="Give each task of a project that has boxes a prediction: a mask for each box,"
        " with the box's label. With --everything: a mask for each object in the images. Tasks that"
        " have such a prediction are skipped, so an interrupted run can be started again.",
    )
    parser.set_defaults(run=_run)
    add_project(parser)
    parser.add_argument(
        "--from",
        dest="source",
        default=PREDICTIONS,
        metavar="SOURCE",
        help=f'where the boxes come from: "{PREDICTIONS}" (the default; of other models),'
        f' "{ANNOTATIONS}", or the model_version of predictions',
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="LABEL",
        help="only boxes with this label; may be given several times",
    )
    parser.add_argument(
        "--everything",
        action="store_true",
        help="without boxes: masks of all objects in the images. All get the label of --label,"
        " which may be left out where there is only one label",
    )
    parser.add_argument(
        "--min-area",
        type=int,
        default=0,
        metavar="PIXELS",
        help="with --everything: smaller objects are left out",
    )
    parser.add_argument(
        "--max-count",
        type=_positive,
        metavar="N",
        help="with --everything: the most masks of an image; those with the highest predicted IoU",
    )
    parser.add_argument(
        "--detector",
        metavar="DETECTOR",
        help="boxes for tasks that have none: module:function, the URL of a service, or ml+ and the"
        " URL of an ML backend, such as ml+http://localhost:9091",
    )
    parser.add_argument(
        "--again",
        action="store_true",
        help="replace the predictions that tasks have already, such as after their boxes changed",
    )
    parser.add_argument("--dry-run", action="store_true", help="count, and write nothing")
    parser.add_argument(
        "--workers",
        type=_positive,
        default=Work.threads,
        metavar="N",
        help="tasks to work on at the same time (%(default)s): images are loaded and predictions"
        " written while another image is encoded",
    )
    parser.add_argument(
        "--queue",
        action="store_true",
        help="work on RQ workers that share the Redis of REDIS_URL; start them on any number of"
        f" machines with the backend's settings: `rq worker --url $REDIS_URL {QUEUE_NAME}`",
    )


def _run(options: argparse.Namespace, settings: Settings) -> int:
    require_label_studio(settings)
    if options.queue and settings.redis_url is None:
        raise ValueError("--queue needs REDIS_URL")
    if is_own(options.source):
        raise ValueError(
            f'--from "{options.source}" are predictions of this backend: name those with boxes'
        )
    work = Work(options.project, _order(options), options.again, options.workers)
    label_studio = connect_label_studio(settings)
    if options.everything:
        _check_label(label_studio, options.project, work.order)
    ids = task_lists.task_ids(label_studio, options.project, options.filter)
    if options.dry_run:
        base = weights.obtain(settings.checkpoint, settings.model_dir).model_version
        number = connect_versions(settings).active(options.project)
        version = model_version(base, options.project, number)
        preannotator = work.counter(label_studio, version)
        return _tell_plan(count(preannotator, ids), preannotator.model_version)
    if options.queue:
        return _tell(preannotate_on_workers(settings, work, ids))
    service = Service.start(settings)
    preannotator = work.preannotator(service)
    segmenter = service.segmenter_of(options.project)
    report = preannotate_here(preannotator, segmenter, ids, options.workers)
    if report.outcomes[Outcome.WRITTEN] or report.outcomes[Outcome.KEPT]:
        _tell_of_choice(preannotator)
    return _tell(report)


def _order(options: argparse.Namespace) -> Order:
    everything = None
    if options.everything and options.detector:
        raise ValueError("--everything needs no boxes: leave out --detector")
    if options.everything:
        if len(options.label) > 1:
            raise ValueError("--everything gives every mask the same label: give one --label")
        everything = EverythingSettings(
            min_mask_region_area=options.min_area, max_masks=options.max_count
        )
    return Order(options.source, tuple(options.label), everything, options.detector)


def _check_label(label_studio: LabelStudio, project_id: int, order: Order) -> None:
    """Refuse an order of everything whose masks can have no label: each task would fail.

    Raises:
        ValueError: there are several labels and none is named, or there is no such label.
    """
    config = LabelingConfig.parse(label_studio.project(project_id)["label_config"])
    try:
        for image in config.image_variables:
            config.labels_for_all(image, next(iter(order.labels), None))
    except UnanswerableRequestError as error:
        raise ValueError(f"{error} (--label)") from error


def _tell(report: Report) -> int:
    """Print what was done. Returns the exit status."""
    number = report.outcomes
    print(
        f"{number[Outcome.WRITTEN]} predictions written; {number[Outcome.KEPT]} tasks had one,"
        f" {number[Outcome.NO_BOXES]} have no boxes, in {number[Outcome.NO_MASKS]} the model found"
        " nothing"
    )
    for label, boxes in report.unknown.most_common():
        print(f'left out: {boxes} boxes of "{label}", a label that no tag of the project has')
    return tell_failures(report.failures)


def _tell_plan(report: Report, model_version: str) -> int:
    """Print what would be done. Returns the exit status."""
    number = report.outcomes
    print(
        f'{number[Outcome.WRITTEN]} tasks would get a prediction "{model_version}";'
        f" {number[Outcome.KEPT]} have one, {number[Outcome.NO_BOXES]} have no boxes"
    )
    for labels, boxes in report.boxes.most_common():
        print(f"{boxes} boxes: {labels or 'without a label'}")
    return tell_failures(report.failures)


def _tell_of_choice(preannotator: Preannotator) -> None:
    """Label Studio shows annotators the predictions of one model_version."""
    shown = preannotator.project.get("model_version")
    if shown and shown != preannotator.model_version:
        print(
            f'Annotators see the predictions of "{shown}". To show them these, choose'
            f' "{preannotator.model_version}" in the project\'s Settings > Annotation.'
        )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
