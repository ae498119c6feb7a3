"""Images of odd statuses: the backend takes what a real browser shows."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
def host() -> Iterator[str]:
    """Answers /STATUS and /STATUS/RANGE with a PNG; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, _, content_range = self.path.strip("/").partition("/")
            self.send_response(int(status or 200))
            if content_range:
                self.send_header("Content-Range", f"bytes {content_range}")
            self.send_header("Content-Type", "image/png" if status else "text/html")
            self.send_header("Content-Length", str(len(PNG)))
            self.end_headers()
            if status not in ("204", "205"):
                self.wfile.write(PNG)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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
