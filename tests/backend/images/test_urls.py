"""One image has one key, however its URL is spelt; two images have two keys."""

import itertools

import pytest

from backend.images.errors import ImageError
from backend.images.image_ref import ImageRef

AMAZON = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F1&X-Amz-Date=1&X-Amz-Expires=9"
GOOGLE = "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=k&X-Goog-Date=1&X-Goog-Expires=9"


def key(url: str) -> str:
    return ImageRef(url).key


@pytest.mark.parametrize(
    "spellings",
    [
        pytest.param(
            ["http://h/my photo.jpg", "http://h/my%20photo.jpg", "http://h:80/my%20photo.jpg#top"],
            id="space",
        ),
        pytest.param(
            ["http://h/hällo.png", "http://h/h%C3%A4llo.png", "http://h/h%c3%a4llo.png"],
            id="umlaut",
        ),
        pytest.param(["http://h/a+b (1).png", "http://h/a%2Bb%20%281%29.png"], id="plus-in-a-path"),
        pytest.param(["http://h/100%.png", "http://h/100%25.png"], id="lone-percent"),
        pytest.param(
            [
                "HTTP://Host.Example/a",
                "http://host.example/a",
                " \x01http://host.ex\nample/\ta\r\n ",
            ],
            id="case-and-white-space",
        ),
        pytest.param(["https://bücher.example/a", "https://xn--bcher-kva.example/a"], id="idna"),
        pytest.param(
            ["http://h/b/a", "http://h/c/../b/./a", "http://h/c/%2E%2e/b/a", "http:\\\\h\\b\\a"],
            id="dots-and-backslashes",
        ),
        pytest.param(["//h/a", "\\\\h\\a", "/\\h/a"], id="backslashes-before-a-host"),
        pytest.param(["/data/upload/1/a", "\\data\\upload\\1\\a"], id="backslashes-of-a-path"),
        pytest.param(["http://h", "http://h/", "http://h/?", "http://h/#"], id="nothing"),
        pytest.param(
            [
                "/data/local-files/?d=photos/my+photo%20(1).png",
                "/data/local-files/?d=photos%2Fmy%20photo%20%281%29.png",
                "/data/local-files?d=photos%5cmy%20photo%20(1).png",
                "/data/local-files/?d=photos\\my photo (1).png#x",
            ],
            id="local-files",
        ),
        pytest.param(["data:,a", " data:,a", "DATA:,a\n", "da\nta:,a"], id="data"),
        pytest.param(
            [
                f"https://b.example/a?{AMAZON}&X-Amz-SignedHeaders=host&X-Amz-Signature=1",
                f"https://b.example/a?{AMAZON}7&X-Amz-Signature=2&X-Amz-Security-Token=3",
            ],
            id="amazon",
        ),
        pytest.param(
            [
                "https://b.example/a?AWSAccessKeyId=k&Signature=1&Expires=2",
                "https://b.example/a?Expires=3&AWSAccessKeyId=k&Signature=4",
            ],
            id="amazon-2",
        ),
        pytest.param(
            [f"https://g.example/a?{GOOGLE}&X-Goog-Signature={sign}" for sign in "12"], id="google"
        ),
        pytest.param(
            [f"https://g.example/a?GoogleAccessId=k&Signature={s}&Expires={s}" for s in "12"],
            id="google-2",
        ),
        pytest.param(
            [f"https://z.example/a?sv=2022&se={s}&sr=b&sp=r&sig={s}&spr=https" for s in "12"],
            id="azure",
        ),
    ],
)
def test_spellings_of_one_url(spellings: list[str]) -> None:
    assert len({key(url) for url in spellings}) == 1


@pytest.mark.parametrize(
    "urls",
    [
        pytest.param(["http://h/a?sig=1", "http://h/a?sig=2"], id="sig-alone"),
        pytest.param(["http://h/a?se=1", "http://h/a?se=2"], id="se-alone"),
        pytest.param(["http://h/a?expires=1", "http://h/a?expires=2"], id="expires-alone"),
        pytest.param(["http://h/a?signature=1", "http://h/a?signature=2"], id="signature-alone"),
        pytest.param(["http://h/a?x-amz-x=1", "http://h/a?x-amz-x=2"], id="some-x-amz"),
        pytest.param(["http://h/a?X-Amz-Signature=1", "http://h/a"], id="half-of-amazon"),
        pytest.param(
            [f"https://b/a?{AMAZON}&X-Amz-Signature=1&v={v}" for v in "12"], id="beside-a-signature"
        ),
        pytest.param(
            [f"https://b/a?{AMAZON}&X-Amz-Signature=1", "https://b/a"], id="with-and-without"
        ),
        pytest.param(["http://h/a%2Fb", "http://h/a/b"], id="encoded-slash"),
        pytest.param(["http://h/a%23b", "http://h/a#b"], id="encoded-hash"),
        pytest.param(["http://h/a%3Fb", "http://h/a?b"], id="encoded-question-mark"),
        pytest.param(["http://h/a%2520b", "http://h/a%20b"], id="encoded-percent"),
        pytest.param(["http://h/A", "http://h/a"], id="case-of-a-path"),
        pytest.param(["http://h/?a+b", "http://h/?a%2Bb"], id="plus-in-a-query"),
        pytest.param(["http://h/?a=1&b=2", "http://h/?b=2&a=1"], id="order"),
        pytest.param(["http://h/", "https://h/", "http://h:81/", "http://u:p@h/"], id="origins"),
        pytest.param(["s3://b/a b", "s3://b/a%20b", "gs://b/a b"], id="storages"),
        pytest.param(
            ["/data/local-files/?d=a+b.png", "/data/local-files/?d=a%2Bb.png"], id="local-files"
        ),
    ],
)
def test_urls_of_several_images(urls: list[str]) -> None:
    for first, second in itertools.combinations(urls, 2):
        assert key(first) != key(second)


@pytest.mark.parametrize(
    "url", ["http://xn--a/", "http://[::1", "http://h:99999/", "http://", "mailto:x", "a.png", ""]
)
def test_a_url_that_is_not_valid_is_an_image_error(url: str) -> None:
    for attribute in ("key", "needs_proof"):
        with pytest.raises(ImageError):
            getattr(ImageRef(url), attribute)
