"""An image that was replaced under its URL is noticed. An unchanged image is not fetched again."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from backend.http.addresses import AllowedHosts
from backend.http.client import HttpClient, Limits
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.freshness import ImageWatch
from backend.images.image_ref import ImageRef
from backend.images.validator import Validator
from backend.label_studio.client import LabelStudio

OLD_DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


class FileHost:
    """Serves one file under every path, with the validators that a test chooses."""

    def __init__(self, start_server: Callable[..., str]) -> None:
        self.content = b"old picture"
        self.headers: Callable[[bytes], dict[str, str]] = lambda content: {}
        self.status = 200
        self.asked: list[tuple[str, int]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.url = start_server(self._answer)

    def _answer(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        self.may_answer.wait(30)
        headers = self.headers(self.content)
        known = request.headers.get("If-None-Match") or request.headers.get("If-Modified-Since")
        is_known = self.status == 200 and known and known in headers.values()
        status = 304 if is_known else self.status
        self.asked.append((request.path, status))
        return status, headers, self.content if status == 200 else b""


@pytest.fixture
def host(start_server: Callable[..., str]) -> Iterator[FileHost]:
    host = FileHost(start_server)
    yield host
    host.may_answer.set()


def fetcher(label_studio: LabelStudio | None = None, folder: Path | None = None) -> Fetcher:
    limits = Limits(connect_s=1, read_s=5, total_s=10, backoff_s=0.01)
    return Fetcher(label_studio, HttpClient(AllowedHosts.parse("127.0.0.1"), limits), folder)


def etag(content: bytes) -> dict[str, str]:
    return {"ETag": f'"{hash(content)}"'}


HEADERS = {
    "etag": etag,
    "last-modified": lambda content: {
        "Last-Modified": OLD_DATE if content.startswith(b"old") else formatdate(9e8, usegmt=True)
    },
    "nothing": lambda content: {},
    "a-young-last-modified": lambda content: {"Last-Modified": formatdate(usegmt=True)},
    "another-etag-each-time": lambda content: {"ETag": f'"{time.monotonic_ns()}"'},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_file_replaced_by_a_file_of_the_same_size(host: FileHost, name: str) -> None:
    host.headers = HEADERS[name]
    files, ref = fetcher(), ImageRef(f"{host.url}/image")
    known = files.fetch(ref.url).validator
    assert not ImageWatch(files).is_stale(ref, known, waits=True)
    host.content = b"new picture"
    assert ImageWatch(files).is_stale(ref, known, waits=True)
    replaced = files.fetch(ref.url).validator
    assert not ImageWatch(files).is_stale(ref, replaced, waits=True)


@pytest.mark.parametrize("name", ["etag", "last-modified"])
def test_a_host_that_tells_is_not_asked_for_the_content_again(host: FileHost, name: str) -> None:
    host.headers = HEADERS[name]
    files, ref = fetcher(), ImageRef(f"{host.url}/image")
    known = files.fetch(ref.url).validator
    assert not ImageWatch(files).is_stale(ref, known, waits=True)
    assert [status for _, status in host.asked] == [200, 304]


def test_the_answer_is_remembered_for_a_moment(host: FileHost) -> None:
    host.headers = etag
    files, ref = fetcher(), ImageRef(f"{host.url}/image")
    known, watch = files.fetch(ref.url).validator, ImageWatch(files)
    watch.note(ref, known)
    for _ in range(20):
        assert not watch.is_stale(ref, known)
    assert len(host.asked) == 1


def test_a_click_does_not_wait_for_a_slow_host_and_the_next_click_knows(host: FileHost) -> None:
    host.headers = etag
    files, ref = fetcher(), ImageRef(f"{host.url}/image")
    known, watch = files.fetch(ref.url).validator, ImageWatch(files)
    host.content = b"new picture"
    host.may_answer.clear()
    assert not watch.is_stale(ref, known)  # returns although the host is silent
    host.may_answer.set()
    while not watch.is_stale(ref, known):
        time.sleep(0.01)


def test_a_host_that_is_down_is_no_reason_to_encode_again(host: FileHost) -> None:
    files, ref = fetcher(), ImageRef(f"{host.url}/image")
    known = files.fetch(ref.url).validator
    host.status = 500
    assert not ImageWatch(files).is_stale(ref, known, waits=True)


def test_a_file_of_the_mounted_folder_is_checked_at_every_use(tmp_path: Path) -> None:
    label_studio = LabelStudio("http://127.0.0.1:9", None, container_hosts=())
    files = fetcher(label_studio, tmp_path)
    path, ref = tmp_path / "a b.png", ImageRef("/data/local-files/?d=a%20b.png")
    path.write_bytes(b"old picture")
    watch, known = ImageWatch(files), files.fetch(ref.url).validator
    watch.note(ref, known)
    assert not watch.is_stale(ref, known)
    path.write_bytes(b"new picture")
    os.utime(path, ns=(1, 1))
    assert watch.is_stale(ref, known)
    path.write_bytes(b"old picture")
    os.utime(path, ns=(2, 2))  # another time and the same content
    assert not watch.is_stale(ref, known)


def test_what_precompute_read_from_a_folder_is_compared_by_content(
    host: FileHost, tmp_path: Path
) -> None:
    host.headers = etag
    path = tmp_path / "image"
    path.write_bytes(host.content)
    files, ref = fetcher(), ImageRef(f"{host.url}/image")
    known, watch = files.read(path).validator, ImageWatch(files)
    assert not watch.is_stale(ref, known, waits=True)
    host.content = b"new picture"
    assert ImageWatch(files).is_stale(ref, known, waits=True)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (Validator("aa", 1, "etag:1"), Validator("aa", 1, "etag:2"), True),
        (Validator("aa", 1, "etag:1"), Validator("bb", 1, "etag:1"), False),
        (Validator("aa", 1, "etag:1"), Validator("", 1, "etag:1"), True),
        (Validator("aa", 1, "etag:1"), Validator("", None, "etag:1"), True),
        (Validator("aa", 1, "etag:1"), Validator("", 2, "etag:1"), False),
        (Validator("aa", 1, "etag:1"), Validator("", 1, "etag:2"), False),
        (Validator("aa", 1, "file:1"), Validator("", 1, "etag:2"), None),
        (Validator("aa", 1, "file:1"), Validator("", 2, "etag:2"), False),
        (Validator("aa", 1), Validator("", 1), None),
        (Validator(), Validator("aa", 1, "etag:1"), None),
    ],
)
def test_validators(first: Validator, second: Validator, same: bool | None) -> None:
    assert first.is_same_file(second) is second.is_same_file(first) is same
    assert Validator.parse(str(first)) == first


def test_a_validator_of_odd_headers() -> None:
    odd = httpx.Headers({"Content-Length": "9" * 30, "Last-Modified": "x", "Date": "y", "ETag": ""})
    assert Validator.of_headers(odd) == Validator()


class TestAccess:
    """The embedding of an image is for tasks only that may see the image."""

    SIGNED = "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k&X-Amz-Signature="

    @pytest.fixture
    def watch(self, host: FileHost) -> ImageWatch:
        return ImageWatch(fetcher(LabelStudio(host.url, "0" * 40, container_hosts=())))

    def test_a_storage_is_asked_for_each_task(self, host: FileHost, watch: ImageWatch) -> None:
        allowed, refused = ImageRef("s3://b/a.png", 1), ImageRef("s3://b/a.png", 2)
        assert allowed.key == refused.key
        watch.prove_access(allowed)
        watch.prove_access(allowed)
        assert len(host.asked) == 1  # the proof is remembered
        host.status = 403
        with pytest.raises(ImageError, match="refuses"):
            watch.prove_access(refused)
        watch.prove_access(allowed)

    def test_a_fetch_is_a_proof(self, host: FileHost, watch: ImageWatch) -> None:
        ref = ImageRef("s3://b/a.png", 1)
        watch.note(ref, Validator("aa"))
        watch.prove_access(ref)
        assert host.asked == []

    def test_a_signed_url_is_asked_for_each_signature(
        self, host: FileHost, watch: ImageWatch
    ) -> None:
        good = ImageRef(f"{host.url}/a.png{self.SIGNED}good")
        bad = ImageRef(f"{host.url}/a.png{self.SIGNED}bad")
        bare = ImageRef(f"{host.url}/a.png")
        assert good.key == bad.key
        watch.prove_access(good)
        host.status = 403
        with pytest.raises(ImageError, match="403"):
            watch.prove_access(bad)
        assert bare.key != good.key  # what anybody can fetch is kept apart

    def test_other_urls_are_proof_enough(self, host: FileHost, watch: ImageWatch) -> None:
        for url in (f"{host.url}/a.png", f"{host.url}/a.png?token=1", "data:,a", "/data/upload/a"):
            watch.prove_access(ImageRef(url, 1))
        assert host.asked == []
