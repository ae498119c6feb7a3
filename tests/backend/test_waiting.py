"""Clicks on slow images wait. Clicks on other images, and everything else, do not."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from backend.settings import WAITING_CLICKS


class SlowHost:
    """Serves nothing before :meth:`release`, and then 404."""

    def __init__(self, start_server: Callable[..., str]) -> None:
        self._may_go = threading.Event()
        self.url = start_server(self._answer)

    def _answer(self, request: object) -> tuple[int, dict[str, str], bytes]:
        self._may_go.wait(120)
        return 404, {}, b""

    def release(self) -> None:
        self._may_go.set()


@pytest.fixture
def slow_host(start_server: Callable[..., str]) -> Iterator[SlowHost]:
    host = SlowHost(start_server)
    yield host
    host.release()


def test_clicks_on_slow_images_leave_threads_for_others(
    start_backend, serve, slow_host: SlowHost, click_at, rle_of, square, tmp_path: Path
) -> None:
    square().save(tmp_path / "known.png")
    known = click_at(f"{serve(tmp_path)}/known.png")
    backend = start_backend(WORKERS="1", THREADS="2", CACHE_DISK_GB="0")
    assert rle_of(backend.client.post("/predict", json=known))
    limits = httpx.Limits(max_connections=None)
    with (
        httpx.Client(base_url=backend.client.base_url, timeout=120, limits=limits) as client,
        ThreadPoolExecutor(2 * WAITING_CLICKS) as pool,
    ):

        def click(name: str, count: int) -> list[Future[httpx.Response]]:
            slow = click_at(f"{slow_host.url}/{name}")
            return [pool.submit(client.post, "/predict", json=slow) for _ in range(count)]

        try:
            # One slow image takes half of the seats. Every further click gets its answer at once.
            one = click("one.png", WAITING_CLICKS // 2 + 8)
            for answer in wait_for(one, 8):
                assert answer.result().status_code == 503
                assert answer.result().headers["Retry-After"]
                assert "click again in a few seconds" in answer.result().json()["error"]
            assert "too many clicks wait for images already: click again" in backend.log
            assert rle_of(client.post("/predict", json=known))

            # Slow images together take all seats.
            others = [click(f"{index}.png", 1)[0] for index in range(WAITING_CLICKS // 2 + 4)]
            wait_for(others, 4)
            assert rle_of(client.post("/predict", json=known))
            assert client.get("/health").status_code == 200
            assert sum(answer.done() for answer in [*one, *others]) == 12
        finally:
            slow_host.release()


def test_clicks_whose_access_is_not_proven_yet_leave_threads_for_others(
    start_backend, serve, slow_host: SlowHost, click_at, rle_of, square, tmp_path: Path
) -> None:
    """Label Studio is asked whether a task may see a file of a storage, and does not answer."""
    square().save(tmp_path / "known.png")
    known = click_at(f"{serve(tmp_path)}/known.png")
    settings = {"LABEL_STUDIO_URL": slow_host.url, "LABEL_STUDIO_API_KEY": "token"}
    backend = start_backend(WORKERS="1", THREADS="2", CACHE_DISK_GB="0", **settings)
    assert rle_of(backend.client.post("/predict", json=known))
    limits = httpx.Limits(max_connections=None)
    with (
        httpx.Client(base_url=backend.client.base_url, timeout=120, limits=limits) as client,
        ThreadPoolExecutor(2 * WAITING_CLICKS) as pool,
    ):
        try:
            stored = [click_at(f"s3://bucket/{index}.png") for index in range(WAITING_CLICKS + 8)]
            answers = [pool.submit(client.post, "/predict", json=body) for body in stored]
            wait_for(answers, 8)
            assert rle_of(client.post("/predict", json=known))
            assert sum(answer.done() for answer in answers) == 8
        finally:
            slow_host.release()


def wait_for(answers: list[Future[httpx.Response]], count: int) -> list[Future[httpx.Response]]:
    """Until ``count`` of the answers have come; gives those."""
    done = threading.Semaphore(0)
    for answer in answers:
        answer.add_done_callback(lambda _: done.release())
    assert all(done.acquire(timeout=60) for _ in range(count))
    return [answer for answer in answers if answer.done()]
