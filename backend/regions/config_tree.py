"""A labeling config as a tree of tags: read from text without risk, repeated as a task asks."""

from __future__ import annotations

import copy
from typing import Any

from lxml import etree

from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.task_data import looked_up

_MAX_CHARACTERS = 4 << 20
_MAX_COPIES = 10_000  # of what stands in Repeaters, in one task; the editor draws far fewer
_INDEX_FLAG = "{{idx}}"

# The editor reads names in any case. These are the spellings that the backend looks for.
_TAGS = {name.lower(): name for name in ("Image", "Label", "Labels", "Repeater", "Filter")}
_ATTRIBUTES = {
    name.lower(): name for name in ("toName", "valueList", "indexFlag", "allowEmpty", "apiUrl")
}


def read(xml: str) -> etree._Element:
    """The tags of a labeling config, without comments.

    The text may come from anybody: entities are not resolved, nothing is fetched, and the size
    and the depth (256 tags, a limit of libxml2) are bounded.

    Raises:
        MalformedRequestError: the text is no labeling config; says where.
    """
    if len(xml) > _MAX_CHARACTERS:
        raise MalformedRequestError(f"label_config is longer than {_MAX_CHARACTERS} characters")
    if "<!DOCTYPE" in xml:  # attributes have entities replaced whatever the parser is told
        raise MalformedRequestError("label_config has a <!DOCTYPE>, and must have none: remove it")
    try:
        xml.encode()
    except UnicodeEncodeError as error:
        raise MalformedRequestError(
            f"label_config has half a character (a lone surrogate) at {error.start}: remove it"
        ) from error
    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
    )
    try:
        return _as_the_editor_reads(etree.fromstring(xml, parser))
    except etree.XMLSyntaxError as error:
        raise MalformedRequestError(
            f"label_config cannot be read as a labeling config: {error.msg}"
        ) from error
    except ValueError as error:  # Label Studio refuses it too
        raise MalformedRequestError(
            "label_config declares an encoding in <?xml ...?>, and must not: remove it"
        ) from error


def _as_the_editor_reads(tree: etree._Element) -> etree._Element:
    """The tags without a default namespace and with names in one case. Text counts as a value."""
    for tag in tree.iter("*"):
        if tag.prefix is None:
            name = etree.QName(tag).localname
            tag.tag = _TAGS.get(name.lower(), name)
        attributes = {
            _ATTRIBUTES.get(name.lower(), name.lower()): value for name, value in tag.items()
        }
        text = (tag.text or "").strip()
        if text and len(tag) == 0:
            attributes["value"] = text
        tag.attrib.clear()
        tag.attrib.update(attributes)
    return tree


def has_repeater(tree: etree._Element) -> bool:
    """Whether a task decides how many tags there are."""
    return next(tree.iter("Repeater"), None) is not None


def repeated(tree: etree._Element, data: Any) -> etree._Element:
    """The tags that the editor makes of a task: those of a Repeater, for each item of its list.

    Args:
        tree: it stays as it is.
        data: the task's data.

    Raises:
        UnanswerableRequestError: the lists are too long.
    """
    if not has_repeater(tree):
        return tree
    root = etree.Element("View")
    root.append(copy.deepcopy(tree))
    room = _MAX_COPIES
    while (repeater := next(root.iter("Repeater"), None)) is not None:
        items = looked_up(data, repeater.get("on", "").removeprefix("$"))
        count = len(items) if isinstance(items, list) else 0
        room -= count
        if room < 0:
            raise UnanswerableRequestError(
                f"the Repeaters of the labeling config make more than {_MAX_COPIES} copies of their"
                " tags for this task: make the task shorter"
            )
        parent = repeater.getparent()
        place = parent.index(repeater)
        parent[place : place + 1] = [
            _with_index(tag, repeater.get("indexFlag") or _INDEX_FLAG, index)
            for index in range(count)
            for tag in repeater
        ]
    return root


def _with_index(tag: etree._Element, flag: str, index: int) -> etree._Element:
    """A copy that has the number of an item wherever the flag stands in an attribute."""
    made = copy.deepcopy(tag)
    for each in made.iter():
        for name, value in each.attrib.items():
            if flag in value:
                each.set(name, value.replace(flag, str(index)))
    return made
