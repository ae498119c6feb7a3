"""Which request a line of the log belongs to."""

import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from backend import request_context
from backend.log import JSONLine, OneLine

Recorded = Callable[[str], dict]


@pytest.fixture
def request_id() -> Iterator[str]:
    """A request that this thread works on."""
    yield request_context.begin("from-a-proxy:1")
    request_context.end()


def line(formatter: logging.Formatter) -> str:
    message, arguments = "it failed: %s", ("two\nlines",)
    return formatter.format(
        logging.LogRecord("backend.x", logging.ERROR, __file__, 1, message, arguments, None)
    )


def test_a_line_of_text_names_the_request(request_id: str) -> None:
    assert line(OneLine()).endswith("it failed: two\\nlines (request from-a-proxy:1)")
    request_context.end()
    assert line(OneLine()).endswith("it failed: two\\nlines")


def test_a_line_of_json_has_what_is_known_of_the_request(request_id: str) -> None:
    request_context.note(task=7, project=None)
    fields = json.loads(line(JSONLine()))
    assert fields.pop("time").endswith("+00:00")
    assert fields.pop("process") > 0
    assert fields == {
        "level": "ERROR",
        "logger": "backend.x",
        "message": "it failed: two\\nlines",
        "request_id": "from-a-proxy:1",
        "task": 7,
    }


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 65, "ä", 'a"b', "a\nb"])
def test_an_id_that_cannot_be_used_is_replaced(given: str | None) -> None:
    made = request_context.begin(given)
    request_context.end()
    assert re.fullmatch("[0-9a-f]{16}", made)


def test_the_log_in_json(start_backend, image_host: str, recorded: Recorded) -> None:
    backend = start_backend(LABEL_STUDIO_URL=image_host, LOG_FORMAT="json")
    body = recorded("click_positive")["json"]
    body["tasks"][0]["data"] = {"image": "/data/upload/1/missing.png"}
    given = backend.client.post("/predict", json=body, headers={"X-Request-ID": "abc-123"})
    assert given.headers["X-Request-ID"] == "abc-123"
    refused = backend.client.post("/predict", json=[])
    assert refused.status_code == 400

    lines = [json.loads(text) for text in backend.log.splitlines()]  # gunicorn's lines too
    (failed,) = [fields for fields in lines if "the click got no mask" in fields["message"]]
    project = int(body["project"].partition(".")[0])
    assert failed["request_id"] == "abc-123"
    assert (failed["project"], failed["task"]) == (project, body["tasks"][0]["id"])
    (malformed,) = [fields for fields in lines if ": 400: " in fields["message"]]
    assert malformed["request_id"] == refused.headers["X-Request-ID"]
    assert "task" not in malformed
