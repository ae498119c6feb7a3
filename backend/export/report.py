"""What an export wrote, what it left out on purpose, and what it could not write."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Note(StrEnum):
    """Something that the user may not expect. Each is the end of a sentence with a number."""

    NOT_ANNOTATED = "tasks without an annotation: left out"
    SKIPPED = "tasks that annotators skipped: left out"
    NO_GROUND_TRUTH = "annotated tasks without a ground truth: left out"
    OTHER_ANNOTATIONS = "annotations of tasks that have a better or newer annotation: left out"
    PROMPTS = "boxes of tags that prompt the backend: left out (--tag NAME exports them)"
    OTHER_TAGS = "objects of tags that --tag does not name: left out"
    NO_SHAPE = "points and other regions that have no area: left out"
    NO_PIXELS = "regions without a single pixel: left out"
    SEVERAL_LABELS = "objects with several labels: written once for each label"
    OTHER_LABELS = (
        "objects with labels that the labeling config does not have: their classes come last"
    )
    JOINED = "objects of several parts: lines one pixel wide join the parts"
    HIDDEN = "objects that hide pixels of other classes, on which they lie"


@dataclass
class Report:
    """What became of the tasks.

    Attributes:
        images: how many were written.
        objects: how many were written.
        notes: how often there was what.
        failures: name and reason of what could not be written.
    """

    images: int = 0
    objects: int = 0
    notes: Counter[Note] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
