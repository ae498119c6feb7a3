"""Synthetic scenes against forgetting: the decoder learns to answer there as its base does.

Three parts of one endless series of scenes have the three roles of a project's tasks. So what was
forgotten is measured on scenes that were never learnt from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from tqdm import tqdm

from model.predictor import Predictor
from training.evaluation_datasets import synthetic_scenes
from training.labelled_images import LabelledDataset
from training.learning.lessons import Lessons, are_written, read_lessons, write_lessons
from training.learning.pictures import Picture, Role, pictures_of


@dataclass(frozen=True)
class Rehearsal:
    """The scenes of one checkpoint. All runs with this checkpoint share their lessons.

    Attributes:
        folder: holds the lessons, once :meth:`prepare` has written them.
        predictor: of the checkpoint.
        counts: how many scenes have each role.
    """

    folder: Path
    predictor: Predictor
    counts: Mapping[Role, int] = field(
        default_factory=lambda: {Role.JUDGE: 120, Role.WATCH: 24, Role.LEARN: 120}
    )

    def pictures(self, role: Role) -> list[Picture]:
        """The scenes of a role."""
        numbers = self._numbers(role)
        series = synthetic_scenes(numbers.stop)
        part = LabelledDataset("scenes", len(numbers), lambda index: series.load(numbers[index]))
        return pictures_of(part, self.predictor)

    def prepare(self) -> None:
        """Write the lessons, unless they are there."""
        for role in (Role.WATCH, Role.LEARN):
            if are_written(self._place(role)):
                continue
            # Another run may write the same at the same time.
            own = self._place(role).with_suffix(f".{os.getpid()}")
            scenes = tqdm(self.pictures(role), "synthetic scenes", unit="image", mininterval=1)
            write_lessons(own, scenes, self.predictor)
            try:
                own.rename(self._place(role))
            except OSError:  # the other run was faster
                shutil.rmtree(own)

    def lessons(self, role: Role) -> Lessons:
        """The lessons of a role."""
        return read_lessons(self._place(role), self.predictor)

    def _numbers(self, role: Role) -> range:
        """The numbers that the scenes of a role have in the series."""
        roles = takewhile(lambda other: other is not role, self.counts)
        before = sum(self.counts[other] for other in roles)
        return range(before, before + self.counts[role])

    def _place(self, role: Role) -> Path:
        """The folder of lessons. With other counts the scenes are others, and so is the folder."""
        numbers = self._numbers(role)
        return self.folder / f"{numbers.start}-{numbers.stop - 1}"
