"""What a project's labeling config says of a task: its images, its tools and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from backend.images.image_ref import ImageRef
from backend.regions import config_tree
from backend.regions.controls import Control, ImageSource, Label, read_controls, read_images
from backend.regions.errors import UnanswerableRequestError
from backend.regions.outputs import (
    Output,
    Preannotation,
    candidates,
    choose,
    only_label,
    preannotation,
)


@dataclass(frozen=True)
class ShownImage:
    """An image of a task, and where the editor shows it.

    Attributes:
        ref: the image.
        to_name: the Image tag.
        item_index: the index in the tag's list; None where the tag shows a single image.
    """

    ref: ImageRef
    to_name: str
    item_index: int | None


@dataclass(frozen=True)
class LabelingConfig:
    """The parts of a labeling config that matter here.

    Attributes:
        controls: every control tag.
        image_variables: the Image tags that a control points to, by name.
        tree: all tags. It is never changed.
    """

    controls: tuple[Control, ...]
    image_variables: Mapping[str, ImageSource]
    tree: etree._Element = field(repr=False, compare=False)

    @classmethod
    def parse(cls, xml: str) -> LabelingConfig:
        """Read a labeling config.

        The tags of a Repeater are there once, with the names of the config: ``for_task`` makes
        those of a task.

        Raises:
            MalformedRequestError: the text is no labeling config.
        """
        return cls._of(config_tree.read(xml))

    @classmethod
    def _of(cls, tree: etree._Element, data: Any = None) -> LabelingConfig:
        controls = read_controls(tree, data)
        return cls(controls, read_images(tree, controls), tree)

    @property
    def images_per_task(self) -> int | None:
        """How many images each task shows; None where a task has lists of images."""
        has_lists = any(source.is_list for source in self.image_variables.values())
        if has_lists or config_tree.has_repeater(self.tree):
            return None
        return len(self.image_variables)

    def for_task(self, task: Mapping[str, Any]) -> LabelingConfig:
        """The config as the editor shows it for a task: Repeaters repeated, labels looked up.

        Raises:
            UnanswerableRequestError: the task has more than the Repeaters can repeat.
        """
        data = task.get("data")
        return self._of(config_tree.repeated(self.tree, data), data)

    def image_refs(self, task: Mapping[str, Any]) -> Iterator[ImageRef]:
        """Every image that a task shows.

        Raises:
            UnanswerableRequestError: after the last image, where the task has none for a tag.
        """
        for image in self.images(task):
            yield image.ref

    def images(self, task: Mapping[str, Any]) -> Iterator[ShownImage]:
        """Every image that a task shows, and where.

        Raises:
            UnanswerableRequestError: after the last image, where the task has none for a tag.
        """
        errors = []
        for to_name, source in self.for_task(task).image_variables.items():
            try:
                urls = _urls(task, to_name, source)
            except UnanswerableRequestError as error:
                errors.append(error)
                continue
            for index, url in enumerate(urls):
                if url:
                    yield ShownImage(_ref(task, url), to_name, index if source.is_list else None)
        if errors:
            raise errors[0]

    def image_ref(self, task: Mapping[str, Any], to_name: str, item_index: int = 0) -> ImageRef:
        """The image that a tag shows, of a list the image at ``item_index``.

        Raises:
            UnanswerableRequestError: the config or the task does not name one.
        """
        source = self.for_task(task).image_variables.get(to_name)
        if source is None:
            raise UnanswerableRequestError(
                f'the labeling config has no Image tag "{to_name}" with a value that a control'
                " points to"
            )
        urls = _urls(task, to_name, source)
        if item_index >= len(urls):
            raise UnanswerableRequestError(
                f'the region is on image {item_index + 1} of the tag "{to_name}", and the task has'
                f" {len(urls)}: reload the page"
            )
        if not urls[item_index]:
            raise UnanswerableRequestError(
                f'image {item_index + 1} of the tag "{to_name}" has no URL in the task\'s data'
            )
        return _ref(task, urls[item_index])

    def only_image(self) -> str:
        """The name of the only Image tag, for prompts that do not name an image.

        Raises:
            UnanswerableRequestError: there is none, or there are several.
        """
        if len(self.image_variables) != 1:
            raise UnanswerableRequestError(
                "the prompt does not say which image it is on, and the labeling config has"
                f" {len(self.image_variables)} Image tags that a control points to: leave one"
            )
        return next(iter(self.image_variables))

    def label(self, from_name: object, name: str) -> Label:
        """The label that a region from a control tag has: the region has the value or the alias.

        Where that tag has no such label, the tags beside it are asked: a point of KeyPoint has its
        label from Labels.
        """
        first = sorted(self.controls, key=lambda control: control.name != from_name)
        labels = (control.label_called(name) for control in first)
        return next((label for label in labels if label is not None), Label(name))

    def label_like(self, name: str) -> Label | None:
        """The label that another model means by a name; None where no tag has such a label.

        A value or an alias that is the same counts, or else one that differs in case only.
        """
        labels = [label for control in self.controls for label in control.labels]
        for same in (str, str.casefold):
            for label in labels:
                if same(name) in (same(label.value), same(label.name)):
                    return label
        takes_any = any(control.takes_any_label for control in self.controls)
        return Label(name) if takes_any else None

    @property
    def xml(self) -> str:
        """The labeling config as a text."""
        return str(etree.tostring(self.tree, encoding="unicode"))

    def labels_for_all(self, to_name: str, name: str | None) -> tuple[Label, ...]:
        """The label of masks that nobody has labelled (:func:`only_label`).

        Raises:
            UnanswerableRequestError: there are several labels, and none is named.
        """
        return only_label(self.controls, to_name, name)

    def preannotation(self) -> Preannotation | None:
        """The masks that are wanted where nobody has clicked (:func:`outputs.preannotation`).

        Raises:
            UnanswerableRequestError: the attribute has a value that is not allowed.
        """
        return preannotation(self.controls)

    def outputs(self, to_name: str) -> list[Control]:
        """The tags that may take the masks of an image, best first (:func:`candidates`).

        Raises:
            UnanswerableRequestError: an attribute of a tag has a value that is not allowed.
        """
        return candidates(self.controls, to_name)

    def output_for(self, to_name: str, labels: Sequence[Label]) -> Output:
        """The tag that takes the masks of an image with these labels (:func:`choose`).

        Raises:
            UnanswerableRequestError: there is no such tag, or its attributes have values that are
                not allowed.
        """
        return choose(self.controls, to_name, labels)


def whole_number(value: Any) -> int | None:
    """A whole number of 64 bits, such as an id of Label Studio; None for anything else.

    True and False are no numbers. Longer numbers would become long names of files and of counts.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -(2**63) <= value < 2**63 else None


def _ref(task: Mapping[str, Any], url: str) -> ImageRef:
    return ImageRef(url, whole_number(task.get("id")))


def _urls(task: Mapping[str, Any], to_name: str, source: ImageSource) -> list[str]:
    urls = source.urls(task.get("data"))
    if not urls:
        raise UnanswerableRequestError(
            f'the task\'s data has no image URL under "{source.value.lstrip("$")}", which the'
            f' Image tag "{to_name}" asks for'
        )
    return urls
