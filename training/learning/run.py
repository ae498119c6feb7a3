"""One run of the learning: prepared once, stopped and taken up again at any time.

All that a run needs to go on is in its folder. A killed process loses at most the steps since the
last save.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch
from tqdm import tqdm

from model.files import write_atomically
from model.network.checkpoint import read_network
from model.predictor import Predictor
from training.learning.decoder import DecoderTrainer, Recipe
from training.learning.lessons import Lessons, are_written, read_lessons, write_lessons
from training.learning.pictures import Picture, Role, by_role
from training.learning.rehearsal import Rehearsal

Tensors = dict[str, npt.NDArray[np.float32]]

_SAVE_S = 20.0
_CHECK_STEPS = 50  # between two looks at the watched tasks
_PATIENCE = 4  # looks without progress
_WATCHED = 96  # lessons of watched tasks
_WATCHED_SCENES = 96  # lessons
# Annotators get the mask of a small object from its crop. The whole image only says where to crop.
# With 1.0, the nuclei of docs/learning.md take 8.75 clicks and not 8.33 (weights of drawn scenes).
_SMALL_IN_WHOLE = 0.2
_ALLOWED_LOSS = 0.005  # IoU on the watched scenes; the gate allows twice as much
_SHARES = (1.0, 0.7, 0.5, 0.3)  # of the way from the base
_STATE, _BEST = "state.pt", "best.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        steps: done.
        seconds: of training, in all processes of the run together.
        best_step: the step of the best decoder so far; 0 is the base.
        best, first: mean IoU on the watched tasks of that decoder and of the base; None without
            watched tasks.
        scenes: mean IoU of the base on the watched scenes.
        is_done: whether the training has ended.
    """

    steps: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best: float | None = None
    first: float | None = None
    scenes: float = 0.0
    is_done: bool = False


def prepare(folder: Path, pictures: Sequence[Picture], predictor: Predictor) -> list[str]:
    """Write the lessons of a project, unless the folder of the run has them.

    Returns:
        A sentence for each image that is not available.
    """
    failures = []
    for role in (Role.LEARN, Role.WATCH):
        if not are_written(_place(folder, role)):
            of_role = by_role(pictures)[role]
            shown = tqdm(of_role, f"images {role.value}", unit="image", mininterval=1)
            failures += write_lessons(
                _place(folder, role), shown, predictor, small_in_whole=_SMALL_IN_WHOLE
            )
    return failures


def _place(folder: Path, role: Role) -> Path:
    return folder / role.name.lower()


def train(
    folder: Path,
    rehearsal: Rehearsal,
    recipe: Recipe,
    device: str,
    minutes: float,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Tensors:
    """Train until the steps or the minutes are used up, or the watched tasks get no better.

    Args:
        folder: what :func:`prepare` has written, and the state of a run that was stopped.
        rehearsal: the scenes of the checkpoint that the decoder begins as.
        recipe: how to learn.
        device: ``cpu`` or ``cuda``.
        minutes: the longest training, all processes of the run together.
        on_progress: is called after each step.

    Returns:
        The tensors of the best decoder.

    Raises:
        ValueError: no object of the tasks to learn from is large enough for the network.
    """
    predictor = rehearsal.predictor
    own, watched = (
        read_lessons(_place(folder, role), predictor) for role in (Role.LEARN, Role.WATCH)
    )
    scenes = rehearsal.lessons(Role.LEARN)
    if not len(own):
        raise ValueError(
            "no object of the tasks to learn from covers enough of its image: outline larger ones"
        )
    trainer = DecoderTrainer(read_network(predictor.checkpoint.path), recipe, device)
    watched_scenes = rehearsal.lessons(Role.WATCH)
    state = _State(folder, trainer, watched.first(_WATCHED), watched_scenes.first(_WATCHED_SCENES))
    with tqdm(total=recipe.steps, desc="learning", unit="step", mininterval=1) as bar:
        bar.update(state.progress.steps)
        while not state.progress.is_done:
            done = state.progress.seconds / (60 * minutes) if minutes else 1.0
            progress = max(trainer.step / recipe.steps, done)
            if progress < 1:
                trainer.train_step(own, scenes, progress)
                bar.update()
            state.note_step(is_last=progress >= 1)
            on_progress(state.progress)
    return safetensors.numpy.load_file(folder / _BEST)


class _State:
    """What outlives the process: the trainer, the best decoder so far, and the clock."""

    def __init__(
        self, folder: Path, trainer: DecoderTrainer, watched: Lessons, scenes: Lessons
    ) -> None:
        self._path = folder / _STATE
        self._best_path = folder / _BEST
        self._trainer = trainer
        self._watched = watched
        self._scenes = scenes
        self._begun = self._saved = time.monotonic()
        self._seconds_before = 0.0
        self.progress = Progress()
        if self._path.exists():
            saved = torch.load(self._path, weights_only=True)
            trainer.restore(saved["trainer"])
            self.progress = Progress(**saved["progress"])
            self._seconds_before = self.progress.seconds
        else:
            score = self._score(watched)
            self.progress = Progress(best=score, first=score, scenes=self._score(scenes) or 0.0)
            self._keep_best()

    def note_step(self, *, is_last: bool) -> None:
        """Look at the watched tasks and save, where it is time to."""
        seconds = self._seconds_before + time.monotonic() - self._begun
        self._change(steps=self._trainer.step, seconds=seconds)
        is_due = is_last or self._trainer.step % _CHECK_STEPS == 0
        if is_due:
            self._check(is_last=is_last)
        if is_due or time.monotonic() - self._saved > _SAVE_S:
            self._save()

    def _check(self, *, is_last: bool) -> None:
        """Keep the decoder if it is the best so far and has not forgotten what the base knows.

        A decoder that has forgotten too much goes back towards the base until it knows enough.
        """
        for share in _SHARES:
            loss = self.progress.scenes - (self._score(self._scenes, share) or 0.0)
            if loss <= _ALLOWED_LOSS:
                score = self._score(self._watched, share)
                if score is None or self.progress.best is None or score > self.progress.best:
                    self._change(best=score, best_step=self._trainer.step)
                    self._keep_best(share)
                break
        waited = self._trainer.step - self.progress.best_step
        self._change(is_done=is_last or waited >= _PATIENCE * _CHECK_STEPS)

    def _score(self, lessons: Lessons, share: float = 1.0) -> float | None:
        ious = self._trainer.mean_ious(lessons, share)
        return float(np.mean(ious)) if ious else None

    def _change(self, **fields: Any) -> None:
        self.progress = Progress(**{**vars(self.progress), **fields})

    def _keep_best(self, share: float = 1.0) -> None:
        with write_atomically(self._best_path) as file:
            file.write(safetensors.numpy.save(self._trainer.tensors(share)))

    def _save(self) -> None:
        state: Mapping[str, Any] = {
            "trainer": self._trainer.state(),
            "progress": vars(self.progress),
        }
        with write_atomically(self._path) as file:
            torch.save(state, file)
        self._saved = time.monotonic()
