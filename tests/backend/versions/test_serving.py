"""Each project is answered by its own decoder, in every worker of every host, without a restart."""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.versions.store import DecoderVersions
from model.checkpoint import Arrays
from model.decoder_file import DecoderRecord

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def learnt(base_arrays: Arrays) -> Callable[[int], Arrays]:
    """Makes decoders that differ from each other and from the base."""

    def make(seed: int) -> Arrays:
        rng = np.random.default_rng(seed)
        arrays = dict(base_arrays)
        for name in arrays:
            if "hypernetworks" in name and name.endswith("layers.2.bias"):
                shift = rng.standard_normal(arrays[name].shape, dtype=np.float32)
                arrays[name] = arrays[name] + 2 * shift
        return arrays

    return make


@pytest.fixture(scope="module")
def url(
    tmp_path_factory: pytest.TempPathFactory,
    serve: Callable[[Path], str],
    square: Callable[..., Image.Image],
) -> str:
    folder = tmp_path_factory.mktemp("pictures")
    square().save(folder / "square.png")
    return f"{serve(folder)}/square.png"


@pytest.fixture(scope="module")
def click_in(url: str, click_at: Callable[[str], dict]) -> Callable[..., dict]:
    """The body of one click, or of two clicks, in a task of a project."""

    def make(project_id: int | None, clicks: int = 1) -> dict:
        body = click_at(url)
        if project_id is not None:
            body["tasks"][0]["project"] = project_id
        (region,) = body["params"]["context"]["result"]
        second = {**region, "is_positive": False, "value": {**region["value"], "x": 90}}
        body["params"]["context"]["result"] = [region, second][:clicks]
        return body

    return make


def answer(backend, body: dict) -> tuple[str, list[int]]:
    """The model version and the brush RLE that a click gets."""
    (prediction,) = backend.client.post("/predict", json=body).json()["results"]
    regions = prediction["result"]
    return prediction["model_version"], regions[0]["value"]["rle"] if regions else []


def wait_until(condition: Callable[[], bool], what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def test_projects_that_are_answered_at_once_do_not_mix(
    tmp_path: Path, start_backend, learnt, record: DecoderRecord, click_in
) -> None:
    versions = DecoderVersions(tmp_path / "projects")
    for project in (1, 2):
        versions.add(project, learnt(project), record)
        versions.activate(project, 1)
    backend = start_backend(MODEL_DIR=str(tmp_path), WORKERS="2", LEARNT_DECODERS="2")
    bodies = [click_in(project, clicks) for project in (1, 2, 3) for clicks in (1, 2)]
    expected = [answer(backend, body) for body in bodies]
    assert [version for version, _ in expected] == [
        *["mobile-sam-builtin v1 of project 1"] * 2,
        *["mobile-sam-builtin v1 of project 2"] * 2,
        *["mobile-sam-builtin"] * 2,
    ]
    for (_, one), (_, other) in itertools.combinations(expected, 2):
        assert one != other

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda body: answer(backend, body), bodies * 30))

    assert found == expected * 30
    assert backend.count("mobilesam_encodes_total") == 1  # one embedding serves all of them


def test_a_worker_with_more_projects_than_it_keeps_loads_them_again(
    tmp_path: Path, start_backend, learnt, record: DecoderRecord, click_in
) -> None:
    versions = DecoderVersions(tmp_path / "projects")
    for project in (1, 2, 3):
        versions.add(project, learnt(project), record)
        versions.activate(project, 1)
    backend = start_backend(MODEL_DIR=str(tmp_path), LEARNT_DECODERS="1")
    bodies = [click_in(project) for project in (1, 2, 3)]
    first = [answer(backend, body) for body in bodies]
    assert [version[-9:] for version, _ in first] == ["project 1", "project 2", "project 3"]
    assert [answer(backend, body) for body in bodies] == first


