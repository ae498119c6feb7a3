"""Files, folders, globs, URLs, arrays, and lists of these."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model import downloads, sources

ROTATED = 6  # EXIF: shown a quarter turn clockwise


def picture(width: int = 40, height: int = 20, **options: Any) -> bytes:
    """A PNG or JPEG whose left half is red and right half blue."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 255
    image[:, width // 2 :, 2] = 255
    content = BytesIO()
    Image.fromarray(image).save(content, **{"format": "PNG", **options})
    return content.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.PNG", "inner/c.png", ".hidden/d.png", "notes.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture())
    return tmp_path / "photos"


def relative(found: list[sources.Source]) -> list[str]:
    return [str(one.relative) for one in found]


def test_a_folder_gives_its_images_and_those_of_its_folders(folder: Path) -> None:
    found = sources.resolve(folder)
    assert relative(found) == ["a.PNG", "b.png", "inner/c.png"]
    assert found[0].path == str(folder / "a.PNG")
    assert found[0].read().shape == (20, 40, 3)


def test_a_glob_gives_the_images_that_match(folder: Path) -> None:
    assert relative(sources.resolve(f"{folder}/b.*")) == ["b.png"]
    assert relative(sources.resolve(f"{folder}/**/*")) == ["a.PNG", "b.png", "inner/c.png"]


def test_a_file_may_have_the_letters_of_a_glob_in_its_name(folder: Path) -> None:
    path = folder / "x[1].png"
    path.write_bytes(picture())
    assert relative(sources.resolve(str(path))) == ["x[1].png"]


def test_a_list_keeps_its_order(folder: Path) -> None:
    array = np.zeros((3, 4, 3), np.uint8)
    found = sources.resolve([folder / "b.png", array, [str(folder / "a.PNG")]])
    assert [one.name for one in found] == [
        str(folder / "b.png"),
        "image 2",
        str(folder / "a.PNG"),
    ]
    assert found[1].path is None
    assert found[1].read() is array


def test_images_are_read_when_they_are_asked_for(folder: Path) -> None:
    (folder / "a.PNG").write_bytes(b"no image")
    found = sources.resolve(folder)
    assert found[1].read().any()
    with pytest.raises(ValueError, match=r"a\.PNG is no image that Pillow can read"):
        found[0].read()


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        pytest.param([], "list of sources is empty", id="empty-list"),
        pytest.param("nothing*.png", r"no image matches nothing\*\.png", id="glob"),
        pytest.param(7, "must be a path, a URL", id="number"),
        pytest.param(np.zeros((3, 4), np.uint8), "H x W x 3 uint8 in RGB", id="grey"),
        pytest.param(np.zeros((3, 4, 3), np.float32), "H x W x 3 uint8 in RGB", id="float"),
        pytest.param(np.zeros((2, 3, 4, 3), np.uint8), "H x W x 3 uint8 in RGB", id="batch"),
    ],
)
def test_what_is_no_image_gets_a_sentence(source: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        sources.resolve(source)


def test_a_folder_without_images_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no image in the folder"):
        sources.resolve(tmp_path)


def test_a_file_that_is_not_there_is_an_error_of_the_file(tmp_path: Path) -> None:
    (source,) = sources.resolve(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError):
        source.read()


def test_a_photo_that_lies_on_its_side_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    path = tmp_path / "photo.jpg"
    path.write_bytes(picture(format="JPEG", exif=exif))
    with Image.open(path) as pillow_image:
        for source in (path, pillow_image):
            image = sources.resolve(source)[0].read()
            assert image.shape == (40, 20, 3)
            assert image[5, 10, 0] > 200  # red is at the top now
            assert image[35, 10, 2] > 200


def test_transparent_parts_are_white_and_16_bits_become_8() -> None:
    clear = Image.new("RGBA", (4, 3), (255, 0, 0, 0))
    assert (sources.resolve(clear)[0].read() == 255).all()
    deep = Image.fromarray(np.full((3, 4), 0x8012, np.uint16))
    assert (sources.resolve(deep)[0].read() == 0x80).all()


def test_a_damaged_file_gets_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(picture(400, 400)[:-400])
    with pytest.raises(ValueError, match=r"cut\.png cannot be decoded"):
        sources.resolve(path)[0].read()


Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Starts a web server that answers every request with a function. Returns its address."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answer_with(content: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(content)

    return answer


def test_a_url_is_fetched(serve: Callable[[Answer], str]) -> None:
    url = serve(answer_with(picture())) + "/some/a%20b.png?token=1"
    (source,) = sources.resolve(url)
    assert source.path == url
    assert str(source.relative) == "a b.png"
    assert source.read().shape == (20, 40, 3)


def test_a_redirect_is_followed_to_http_only(serve: Callable[[Answer], str]) -> None:
    target = serve(answer_with(picture())) + "/x.png"
    assert downloads.fetch(serve(answer_with(b"", 302, Location=target))) == picture()
    url = serve(answer_with(b"", 302, Location="file:///etc/hostname"))
    with pytest.raises(OSError, match="cannot be fetched"):
        downloads.fetch(url)


def test_servers_that_fail_get_a_sentence(serve: Callable[[Answer], str]) -> None:
    with pytest.raises(OSError, match="was answered with status 404"):
        downloads.fetch(serve(answer_with(b"", 404)))
    with pytest.raises(ValueError, match="must begin with http"):
        downloads.fetch("ftp://127.0.0.1/x.png")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        with pytest.raises(OSError, match="cannot be fetched"):
            downloads.fetch(f"http://127.0.0.1:{closed.getsockname()[1]}/x.png")


def test_an_answer_without_end_is_given_up(serve: Callable[[Answer], str]) -> None:
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not stop.wait(0.05):
            request.wfile.write(b"x" * 1000)

    url = serve(drip)
    with pytest.raises(ValueError, match="longer than 0 MB"):
        downloads.fetch(url, max_bytes=2000)
    with pytest.raises(ValueError, match="took longer than 0 seconds"):
        downloads.fetch(url, timeout_s=0.3)
    stop.set()


def test_slow_headers_are_given_up(serve: Callable[[Answer], str]) -> None:
    stop = threading.Event()

    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        with suppress(OSError):  # the client has gone
            for _ in range(200):  # 10 seconds
                request.wfile.write(b"x")
                stop.wait(0.05)
            request.wfile.write(b"\r\n\r\n")

    with pytest.raises(ValueError, match="took longer than 0 seconds"):
        downloads.fetch(serve(drip), timeout_s=0.3)
    stop.set()


def test_slow_redirects_are_given_up(serve: Callable[[Answer], str]) -> None:
    stop = threading.Event()

    def never(request: BaseHTTPRequestHandler) -> None:
        stop.wait(60)

    target = serve(never)
    with pytest.raises(ValueError, match="took longer than 0 seconds"):
        downloads.fetch(serve(answer_with(b"", 302, Location=target)), timeout_s=0.3)
    stop.set()
