"""What the writers of all formats share: objects as pixels, classes, and where images lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.formats.polygons import Mask, Polygon

IMAGES = "images"  # the folder of the images, below the folder of the export


@dataclass(frozen=True, eq=False)
class Object:
    """An object on an image.

    Attributes:
        class_index: 0 for the first class.
        label: the name of the class.
        mask: H x W, not empty.
        outline: one polygon without holes that lies on the image, as somebody drew it; None where
            the mask is all there is.
        annotation_id, region_id: where it comes from in Label Studio.
    """

    class_index: int
    label: str
    mask: Mask
    outline: Polygon | None
    annotation_id: int | None
    region_id: str


@dataclass(frozen=True)
class Place:
    """An image of the export.

    Attributes:
        name: of its files, without a suffix. No two images have the same.
        suffix: of the image file, with its dot; empty where nobody knows.
        task_id: the task that shows the image.
        size: (H, W), pixels; None where the format does not need the size and nobody knows it.
    """

    name: str
    suffix: str
    task_id: int | None
    size: tuple[int, int] | None

    @property
    def file_name(self) -> str:
        """Of the image file."""
        return self.name + self.suffix


class Classes:
    """The classes of an export. A label that is not known becomes the last class.

    Args:
        names: in the order of the labeling config.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._indices = {name: index for index, name in enumerate(names)}

    def index(self, label: str) -> int:
        """0 for the first class."""
        return self._indices.setdefault(label, len(self._indices))

    def __contains__(self, label: str) -> bool:
        return label in self._indices

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[str]:
        return iter(self._indices)


class Writer(Protocol):
    """Writes the files of one format into a folder of its own."""

    needs_size: bool
    """Whether :meth:`add` needs the size of images without objects."""

    def add(self, place: Place, objects: Iterable[Object]) -> None:
        """Write an image. Objects come one at a time, and should not be kept.

        Raises:
            OSError: a file cannot be written.
        """
        ...

    def finish(self, classes: Classes) -> None:
        """Write what belongs to all images.

        Raises:
            OSError: a file cannot be written.
        """
        ...
