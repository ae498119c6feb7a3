"""Images of odd statuses: the backend takes what a real browser shows."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from backend.http.addresses import AllowedHosts
from backend.http.client import HttpClient
from backend.http.errors import HttpClientError
from backend.images.fetching import Fetcher

_buffer = BytesIO()
Image.new("RGB", (8, 6), "red").save(_buffer, "PNG")
PNG = _buffer.getvalue()

IS_SHOWN = """url => new Promise(resolve => {
    const image = new Image();
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
    image.src = url;
})"""


@pytest.fixture(scope="module")
def host(start_server: Callable[..., str]) -> str:
    """Answers /STATUS and /STATUS/RANGE with a PNG; gives the URL."""

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        status, _, content_range = request.path.strip("/").partition("/")
        headers = {"Content-Type": "image/png" if status else "text/html"}
        if content_range:
            headers["Content-Range"] = f"bytes {content_range}"
        return int(status or 200), headers, b"" if status in ("204", "205") else PNG

    return start_server(answer)


@pytest.fixture(scope="module")
def page(host: str, browser: Browser) -> Page:
    page = browser.new_page()
    page.goto(host)
    return page


@pytest.mark.parametrize(
    "path",
    ["200", "201", "202", "203", "204", "205", "206", "207", "226", "299"]
    + [f"206/0-{len(PNG) - 1}/{len(PNG)}", f"206/0-{len(PNG) - 1}/*", "206/100-200/9999"],
)
def test_a_success_is_an_image_where_the_browser_shows_it(host: str, page: Page, path: str) -> None:
    files = Fetcher(None, HttpClient(AllowedHosts.parse("127.0.0.1")))
    try:
        fetched = files.fetch(f"{host}/{path}").content == PNG
    except HttpClientError as error:
        fetched = False
        assert "answered 20" in str(error)
    assert fetched is page.evaluate(IS_SHOWN, f"{host}/{path}")
