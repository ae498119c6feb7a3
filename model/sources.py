"""What can be segmented: files, folders, globs, URLs, arrays, and lists of these."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
from PIL import Image

from model import downloads, image_files
from model.files import sentence

Pixels = npt.NDArray[np.uint8]
AnySource = str | os.PathLike[str] | npt.NDArray[Any] | Image.Image | Sequence[Any]


@dataclass(frozen=True)
class Source:
    """One image that has not been read yet.

    Attributes:
        name: for messages: the path or the URL, ``image 3`` for the third array.
        path: the path or the URL, None for an array.
        relative: the path below the folder that was given, or below the folders of a glob before
            its first ``*``; the file's name otherwise. It has forward slashes.
        read: gives the image, H x W x 3 uint8 RGB. Raises ValueError or OSError where the image
            cannot be read.
    """

    name: str
    path: str | None
    relative: PurePosixPath
    read: Callable[[], Pixels]

    def failure(self, error: Exception) -> str:
        """A sentence that says which image could not be worked on, and why."""
        said = sentence(error)
        return said if said.startswith(self.name) else f"{self.name}: {said}"


def resolve(source: AnySource) -> list[Source]:
    """Find the images of a source, without reading them.

    Args:
        source: the path of a file; the path of a folder, whose image files are taken with those of
            its folders, in the order of their names; a path with ``*``, ``?`` or ``[``, of which
            the image files that match are taken; a URL with http or https; an array, H x W x 3
            uint8 in **RGB** (OpenCV reads BGR: ``image[..., ::-1]`` turns that into RGB); a Pillow
            image; a list of these.

    Raises:
        ValueError: there is no image, or the source is of another type.
    """
    found: list[Source] = []
    _add(source, found)
    if not found:
        raise ValueError("there is no image: the list of sources is empty")
    return found


def _add(source: AnySource, found: list[Source]) -> None:
    if isinstance(source, str) and downloads.is_url(source):
        found.append(_url(source))
    elif isinstance(source, (str, os.PathLike)):
        found += _paths(source)
    elif isinstance(source, np.ndarray):
        image = image_files.check_array(source)
        found.append(_array(len(found), lambda: image))
    elif isinstance(source, Image.Image):
        found.append(_array(len(found), partial(image_files.from_pillow, source)))
    elif isinstance(source, (list, tuple)):
        for one in source:
            _add(one, found)
    else:
        raise ValueError(
            "a source must be a path, a URL, an array, a Pillow image or a list of these, not"
            f" {type(source).__name__}"
        )


def _paths(source: str | os.PathLike[str]) -> list[Source]:
    path = Path(source)
    if path.is_dir():
        inside = [
            one
            for one in sorted(path.rglob("*"))
            if _is_image(one) and not _is_hidden(one.relative_to(path))
        ]
        if not inside:
            raise ValueError(f"there is no image in the folder {path}")
        return [_file(one, one.relative_to(path)) for one in inside]
    if glob.has_magic(str(source)) and not path.exists():
        matches = [Path(one) for one in sorted(glob.glob(str(source), recursive=True))]
        matches = [one for one in matches if _is_image(one)]
        if not matches:
            raise ValueError(f"no image matches {source}")
        root = Path(*takewhile(lambda part: not glob.has_magic(part), path.parts))
        return [_file(one, one.relative_to(root)) for one in matches]
    return [_file(path, Path(path.name))]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in image_files.SUFFIXES and path.is_file()


def _is_hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _file(path: Path, relative: Path) -> Source:
    def read() -> Pixels:
        return image_files.decode(path.read_bytes(), str(path))

    return Source(str(path), str(path), PurePosixPath(relative.as_posix()), read)


def _url(url: str) -> Source:
    def read() -> Pixels:
        return image_files.decode(downloads.fetch(url), url)

    name = PurePosixPath(unquote(urlsplit(url).path)).name or "image"
    return Source(url, url, PurePosixPath(name), read)


def _array(index: int, read: Callable[[], Pixels]) -> Source:
    return Source(f"image {index + 1}", None, PurePosixPath(f"image-{index + 1}"), read)
