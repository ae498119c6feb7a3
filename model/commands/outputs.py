"""Where the results of a command go, for each format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from model.downloads import is_url
from model.files import write_atomically
from model.formats import label_studio
from model.results import Results, format_of
from model.sources import Source

# Formats with a file for each image, and the suffix of these files.
_SUFFIXES = {"overlay": ".png"}
# Formats with one file for all images.
_COLLECTED = ("label-studio",)
FORMATS = (*_SUFFIXES, *_COLLECTED)


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

    def __init__(self, path: Path, collect: Callable[[Source, Results], Any]) -> None:
        self._path = path
        self._collect = collect
        self._collected: list[Any] = []

    def add(self, source: Source, result: Results) -> None:
        """Keep the results of an image."""
        self._collected.append(self._collect(source, result))

    def __exit__(self, *error: object) -> None:
        """Write the file."""
        with write_atomically(self._path, mode=0o644) as file:
            file.write(json.dumps(self._collected).encode())


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
        paths = _paths(path, found, _SUFFIXES[name])
        for target in paths.values():
            format_of(target)
        return FilePerImage(paths, _save_overlay)
    if path.is_dir():
        raise ValueError(f"--format {name} writes one file, and {path} is a folder")
    urls = {one.name: _url(one, url_prefix) for one in found}

    def task(source: Source, result: Results) -> Any:
        objects = zip(result.each_mask(), map(float, result.scores), strict=True)
        return label_studio.task(
            urls[source.name], objects, label=label, model_version=model_version
        )

    return OneFile(path, task)


def _paths(path: Path, found: Sequence[Source], suffix: str) -> dict[str, Path]:
    """The file of each image, by the name of the image."""
    if len(found) == 1 and path.suffix and not path.is_dir():
        paths = {found[0].name: path}
    else:
        paths = {one.name: path / one.relative.with_suffix(suffix) for one in found}
    taken: dict[Path, str] = {}
    for image, target in paths.items():
        if target in taken:
            raise ValueError(f"{taken[target]} and {image} would both be written to {target}")
        taken[target] = image
    images = {Path(one.path).resolve() for one in found if one.path and not is_url(one.path)}
    for target in taken:
        if target.resolve() in images:
            raise ValueError(f"the image {target} would be overwritten: give another -o")
    return paths


def _url(source: Source, prefix: str | None) -> str:
    """Where Label Studio finds an image."""
    if source.path is not None and is_url(source.path):
        return source.path
    if prefix is None:
        raise ValueError(
            "--format label-studio needs --url-prefix for files: the part of an image's URL before"
            f" the path of the file {source.relative}, such as '/data/local-files/?d=photos/'"
        )
    return prefix + quote(os.fsencode(str(source.relative)))  # "#" and "+" mean other things


def _save_overlay(path: Path, result: Results) -> None:
    result.save(path)