def test_workers_follow_an_activation_and_a_rollback(
    tmp_path: Path, start_backend, learnt, record: DecoderRecord, click_in, recorded
) -> None:
    backend = start_backend(MODEL_DIR=str(tmp_path), WORKERS="2")
    body = click_in(None)
    body["project"] = "1.1795392040"
    base = answer(backend, body)
    assert base[0] == "mobile-sam-builtin"
    versions = DecoderVersions(tmp_path / "projects")  # as another process sees them

    def is_served(version: str) -> bool:
        """Whether both workers do: every request is taken by one of them by chance."""
        return all(answer(backend, body)[0] == version for _ in range(20))

    for number in (1, 2):
        versions.add(1, learnt(number), record)
        versions.activate(1, number)
        name = f"mobile-sam-builtin v{number} of project 1"
        wait_until(lambda name=name: is_served(name), lambda: backend.log)
    assert answer(backend, body)[1] != base[1]
    setup = recorded("setup")["json"]
    assert backend.client.post("/setup", json=setup).json()["model_version"] == name
    assert backend.client.get("/versions").json() == {"versions": ["mobile-sam-builtin", name]}
    assert "project 1: v2 (of v1, v2)" in backend.client.get("/status").text

    versions.rollback(1)
    versions.rollback(1)
    wait_until(lambda: is_served("mobile-sam-builtin"), lambda: backend.log)
    assert answer(backend, body) == base


def test_hosts_with_other_folders_follow_through_redis(
    tmp_path: Path, start_backend, learnt, record: DecoderRecord, click_in, redis_server
) -> None:
    url = redis_server[1]
    hosts = [
        start_backend(MODEL_DIR=str(tmp_path / name), REDIS_URL=url, CACHE_DIR=str(tmp_path / name))
        for name in ("a", "b")
    ]
    body = click_in(1)
    assert {answer(host, body)[0] for host in hosts} == {"mobile-sam-builtin"}
    versions = DecoderVersions(tmp_path / "a" / "projects", url)
    versions.add(1, learnt(1), record)
    versions.activate(1, 1)
    name = "mobile-sam-builtin v1 of project 1"
    for host in hosts:
        wait_until(lambda host=host: answer(host, body)[0] == name, lambda: hosts[1].log)
    masks = [answer(host, body)[1] for host in hosts]
    assert masks[0] == masks[1]


def test_a_version_of_another_checkpoint_never_serves(
    tmp_path: Path, start_backend, learnt, record: DecoderRecord, click_in
) -> None:
    versions = DecoderVersions(tmp_path / "projects")
    versions.add(1, learnt(1), replace(record, parent="0123456789abcdef" * 4))
    versions.activate(1, 1)
    backend = start_backend(MODEL_DIR=str(tmp_path))
    assert answer(backend, click_in(1)) == answer(backend, click_in(None))
    sentence = "version 1 of project 1 does not serve: it was learnt from another checkpoint"
    assert sentence in backend.log
    assert sentence in backend.client.get("/status").text


def test_masks_without_a_click_come_from_the_decoder_of_the_project_too(
    tmp_path: Path, start_backend, learnt, record: DecoderRecord, url: str
) -> None:
    versions = DecoderVersions(tmp_path / "projects")
    versions.add(1, learnt(1), record)
    versions.activate(1, 1)
    backend = start_backend(MODEL_DIR=str(tmp_path))
    box = {
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "value": {"x": 30, "y": 25, "width": 40, "height": 50, "rectanglelabels": ["Object"]},
    }
    config = (
        '<View><Image name="image" value="$image"/>'
        '<BrushLabels name="tag" toName="image" model_preannotate="boxes">'
        '<Label value="Object"/></BrushLabels>'
        '<RectangleLabels name="box" toName="image"><Label value="Object"/></RectangleLabels>'
        "</View>"
    )

    def prediction(project_id: int) -> dict:
        drawn = [{"model_version": "yolo", "result": [box]}]
        task = {"id": 1, "project": project_id, "data": {"image": url}, "predictions": drawn}
        body = {"tasks": [task], "label_config": config}
        (found,) = backend.client.post("/predict", json=body).json()["results"]
        return found

    of_project, of_base = prediction(1), prediction(2)
    assert of_project["model_version"] == "mobile-sam-builtin v1 of project 1 boxes"
    assert of_base["model_version"] == "mobile-sam-builtin boxes"
    assert of_project["result"][0]["value"]["rle"] != of_base["result"][0]["value"]["rle"]
