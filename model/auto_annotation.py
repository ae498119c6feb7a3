"""Boxes of a detector to YOLO segmentation labels, for a whole folder of images.

A label file has a row for each box, in the order and with the class of the boxes: ``class x1 y1 x2
y2 ...``, fractions of the image. A box for which the network finds no mask becomes its rectangle:
a missing row would teach a network that there is background. A box that says no place in the image
(no area, outside, no number) has no row. The report names both. An image without boxes gets an
empty file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from model import detections, sources
from model.detections import CLASS_NAMES, Detection, Detections, Detector
from model.files import write_atomically
from model.formats import yolo
from model.formats.rings import Ring
from model.mobile_sam import MobileSAM
from model.results import POLYGON_TOLERANCE
from model.sources import Source


@dataclass
class Report:
    """What :func:`auto_annotate` has done.

    Attributes:
        output: the folder of the label files.
        written: how many label files were written.
        skipped: how many label files were there before.
        objects: how many rows were written.
        joined: how many of these objects have holes or several parts. In their rows, lines of no
            width join the rings, as a row of YOLO holds one ring.
        rectangles: boxes without a mask, whose rectangle was written, as sentences.
        left_out: boxes without a row, as sentences.
        failed: images without a label file, as sentences.
        unmatched: what the detections say about other images, as sentences.
    """

    output: Path
    written: int = 0
    skipped: int = 0
    objects: int = 0
    joined: int = 0
    rectangles: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


def auto_annotate(
    sam: MobileSAM,
    folder: str | Path,
    boxes: str | Path | Detector,
    output: str | Path | None = None,
) -> Report:
    """Write a YOLO segmentation label file for each image of a folder, with a progress bar.

    A label file appears complete or not at all. An image that has one is skipped, so a run that was
    interrupted can be started again.

    Args:
        sam: the loaded checkpoint.
        folder: of the images; those of its folders count too.
        boxes: a folder of YOLO detection labels or a COCO file (:mod:`model.detections`), or a
            function from an image, H x W x 3 uint8 RGB, to pairs of a class and a box (x0, y0, x1,
            y1) in pixels.
        output: the folder for the label files; by default ``<folder>_segmentation_labels`` beside
            the folder. Where the names of the classes are known, ``classes.txt`` in it has them.

    Raises:
        ValueError: there is no image, the detections cannot be read or are about no image here,
            two label files would have one name, or the output folder holds labels of another kind.
        OSError: a folder or a file is not there, or cannot be written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder")
    known = detections.Called(boxes) if callable(boxes) else detections.read(Path(boxes))
    target = folder.parent / f"{folder.name}_segmentation_labels" if output is None else output
    report = Report(Path(target))
    if not callable(boxes) and report.output.resolve() == Path(boxes).resolve():
        raise ValueError(f"{boxes} has the boxes and would be overwritten: give another output")
    found = sources.resolve(folder)
    paths = _label_paths(found, report.output)
    report.unmatched = known.check(found)
    if known.class_names:
        _write(report.output / CLASS_NAMES, known.class_names)
    for source in tqdm(found, unit="image", desc="annotating"):
        path = paths[source.name]
        if path.exists():
            _check_segments(path)
            report.skipped += 1
            continue
        try:
            rows = _rows(sam, source, known, report)
        except (OSError, ValueError) as error:
            report.failed.append(source.failure(error))
            continue
        _write(path, rows)
        report.written += 1
        report.objects += len(rows)
    return report


def _label_paths(found: Sequence[Source], output: Path) -> dict[str, Path]:
    paths = {source.name: output / source.relative.with_suffix(".txt") for source in found}
    taken = {output / CLASS_NAMES: "the names of the classes"}
    for name, path in paths.items():
        if path in taken:
            raise ValueError(f"{taken[path]} and {name} would both have the label file {path}")
        taken[path] = name
    return paths


def _check_segments(path: Path) -> None:
    """Refuse a file that holds boxes: its image would count as done."""
    for line in path.read_text().splitlines():
        count = len(line.split())
        if count < 7 or count % 2 == 0:
            raise ValueError(
                f"{path} is there already and holds no segmentation labels: give another output"
                " folder"
            )


def _rows(sam: MobileSAM, source: Source, known: Detections, report: Report) -> list[str]:
    """The rows of one image."""
    image = source.read()
    found = known.of(source, image)
    size = image.shape[0], image.shape[1]
    usable = []
    for number, detection in enumerate(found, start=1):
        reason = _why_unusable(detection, size)
        if reason is None:
            usable.append((number, detection))
        else:
            report.left_out.append(f"{_named(source, number, detection)}: {reason}")
    if not usable:
        return []
    result = sam.open(image).segment(bboxes=[detection.box for _, detection in usable])
    rows = []
    for (number, detection), mask in zip(usable, result.each_mask(), strict=True):
        rings = yolo.rings_of(mask, POLYGON_TOLERANCE) if mask.any() else []
        if not rings:
            rings = [_rectangle(detection, size)]
            report.rectangles.append(f"{_named(source, number, detection)}: no mask was found")
        report.joined += len(rings) > 1
        rows.append(yolo.row(detection.class_id, rings, size))
    return rows


def _why_unusable(detection: Detection, size: tuple[int, int]) -> str | None:
    height, width = size
    x0, y0, x1, y1 = detection.box
    if not all(map(math.isfinite, detection.box)):
        return "its box has a number that is not finite"
    if x1 <= x0 or y1 <= y0:
        return "its box has no area"
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        return "its box is outside the image"
    return None


def _rectangle(detection: Detection, size: tuple[int, int]) -> Ring:
    """The box, cut at the edges of the image."""
    height, width = size
    x0, y0, x1, y1 = np.clip(detection.box, 0, [width, height, width, height])
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _named(source: Source, number: int, detection: Detection) -> str:
    return f"{source.name}, box {number} (class {detection.class_id})"


def _write(path: Path, lines: Iterable[str]) -> None:
    with write_atomically(path, mode=0o644) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
