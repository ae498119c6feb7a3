"""`python -m backend export`: the annotations of a project as COCO, YOLO or PNG files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from backend.commands.project_options import add_project, require_label_studio, tell_failures
from backend.export.annotations import AnnotationReader, Choice, classes
from backend.export.coco_writer import CocoWriter
from backend.export.exporter import Exporter
from backend.export.png_writers import IndexPngWriter, MaskPngWriter
from backend.export.report import Report
from backend.export.writers import Classes, Writer
from backend.export.yolo_writer import YoloWriter
from backend.images.fetching import Fetcher
from backend.images.loading import ImageLoader
from backend.label_studio import task_lists
from backend.label_studio.client import LabelStudio
from backend.regions.labeling_config import LabelingConfig
from backend.service import connect_http, connect_label_studio
from backend.settings import Settings
from model.files import new_folder

_PAGE = 25  # tasks; brush masks make them large
# For each format what makes its writer, of the folder, the tolerance and the report.
_WRITERS: Mapping[str, Callable[[Path, float, Report], Writer]] = {
    "coco": lambda folder, tolerance, report: CocoWriter(folder, tolerance),
    "yolo": YoloWriter,
    "png": lambda folder, tolerance, report: IndexPngWriter(folder, report),
    "masks": lambda folder, tolerance, report: MaskPngWriter(folder),
}


class _NothingError(Exception):
    """There is no image to write."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "export",
        help="the annotations of a project as COCO, YOLO or PNG files",
        description="Write brushes, bitmasks, polygons, rectangles and ellipses of a project's"
        " annotations. The command says what it leaves out and what a format cannot hold. The exit"
        " status is 1 where something could not be exported.",
    )
    parser.set_defaults(run=_run)
    add_project(parser)
    parser.add_argument(
        "--format",
        required=True,
        choices=list(_WRITERS),
        help="coco: one JSON file with polygons and RLE; yolo: label files of YOLO-seg; png: a"
        " picture of the classes of each image; masks: a picture of each object",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="a new folder, which appears when all is written",
    )
    parser.add_argument(
        "--with-images", action="store_true", help='fetch the images, into the folder "images"'
    )
    parser.add_argument(
        "--annotations",
        type=Choice,
        choices=list(Choice),
        default=Choice.ONE,
        help="of a task that several people annotated: one, the ground truth or else the annotation"
        " that was changed last (the default); ground-truth, and no task without; or all",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="NAME",
        help="only objects of this control tag; may be given several times. By default all but the"
        " boxes of smart rectangles beside other tags for masks",
    )
    parser.add_argument(
        "--unlabelled", metavar="CLASS", help="the class of objects without a label"
    )
    parser.add_argument(
        "--tolerance",
        type=_pixels,
        default=0.0,
        metavar="PIXELS",
        help="with coco and yolo: how far polygons of brushes and bitmasks may be from the mask's"
        " edge, to have fewer vertices; small holes are filled in yolo (default 0: exact)",
    )


def _run(options: argparse.Namespace, settings: Settings) -> int:
    require_label_studio(settings)
    http = connect_http(settings)
    label_studio = connect_label_studio(settings, http)
    loader = ImageLoader(Fetcher(label_studio, http, settings.local_files_document_root))
    config = LabelingConfig.parse(label_studio.project(options.project)["label_config"])
    report = Report()
    reader = AnnotationReader(config, options.annotations, options.tag, report)
    found = Classes(classes(config, options.tag))
    with suppress(_NothingError), new_folder(options.output) as folder:
        writer = _WRITERS[options.format](folder, options.tolerance, report)
        exporter = Exporter(
            reader,
            loader,
            writer,
            found,
            options.unlabelled,
            folder if options.with_images else None,
            report,
        )
        exporter.write(_tasks(label_studio, options.project, options.filter))
        if not report.images:
            raise _NothingError  # an empty dataset would be in the way of the next run
        writer.finish(found)
    return _tell(report, len(found), options.output)


def _tasks(
    label_studio: LabelStudio, project_id: int, view_id: int | None
) -> Iterator[dict[str, Any]]:
    """The tasks of a project or of a view, with a progress bar, in the order of their ids."""
    ids = sorted(task_lists.task_ids(label_studio, project_id, view_id))
    with tqdm(total=len(ids), unit="task", desc="exporting") as progress:
        for first in range(0, len(ids), _PAGE):
            page = ids[first : first + _PAGE]
            yield from task_lists.with_regions(label_studio, project_id, page)
            progress.update(len(page))


def _tell(report: Report, classes: int, folder: Path) -> int:
    """Print what was done. Returns the exit status."""
    if report.images:
        objects = f"{report.objects} objects of {classes} classes"
        print(f"{report.images} images with {objects} are in {folder}")
    else:
        print("error: nothing to export, so nothing was written", file=sys.stderr)
    for note, number in report.notes.items():
        if number:
            print(f"{number} {note}")
    status = tell_failures(report.failures)
    return status if report.images else 1


def _pixels(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1000:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number
