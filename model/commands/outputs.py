"""Where the results of a command go, for each format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from model import image_files
from model.commands.documents import Coco, Document, Listing, Tasks
from model.downloads import is_url
from model.files import write_atomically
from model.formats import index_png, yolo
from model.results import POLYGON_TOLERANCE, Results, format_of
from model.sources import Source

# Formats with a file for each image, and the suffix of these files.
_SUFFIXES = {"overlay": ".png", "png": ".png", "yolo": ".txt"}
# Formats with one file for all images.
_DOCUMENTS = ("json", "coco", "label-studio")
FORMATS = (*_SUFFIXES, *_DOCUMENTS)


class Output(AbstractContextManager["Output"]):
    """Takes the results of the images one after the other. This class writes nothing."""

    def add(self, source: Source, result: Results) -> None:
        """Write the results of an image, or keep them for the end."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write what is left."""


class FilePerImage(Output):
    """Writes a file for each image at once."""

    def __init__(self, paths: dict[str, Path], write: Callable[[Path, Results], None]) -> None:
        self._paths = paths
        self._write = write

    def add(self, source: Source, result: Results) -> None:
        """Write the file of an image."""
        self._write(self._paths[source.name], result)


class OneFile(Output):
    """Writes one file at the end, also after an interruption: nothing that was done is lost."""

    def __init__(self, path: Path, document: Document) -> None:
        self._path = path
        self._document = document

    def add(self, source: Source, result: Results) -> None:
        """Keep the results of an image."""
        self._document.add(source, result)

    def __exit__(self, *error: object) -> None:
        """Write the file."""
        _write(self._path, json.dumps(self._document.content()).encode())


def open_output(
    name: str,
    path: Path | None,
    found: Sequence[Source],
    *,
    label: str,
    url_prefix: str | None,
    model_version: str,
) -> Output:
    """The output of a format.

    Args:
        name: one of :data:`FORMATS`.
        path: the file, or the folder where the format has a file for each of several images.
            None for no output.
        found: all images that will be added.
        label: of all objects.
        url_prefix: of files in tasks of Label Studio.
        model_version: the name of the weights.

    Raises:
        ValueError: the path does not fit the format, two images would have one file, or an image
            would be overwritten.
    """
    if path is None:
        return Output()
    if name in _SUFFIXES:
        return FilePerImage(_paths(name, path, found), _WRITERS[name])
    if path.is_dir():
        raise ValueError(f"--format {name} writes one file, and {path} is a folder")
    _check_images(found, [path])
    if name == "json":
        return OneFile(path, Listing())
    if name == "coco":
        _check_distinct({one.name: Path(one.relative) for one in found})
        return OneFile(path, Coco(label))
    return OneFile(path, Tasks(found, label, url_prefix, model_version))


def _paths(name: str, path: Path, found: Sequence[Source]) -> dict[str, Path]:
    """The file of each image, by the name of the image."""
    if len(found) == 1 and path.suffix and not path.is_dir():
        paths = {found[0].name: path}
        if name != "yolo":
            format_of(path)
    else:
        _check_folder(path, len(found))
        paths = {one.name: path / one.relative.with_suffix(_SUFFIXES[name]) for one in found}
    _check_distinct(paths)
    _check_images(found, paths.values())
    return paths


def _check_folder(path: Path, count: int) -> None:
    """Refuse the name of a file where a folder is needed."""
    is_named_as_file = path.suffix.lower() in (*image_files.SUFFIXES, ".txt")
    if count > 1 and (path.is_file() or (is_named_as_file and not path.is_dir())):
        raise ValueError(f"-o must be a folder for {count} images, and {path} is a file's name")


def _check_distinct(paths: Mapping[str, Path]) -> None:
    taken: dict[Path, str] = {}
    for image, target in paths.items():
        if target in taken:
            raise ValueError(f"{taken[target]} and {image} would both be {target}")
        taken[target] = image


def _check_images(found: Sequence[Source], targets: Iterable[Path]) -> None:
    images = {Path(one.path).resolve() for one in found if one.path and not is_url(one.path)}
    for target in targets:
        if target.resolve() in images:
            raise ValueError(f"the image {target} would be overwritten: give another -o")


def _write_overlay(path: Path, result: Results) -> None:
    result.save(path)


def _write_index_png(path: Path, result: Results) -> None:
    """A PNG of the objects' numbers, 1 for the first; 0 is the background."""
    if path.suffix.lower() != ".png":
        raise ValueError(f"--format png writes PNG files, and {path} is none")
    if len(result) > index_png.MAX_CLASSES:
        raise ValueError(
            f"--format png holds {index_png.MAX_CLASSES} objects, and there are {len(result)}: use"
            " another format, or --max-masks"
        )
    masks = list(result.each_mask())
    numbers = index_png.class_map(masks, range(1, len(masks) + 1), result.original_size)
    _write(path, index_png.encode_index_png(numbers))


def _write_yolo(path: Path, result: Results) -> None:
    """A row of class 0 for each object. Empty masks are left out."""
    rows = [
        yolo.row(0, yolo.rings_of(mask, POLYGON_TOLERANCE), result.original_size)
        for mask in result.each_mask()
        if mask.any()
    ]
    _write(path, "".join(f"{row}\n" for row in rows).encode())


def _write(path: Path, content: bytes) -> None:
    with write_atomically(path, mode=0o644) as file:
        file.write(content)


_WRITERS = {"overlay": _write_overlay, "png": _write_index_png, "yolo": _write_yolo}
