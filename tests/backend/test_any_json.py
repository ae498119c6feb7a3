"""Every request gets an answer of Label Studio's contract, or 400 with a sentence, but never 500.

The tests send the same 10,000 requests at each run. `make fuzz` sends many more, different ones at
each run.
"""

import copy
import json
import logging
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.server import create_app
from backend.settings import Settings
from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

REQUESTS = Path(__file__).parents[1] / "data" / "requests"
ROUTES = ["/", "/health", "/ready", "/setup", "/versions", "/predict", "/webhook", "/nothing"]
METHODS = ["POST", "POST", "POST", "GET", "PUT", "DELETE", "PATCH"]
POSTED = ["setup", "click_positive", "click_two_positive_one_negative", "rectangle"]
POSTED += ["click_labels_keypoint_config", "predict_task_opened", "predict_three_tasks"]
POSTED += ["webhook_annotation_created", "webhook_start_training"]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR4nGP4z8AARwgWABP4"
    "A/0WTiP3AAAAAElFTkSuQmCC"
)

Json = Any
Send = Callable[[str, str, bytes], None]


def trimmed(value: Json) -> Json:
    """The value without the thousands of numbers of drawn masks."""
    if isinstance(value, dict):
        return {key: trimmed(item) for key, item in value.items()}
    return [trimmed(item) for item in value[:4]] if isinstance(value, list) else value


RECORDED = {name: trimmed(json.loads((REQUESTS / f"{name}.json").read_text())) for name in POSTED}


def paths(value: Json, here: tuple = ()) -> Iterator[tuple]:
    """Every place in a tree of JSON."""
    yield here
    children = value.items() if isinstance(value, dict) else ()
    children = enumerate(value) if isinstance(value, list) else children
    for key, child in children:
        yield from paths(child, (*here, key))


PATHS = {name: list(paths(request["json"])) for name, request in RECORDED.items()}
KEYS = sorted({str(path[-1]) for found in PATHS.values() for path in found if path})
TEXTS = [
    "", "image", "tag", "tag2", "Object", "keypointlabels", "rectanglelabels", "labels", "brush",
    "/data/upload/1/a.png", "http://127.0.0.1:9/a.png", "http://[::1/", "http://xn--/a", PIXEL,
    "s3://bucket/a.png", "data:,", "\ud800", "\x00", "\r\nERROR forged", "TASKS_CREATED",
    "TASKS_DELETED", "ANNOTATION_CREATED", "<View/>", "<View><Image/></View>",
    '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="nobody"/></View>',
    '<View><Image name="image"/><KeyPointLabels name="tag2" toName="image" smart="yes"/></View>',
    '<!DOCTYPE v [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>',
]  # fmt: skip

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-2, 101)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(TEXTS)
)
keys = st.sampled_from(KEYS) | st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, Json]:
    """A request that Label Studio really sent, with changes in up to three places."""
    name = draw(st.sampled_from(POSTED))
    body = copy.deepcopy(RECORDED[name]["json"])
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(PATHS[name][1:]))
        place = body
        try:
            for key in parents:
                place = place[key]
            if draw(st.booleans()):
                place[last] = draw(values)
            elif isinstance(place, dict):
                place[draw(keys)] = place.pop(last)
            else:
                del place[last]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has removed the place
    return RECORDED[name]["path"], body


class Unforeseen(logging.Handler):
    """Remembers the records of exceptions that no handler expects."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(record)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """The app. Every lookup of a host name fails, so that no packet leaves the machine."""

    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", nobody)
        yield create_app(
            Settings(checkpoint=BUILTIN_PATH, cache_dir=cache, cache_disk_gb=0)
        ).test_client()


@pytest.fixture
def send(client: FlaskClient) -> Iterator[Send]:
    """Sends a request and checks the answer."""
    unforeseen = Unforeseen()
    logging.getLogger("backend").addHandler(unforeseen)

    def check(method: str, path: str, content: bytes) -> None:
        response = client.open(path, method=method, data=content)
        assert not unforeseen.found, unforeseen.found[0].exc_info
        assert response.status_code < 500
        # 422: a prompt of the coming editor gets no mask, and the editor shows why.
        assert response.status_code in (200, 201, 400, 404, 405, 422)
        if response.status_code >= 400:
            (sentence,) = response.get_json().values()
            assert 10 < len(sentence) < 400
            assert "Traceback" not in sentence
            assert str(Path.cwd()) not in sentence
        elif path == "/predict":
            results = response.get_json()["results"]
            assert len(results) == len(json.loads(content)["tasks"])
            assert None not in results

    yield check
    logging.getLogger("backend").removeHandler(unforeseen)


@pytest.fixture
def each(pytestconfig: pytest.Config) -> Callable[[int, st.SearchStrategy, Callable], None]:
    """Runs a check for a number of cases of a strategy."""
    factor = pytestconfig.getoption("--fuzz-factor")

    def run(count: int, strategy: st.SearchStrategy, check: Callable) -> None:
        configured = settings(
            max_examples=count * factor,
            derandomize=factor == 1,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        seen = 0

        @configured
        @given(strategy)
        def case(drawn: Any) -> None:
            nonlocal seen
            seen += 1
            check(drawn)

        case()
        assert seen >= count * factor

    return run


def test_requests_like_those_of_label_studio(send: Send, each: Callable) -> None:
    def check(request: tuple[str, Json]) -> None:
        path, body = request
        send("POST", path, json.dumps(body).encode())

    each(7500, changed(), check)


def test_any_json_anywhere(send: Send, each: Callable) -> None:
    def check(request: tuple[str, str, Json]) -> None:
        method, path, body = request
        send(method, path, json.dumps(body).encode())

    each(2000, st.tuples(st.sampled_from(METHODS), st.sampled_from(ROUTES), values), check)


def test_any_bytes(send: Send, each: Callable) -> None:
    def check(request: tuple[str, bytes]) -> None:
        send("POST", *request)

    each(500, st.tuples(st.sampled_from(["/setup", "/predict", "/webhook"]), st.binary()), check)
