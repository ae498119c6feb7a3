"""Which decoder answers for a project, without a network: a decoder is a number here."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from backend import request_context
from backend.versions import project_decoders
from backend.versions.project_decoders import ProjectDecoders
from backend.versions.store import DecoderVersions
from model.checkpoint import Arrays
from model.decoder_file import DecoderRecord
from model.predictor import Predictor

ARRAYS: Arrays = {"mask_decoder.iou_token.weight": np.ones((1, 4), np.float32)}


@pytest.fixture
def base(record: DecoderRecord) -> Predictor:
    """Plays the predictor of the checkpoint that the record names."""
    checkpoint = SimpleNamespace(model_version="mobile-sam", fingerprint=record.parent)
    return cast(Predictor, SimpleNamespace(checkpoint=checkpoint, with_decoder=lambda _: None))


@pytest.fixture
def versions(tmp_path: Path, record: DecoderRecord) -> DecoderVersions:
    """Project 1 has an active version."""
    versions = DecoderVersions(tmp_path)
    versions.add(1, ARRAYS, record)
    versions.activate(1, 1)
    return versions


def test_many_other_projects_do_not_push_a_served_decoder_out(
    base: Predictor, versions: DecoderVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_decoders, "_WATCHED", 5)
    decoders = ProjectDecoders(base, versions, 2)
    assert decoders.of(1).number == 1
    for other in range(2, 12):
        assert decoders.of(other).number is None
    assert decoders.of(1, wait_s=0).number == 1
    versions.rollback(1)  # the project is watched again
    wait_until(lambda: decoders.of(1).number is None)


def test_the_log_names_the_team_whose_decoders_are_loaded(
    base: Predictor, versions: DecoderVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[object] = []
    load = versions.load

    def load_and_note(project_id: int, number: int) -> object:
        noted.append(request_context.fields().get("team"))
        return load(project_id, number)

    monkeypatch.setattr(versions, "load", load_and_note)
    assert ProjectDecoders(base, versions, 2, "red").of(1).number == 1
    assert noted == ["red"]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
