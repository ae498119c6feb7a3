"""Names of exported files."""

import base64
from urllib.parse import quote

import pytest

from backend.export.file_names import FileNames, file_name, safe, stem, suffix


def of_storage(uri: str) -> str:
    return base64.urlsafe_b64encode(uri.encode()).decode()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("/data/upload/4/10fc33c6-my%20photo.JPG", "10fc33c6-my photo.JPG"),
        ("/data/local-files/?d=scans/page%201.png", "page 1.png"),
        ("/data/local-files/?d=C%3A%5Cscans%5Cpage.png", "page.png"),
        ("https://host/deep/a+b.png?X-Amz-Signature=0#top", "a+b.png"),
        ("s3://bucket/folder/ü.webp", "ü.webp"),
        (f"/tasks/7/resolve/?fileuri={of_storage('gs://bucket/a/c%20d.png')}", "c d.png"),
        (f"/tasks/7/presign?fileuri={quote(of_storage('s3://bucket/e.png'))}", "e.png"),
        ("/tasks/7/resolve/?fileuri=%21", "image"),
        ("data:image/png;base64,AAAA", "image"),
        ("https://host/", "image"),
        ("http://[", "image"),
    ],
)
def test_the_name_is_that_of_the_url(url: str, name: str) -> None:
    assert file_name(url) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photo.tar.jpg", "photo.tar"),
        ("..", "image"),
        (".hidden", "hidden"),
        ('a<b>:"c|?*\x01.png', "a_b___c____"),
        ("\ud800.png", "_"),
        ("é" * 200 + ".png", "é" * 75),
        pytest.param("a" * 149 + " b.png", "a" * 149, id="cut-at-a-blank"),
        pytest.param("a" * 148 + "..b.png", "a" * 148, id="cut-at-dots"),
        pytest.param("CON.png", "_CON", id="device"),
        pytest.param("aux.tar.png", "_aux.tar", id="device-with-a-suffix"),
        pytest.param("com1 .x.png", "_com1 .x", id="device-with-a-blank"),
        pytest.param("LPT².png", "_LPT²", id="device-with-a-superscript"),
        pytest.param("console.png", "console", id="no-device"),
        pytest.param("com10.png", "com10", id="no-device-either"),
    ],
)
def test_any_file_system_takes_it(name: str, expected: str) -> None:
    assert stem(name) == expected


def test_suffixes_and_labels() -> None:
    assert suffix("A.b.JPeG") == ".jpeg"
    assert suffix("nothing") == ""
    assert safe("Cat / Dog.v2") == "Cat _ Dog.v2"
    assert safe("nul") == "_nul"


def test_no_name_is_given_twice_on_any_file_system() -> None:
    names = FileNames()
    urls = ["/a/x.png", "/b/X.jpg", "/c/x.png", "/d/x.png", "/e/y.png"]
    found = [names.reserve(url, task) for url, task in zip(urls, [1, 2, 2, 2, 3], strict=True)]
    assert found == ["x", "X-2", "x-2-2", "x-2-3", "y"]
    composed, decomposed = "Übung", "U\u0308bung"  # one name on macOS
    assert names.reserve(f"/a/{composed}.png", 4) == composed
    assert names.reserve(f"/b/{decomposed.lower()}.png", 5) == f"{decomposed.lower()}-5"
