"""data: URIs as browsers read them."""

import base64

import pytest

from backend.http.addresses import AllowedHosts
from backend.http.client import HttpClient
from backend.http.errors import HttpClientError
from backend.images.fetching import Fetcher

CONTENT = bytes(range(256)) + b"x"
ENCODED = base64.b64encode(CONTENT).decode()


def content(uri: str) -> bytes:
    return Fetcher(None, HttpClient(AllowedHosts())).fetch(uri).content


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param(f"data:image/png;base64,{ENCODED}", id="plain"),
        pytest.param(f"data:image/png;base64,{ENCODED}\n", id="final-newline"),
        pytest.param(f" \n\tdata:image/png;base64,{ENCODED} ", id="white-space-around"),
        pytest.param(
            "data:;base64," + "\r\n".join(ENCODED[i : i + 76] for i in range(0, 400, 76)),
            id="lines",
        ),
        pytest.param(f"data:image/png;base64,{ENCODED.rstrip('=')}", id="no-padding"),
        pytest.param(f"data:image/png;base64,{' '.join(ENCODED)}", id="spaces"),
        pytest.param(f"data:image/png;base64,{ENCODED.replace('=', '%3D')}", id="encoded-padding"),
        pytest.param(f"data:image/png;base64,{ENCODED.replace('/', '%2f')}", id="encoded-slash"),
        pytest.param(f"data:image/png;base64,%0A{ENCODED}%0D%0a", id="encoded-newline"),
        pytest.param(f"DATA:IMAGE/PNG;charset=x;  BASE64 ,{ENCODED}", id="upper-case"),
        pytest.param(f"data:image/png;base64,{ENCODED}#top", id="fragment"),
        pytest.param("data:," + "".join(f"%{byte:02x}" for byte in CONTENT), id="percent"),
    ],
)
def test_content(uri: str) -> None:
    assert content(uri) == CONTENT


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("data:image/png;base64", id="no-comma"),
        pytest.param("data:;base64,abcde", id="length"),
        pytest.param("data:;base64,ab=d", id="padding-inside"),
        pytest.param("data:;base64,abc==", id="too-much-padding"),
        pytest.param("data:;base64,ab-_", id="another-alphabet"),
        pytest.param("data:;base64,%%%", id="no-base64"),
        pytest.param("data:;base64,äöü", id="not-ascii"),
    ],
)
def test_a_uri_without_content(uri: str) -> None:
    with pytest.raises(HttpClientError, match="data: URI"):
        content(uri)


def test_a_payload_with_base64_in_its_name_only() -> None:
    assert content("data:image/base64,YQ==") == b"YQ=="
