"""Lists of tasks from a Label Studio that cannot give many at once."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.label_studio import task_lists
from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError


@pytest.fixture
def start_studio(start_server: Callable[..., str]) -> Callable[[int], LabelStudio]:
    """Starts servers that give so many tasks at once, and answer 500 where more are asked for."""

    def start(at_once: int) -> LabelStudio:
        def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
            query = parse_qs(urlsplit(request.path).query)["query"][0]
            ids = json.loads(query)["selectedItems"]["included"]
            tasks = [{"id": task_id, "annotations": []} for task_id in ids]
            return 200 if len(ids) <= at_once else 500, {}, json.dumps({"tasks": tasks}).encode()

        return LabelStudio(start_server(answer), "0" * 40)

    return start


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_all_tasks_come_in_their_order(
    start_studio: Callable[[int], LabelStudio], at_once: int
) -> None:
    ids = list(range(1, 12))
    tasks = task_lists.with_regions(start_studio(at_once), 1, ids)
    assert [task["id"] for task in tasks] == ids


def test_a_single_task_that_cannot_be_had_is_an_error(
    start_studio: Callable[[int], LabelStudio],
) -> None:
    with pytest.raises(LabelStudioError, match="answered 500"):
        task_lists.with_regions(start_studio(0), 1, [1, 2])
