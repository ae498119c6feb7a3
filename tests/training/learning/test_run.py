"""A run learns what its team outlines, also when it was stopped in the middle."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.network.checkpoint import read_network
from model.predictor import Predictor
from training.learning import decoder, run
from training.learning.decoder import DecoderTrainer, Recipe
from training.learning.pictures import Picture, Role
from training.learning.rehearsal import Rehearsal
from training.learning.run import Progress, prepare, train

pytestmark = pytest.mark.slow

RECIPE = Recipe(steps=12, learning_rate=5e-4, objects=4, scene_objects=2, corrections=1)


@pytest.fixture(scope="module")
def rehearsal(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    counts = {Role.JUDGE: 1, Role.WATCH: 1, Role.LEARN: 2}
    made = Rehearsal(tmp_path_factory.mktemp("scenes"), predictor, counts)
    made.prepare()
    return made


@pytest.fixture(scope="module")
def prepared(
    predictor: Predictor,
    eggs: Callable[[int], list[Picture]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("run")
    assert prepare(folder, eggs(10), predictor) == []
    return folder


def test_the_watched_tasks_get_better_and_the_best_decoder_is_kept(
    prepared: Path, rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_CHECK_STEPS", 6)
    monkeypatch.setattr(decoder, "_WARM_UP_STEPS", 1)
    monkeypatch.setattr(run, "_ALLOWED_LOSS", 1.0)  # two scenes say little
    seen: list[Progress] = []
    tensors = train(prepared, rehearsal, RECIPE, "cpu", 10, seen.append)
    assert [one.steps for one in seen[:12]] == list(range(1, 13))
    last = seen[-1]
    assert last.is_done
    assert last.first is not None and last.best is not None
    assert last.best > last.first + 0.02
    base = DecoderTrainer(read_network(rehearsal.predictor.checkpoint.path), RECIPE, "cpu")
    assert any((tensors[name] != value).any() for name, value in base.tensors().items())


def test_a_decoder_that_forgets_the_scenes_is_not_kept(
    predictor: Predictor, eggs: Callable[[int], list[Picture]], rehearsal: Rehearsal,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(run, "_ALLOWED_LOSS", -1.0)
    prepare(tmp_path, eggs(10), predictor)
    tensors = train(tmp_path, rehearsal, RECIPE, "cpu", minutes=0)
    base = DecoderTrainer(read_network(predictor.checkpoint.path), RECIPE, "cpu")
    assert all((tensors[name] == value).all() for name, value in base.tensors().items())


def test_a_stopped_run_ends_as_if_it_had_not_been_stopped(
    predictor: Predictor, eggs: Callable[[int], list[Picture]], rehearsal: Rehearsal,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(run, "_CHECK_STEPS", 2)
    monkeypatch.setattr(run, "_ALLOWED_LOSS", 1.0)
    results = []
    for name, stops_at in (("whole", None), ("stopped", 3)):
        folder = tmp_path / name
        prepare(folder, eggs(10), predictor)

        def note(progress: Progress, stops_at: int | None = stops_at) -> None:
            if progress.steps == stops_at:
                raise KeyboardInterrupt

        recipe = Recipe(steps=5, learning_rate=5e-4, objects=2, scene_objects=1, corrections=1)
        if stops_at is not None:
            with pytest.raises(KeyboardInterrupt):
                train(folder, rehearsal, recipe, "cpu", 10, note)
        seen: list[Progress] = []
        results.append(train(folder, rehearsal, recipe, "cpu", 10, seen.append))
        assert seen[0].steps == (1 if stops_at is None else 3)  # the state was of step 2
    for name, value in results[0].items():
        assert np.abs(value - results[1][name]).max() < 1e-6


def test_without_an_object_to_learn_there_is_a_sentence(
    predictor: Predictor, rehearsal: Rehearsal, tmp_path: Path
) -> None:
    prepare(tmp_path, [], predictor)
    with pytest.raises(ValueError, match="outline larger ones"):
        train(tmp_path, rehearsal, RECIPE, "cpu", 10)
