"""Lists of tasks from a Label Studio that cannot give many at once."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from backend.label_studio import task_lists
from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError


@pytest.fixture
def start_studio() -> Iterator[Callable[[int], LabelStudio]]:
    """Starts servers that give so many tasks at once, and answer 500 where more are asked for."""
    servers: list[ThreadingHTTPServer] = []

    def start(at_once: int) -> LabelStudio:
        class Studio(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)["query"][0]
                ids = json.loads(query)["selectedItems"]["included"]
                tasks = [{"id": task_id, "annotations": []} for task_id in ids]
                content = json.dumps({"tasks": tasks}).encode()
                self.send_response(200 if len(ids) <= at_once else 500)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Studio))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return LabelStudio(f"http://127.0.0.1:{servers[-1].server_port}", "0" * 40)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


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
