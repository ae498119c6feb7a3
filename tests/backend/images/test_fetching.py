"""The file behind the URL of a task; no secret goes to another host."""

import base64
import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.http.addresses import AllowedHosts
from backend.http.client import HttpClient, Limits
from backend.http.errors import HttpClientError
from backend.images.errors import ImageError
from backend.images.fetching import Fetcher
from backend.images.image_ref import ImageRef
from backend.label_studio import discovery
from backend.label_studio.api_key import ApiKey
from backend.label_studio.client import LabelStudio
from backend.label_studio.errors import LabelStudioError
from backend.label_studio.setup_info import SetupInfo, SetupInfoFile

LEGACY_TOKEN = "0123456789abcdef0123456789abcdef01234567"
REFRESH = "/api/token/refresh/"
IMAGE = (200, {}, b"image")

Response = tuple[int, dict[str, str], bytes]
Asked = tuple[str, str | None]


def jwt(**claims: object) -> str:
    parts = [json.dumps({"alg": "none"}), json.dumps(claims), "signature"]
    return ".".join(base64.urlsafe_b64encode(p.encode()).decode().rstrip("=") for p in parts)


PERSONAL_TOKEN = jwt(token_type="refresh")
ACCESS_TOKEN = jwt(token_type="access", exp=1300, iat=1000)  # by a clock that is years behind


def granted(access_token: str) -> Response:
    return 200, {}, json.dumps({"access": access_token}).encode()


def redirect(url: str) -> Response:
    return 302, {"Location": url}, b""


class Host:
    """A host that answers by path and notes the path and the token of every request."""

    def __init__(self, start_server: Callable[..., str], *address: object) -> None:
        self.answers: dict[str, Response | Callable[[str | None], Response]] = {}
        self.asked: list[Asked] = []
        self.url = start_server(self._answer, *address)
        self.port = int(self.url.rpartition(":")[2])

    def _answer(self, request: BaseHTTPRequestHandler) -> Response:
        token = request.headers.get("Authorization")
        self.asked.append((request.path, token))
        answer = self.answers.get(request.path, (404, {}, b""))
        return answer(token) if callable(answer) else answer

    def accept(self, *tokens: str) -> None:
        """Answer /data/image to these tokens only."""
        self.answers["/data/image"] = lambda token: IMAGE if token in tokens else (401, {}, b"")


@pytest.fixture
def start_host(start_server: Callable[..., str]) -> Callable[..., Host]:
    return partial(Host, start_server)


@pytest.fixture
def label_studio(start_host: Callable[..., Host]) -> Host:
    host = start_host()
    host.answers["/data/image"] = IMAGE
    return host


@pytest.fixture
def elsewhere(start_host: Callable[..., Host]) -> Host:
    host = start_host("127.0.0.2")
    host.answers["/data/image"] = IMAGE
    return host


def http_client(allowed: str = "127.0.0.2", resolve: object = None) -> HttpClient:
    limits = Limits(connect_s=1, read_s=1, total_s=5, backoff_s=0.01)
    return HttpClient(AllowedHosts.parse(allowed), limits, resolve)


# No host can be found, so nothing leaves the machine.
def nowhere(host: str, port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "unknown")


CLOSED = HttpClient(AllowedHosts(), Limits(total_s=5, backoff_s=0.01), nowhere)


def fetcher(url: str | None, api_key: str | None = LEGACY_TOKEN, **options: object) -> Fetcher:
    requests = http_client()
    return Fetcher(studio(url, api_key, requests), requests, **options)


def studio(*arguments: object) -> LabelStudio:
    """A client of Label Studio that is not in a container."""
    return LabelStudio(*arguments, container_hosts=())


class TestSources:
    def test_another_host_without_a_token(self, label_studio: Host, elsewhere: Host) -> None:
        assert fetcher(label_studio.url).fetch(f"{elsewhere.url}/data/image").content == b"image"
        assert elsewhere.asked == [("/data/image", None)]
        assert label_studio.asked == []

    @pytest.mark.parametrize("path", ["/data/upload/1/a.png", "/data/local-files/?d=imgs/a.png"])
    def test_label_studios_files(self, label_studio: Host, path: str) -> None:
        label_studio.answers[path] = IMAGE
        files = fetcher(label_studio.url)
        assert files.fetch(path).content == files.fetch(label_studio.url + path).content == b"image"
        assert label_studio.asked == [(path, f"Token {LEGACY_TOKEN}")] * 2

    @pytest.mark.parametrize("uri", ["s3://bucket/a b.png", "gs://b/a.png", "azure-blob://c/a.png"])
    def test_storages_through_label_studio(
        self, label_studio: Host, elsewhere: Host, uri: str
    ) -> None:
        """Label Studio answers with the file or redirects to an address that needs no token."""
        name = base64.urlsafe_b64encode(uri.encode()).decode()
        path = f"/tasks/7/presign/?fileuri={name.replace('=', '%3D')}"
        label_studio.answers[path] = IMAGE
        assert fetcher(label_studio.url).fetch(uri, 7).content == b"image"
        label_studio.answers[path] = redirect(f"{elsewhere.url}/data/image")
        assert fetcher(label_studio.url).fetch(uri, 7).content == b"image"
        assert label_studio.asked == [(path, f"Token {LEGACY_TOKEN}")] * 2
        assert elsewhere.asked == [("/data/image", None)]

    def test_data_uri(self) -> None:
        encoded = base64.b64encode(b"image").decode()
        assert fetcher(None).fetch(f"data:image/png;base64,{encoded}").content == b"image"
        assert fetcher(None).fetch("data:,im%61ge").content == b"image"

    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            pytest.param("/data/upload/1/a.png", "LABEL_STUDIO_URL is not set", id="no-host"),
            pytest.param("s3://bucket/a.png", "LABEL_STUDIO_URL is not set", id="no-host-for-s3"),
            pytest.param("file:///etc/passwd", "cannot be fetched", id="file"),
            pytest.param("ftp://host/a.png", "cannot be fetched", id="scheme"),
            pytest.param("//host/a.png", "cannot be fetched", id="no-scheme"),
            pytest.param("data:image/png;base64", "has no comma", id="data-comma"),
            pytest.param("data:image/png;base64,%%%", "not valid base64", id="data-base64"),
            pytest.param("http://127.0.0.2:9/a.png", "cannot be fetched", id="refused"),
            pytest.param("http://[::1/a.png", "cannot be fetched|not a valid URL", id="broken-url"),
            pytest.param("/data/\ud800.png", "half a character", id="half-a-character"),
        ],
    )
    def test_a_url_that_cannot_be_fetched_says_why(self, url: str, sentence: str) -> None:
        with pytest.raises((HttpClientError, LabelStudioError), match=sentence):
            Fetcher(None, http_client()).fetch(url, 7)

    def test_a_storage_without_a_task(self, label_studio: Host) -> None:
        with pytest.raises(HttpClientError, match="through their task"):
            fetcher(label_studio.url).fetch("s3://bucket/a.png")

    @pytest.mark.parametrize(
        ("url", "sentence"),
        [
            ("/data/upload/1/gone.png", "answered 404 Not Found: there is no such file"),
            ("/data/local-files/?d=gone.png", "not in a local storage of the project"),
            ("s3://bucket/gone.png", "no source storage of the project contains"),
        ],
    )
    def test_a_404_says_what_is_missing(self, label_studio: Host, url: str, sentence: str) -> None:
        with pytest.raises(HttpClientError, match=sentence):
            fetcher(label_studio.url).fetch(url, 7)


class TestMountedFolder:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        root = tmp_path / "root"
        (root / "imgs").mkdir(parents=True)
        (root / "imgs" / "a b.png").write_bytes(b"mounted")
        (tmp_path / "secret.png").write_bytes(b"secret")
        return root

    @pytest.mark.parametrize("name", ["imgs/a%20b.png", "/imgs/a+b.png", "imgs/../imgs/a b.png"])
    def test_a_file_in_the_folder_is_read_without_label_studio(
        self, label_studio: Host, root: Path, name: str
    ) -> None:
        files = fetcher(label_studio.url, local_files=root)
        assert files.fetch(f"/data/local-files/?d={name}").content == b"mounted"
        assert files.fetch(f"{label_studio.url}/data/local-files/?d={name}").content == b"mounted"
        assert label_studio.asked == []

    def test_a_link_inside_the_folder(self, label_studio: Host, root: Path) -> None:
        (root / "link.png").symlink_to(root / "imgs" / "a b.png")
        files = fetcher(label_studio.url, local_files=root)
        assert files.fetch("/data/local-files/?d=link.png").content == b"mounted"

    @pytest.mark.parametrize(
        "name",
        [
            "../secret.png",
            "imgs/../../secret.png",
            "/../secret.png",
            "link.png",
            "folder/secret.png",
            "ring.png",
            "gone.png",
            "pipe",
            "imgs",
            "",
            "%00",
        ],
    )
    def test_every_other_file_comes_from_label_studio(
        self, label_studio: Host, root: Path, name: str
    ) -> None:
        (root / "link.png").symlink_to("../secret.png")
        (root / "folder").symlink_to("..")
        (root / "ring.png").symlink_to("ring.png")
        os.mkfifo(root / "pipe")
        label_studio.answers[f"/data/local-files/?d={name}"] = IMAGE
        files = fetcher(label_studio.url, local_files=root)
        assert files.fetch(f"/data/local-files/?d={name}").content == b"image"
        assert len(label_studio.asked) == 1

    def test_the_folder_is_not_for_other_hosts(self, elsewhere: Host, root: Path) -> None:
        elsewhere.answers["/data/local-files/?d=imgs/a.png"] = IMAGE
        files = fetcher("http://127.0.0.1:9", local_files=root)
        assert files.fetch(f"{elsewhere.url}/data/local-files/?d=imgs/a.png").content == b"image"


class TestTokens:
    def test_personal(self, label_studio: Host) -> None:
        label_studio.answers[REFRESH] = granted(ACCESS_TOKEN)
        files = fetcher(label_studio.url, PERSONAL_TOKEN)
        files.fetch("/data/image")
        files.fetch("/data/image")
        assert label_studio.asked == [
            (REFRESH, None),
            ("/data/image", f"Bearer {ACCESS_TOKEN}"),
            ("/data/image", f"Bearer {ACCESS_TOKEN}"),  # the access token is used again
        ]

    def test_an_access_token_is_renewed_before_it_ends(self, label_studio: Host) -> None:
        soon = jwt(token_type="access", exp=time.time() + 10)
        label_studio.answers[REFRESH] = granted(soon)
        files = fetcher(label_studio.url, PERSONAL_TOKEN)
        files.fetch("/data/image")
        files.fetch("/data/image")
        assert [path for path, _ in label_studio.asked].count(REFRESH) == 2

    def test_the_token_of_setup_when_the_set_token_is_refused(
        self, label_studio: Host, tmp_path: Path
    ) -> None:
        """The token is tried once and remembered, even if /setup sends another token later."""
        setup_info = SetupInfoFile(tmp_path / "setup-info")
        requests = http_client()
        known = studio(label_studio.url, LEGACY_TOKEN, requests, setup_info)
        files = Fetcher(known, requests)
        known.note_setup(None, "from-setup", is_proven=False)
        label_studio.accept("Token from-setup")
        files.fetch("/data/image")
        files.fetch("/data/image")
        known.note_setup(None, "nonsense", is_proven=False)
        files.fetch("/data/image")
        assert [token for _, token in label_studio.asked] == [
            f"Token {LEGACY_TOKEN}",
            "Token from-setup",
            "Token from-setup",
            "Token from-setup",
        ]

    def test_a_file_that_comes_and_changes_after_the_start(
        self, label_studio: Host, tmp_path: Path
    ) -> None:
        file = tmp_path / "token"
        requests = http_client()
        files = Fetcher(studio(label_studio.url, ApiKey(file=file), requests), requests)
        label_studio.accept("Token first")
        with pytest.raises(LabelStudioError, match="FILE.*cannot be read now: No such file"):
            files.fetch("/data/image")
        file.write_text(" \n")
        with pytest.raises(LabelStudioError, match="which holds no token now"):
            files.fetch("/data/image")
        file.write_text("first\n")
        assert files.fetch("/data/image").content == b"image"
        label_studio.accept("Token second")
        with pytest.raises(LabelStudioError, match=r"legacy token in LABEL_STUDIO_API_KEY_FILE"):
            files.fetch("/data/image")
        file.write_text("second")
        assert files.fetch("/data/image").content == b"image"

    def test_a_token_that_is_set_goes_before_the_file(
        self, label_studio: Host, tmp_path: Path
    ) -> None:
        file = tmp_path / "token"
        file.write_text("of the file")
        requests = http_client()
        api_key = ApiKey(LEGACY_TOKEN, file)
        Fetcher(studio(label_studio.url, api_key, requests), requests).fetch("/data/image")
        assert label_studio.asked == [("/data/image", f"Token {LEGACY_TOKEN}")]

    @pytest.mark.parametrize(
        ("token", "sentence"),
        [
            (None, r"\(401\) without a token: create a personal access token"),
            (LEGACY_TOKEN, "the legacy token in LABEL_STUDIO_API_KEY.*refuses legacy tokens"),
            (ACCESS_TOKEN, "the short-lived access token in LABEL_STUDIO_API_KEY"),
            (PERSONAL_TOKEN, "the personal access token.*401 when an access token was asked for"),
            (PERSONAL_TOKEN, "; or Label Studio's SECRET_KEY has changed since the token was made"),
        ],
    )
    def test_a_refusal_names_the_kind(
        self, label_studio: Host, token: str | None, sentence: str
    ) -> None:
        label_studio.accept()
        label_studio.answers[REFRESH] = (401, {}, b"{}")
        with pytest.raises(LabelStudioError, match=sentence) as caught:
            fetcher(label_studio.url, token).fetch("/data/image")
        assert token is None or token not in str(caught.value)

    def test_only_setup_has_sent_a_token(self, label_studio: Host, tmp_path: Path) -> None:
        label_studio.accept()
        requests = http_client()
        known = studio(label_studio.url, None, requests, SetupInfoFile(tmp_path / "setup-info"))
        known.note_setup(None, LEGACY_TOKEN, is_proven=False)
        with pytest.raises(
            LabelStudioError,
            match=r"^LABEL_STUDIO_API_KEY is not set \(the token that Label Studio sent in /setup"
            r" is refused\): create a personal access token .* set it as LABEL_STUDIO_API_KEY$",
        ):
            Fetcher(known, requests).fetch("/data/image")

    def test_local_files_that_are_not_served(self, label_studio: Host) -> None:
        label_studio.answers["/data/local-files/?d=a.png"] = (403, {}, b"")
        with pytest.raises(LabelStudioError, match="LOCAL_FILES_SERVING_ENABLED=true"):
            fetcher(label_studio.url).fetch("/data/local-files/?d=a.png")


class TestTokensStayWithLabelStudio:
    def test_not_along_a_redirect_elsewhere(self, label_studio: Host, elsewhere: Host) -> None:
        label_studio.answers["/data/image"] = redirect(f"{elsewhere.url}/data/image")
        assert fetcher(label_studio.url).fetch("/data/image").content == b"image"
        assert elsewhere.asked == [("/data/image", None)]

    def test_not_to_another_port_or_name_of_the_same_machine(
        self, label_studio: Host, start_host: Callable[..., Host]
    ) -> None:
        neighbour = start_host()
        neighbour.answers["/data/image"] = IMAGE
        requests = http_client("127.0.0.1")
        files = Fetcher(studio(label_studio.url, LEGACY_TOKEN, requests), requests)
        files.fetch(f"{neighbour.url}/data/image")
        files.fetch(f"{label_studio.url}/data/image".replace("127.0.0.1", "localhost"))
        assert neighbour.asked == label_studio.asked == [("/data/image", None)]

    def test_a_redirect_back_to_label_studio_carries_the_token(
        self, label_studio: Host, elsewhere: Host
    ) -> None:
        label_studio.answers["/data/start"] = redirect(f"{elsewhere.url}/data/back")
        elsewhere.answers["/data/back"] = redirect(f"{label_studio.url}/data/image")
        fetcher(label_studio.url).fetch("/data/start")
        assert elsewhere.asked == [("/data/back", None)]
        assert label_studio.asked == [
            ("/data/start", f"Token {LEGACY_TOKEN}"),
            ("/data/image", f"Token {LEGACY_TOKEN}"),
        ]

    @pytest.mark.parametrize(
        "target",
        ["http://127.0.0.3:9/", "http://169.254.169.254/latest", "file:///etc/passwd", "ftp://h/a"],
    )
    def test_a_redirect_follows_the_rules_for_the_urls_of_tasks(
        self, label_studio: Host, elsewhere: Host, target: str
    ) -> None:
        for host in (label_studio, elsewhere):
            host.answers["/data/start"] = redirect(target)
            with pytest.raises(
                HttpClientError, match="not on the public internet|cannot be fetched"
            ):
                fetcher(label_studio.url).fetch(f"{host.url}/data/start")

    def test_endless_redirects(self, elsewhere: Host) -> None:
        elsewhere.answers["/data/ring"] = redirect("/data/ring")
        with pytest.raises(HttpClientError, match="redirects more than 5 times"):
            fetcher("http://127.0.0.1:9").fetch(f"{elsewhere.url}/data/ring")


class TestWhereLabelStudioIs:
    def test_localhost_from_inside_a_container(
        self, start_host: Callable[..., Host], caplog: pytest.LogCaptureFixture
    ) -> None:
        """localhost does not answer, the first neighbour is a stranger, the second Label Studio."""
        stranger = start_host("127.0.0.3")
        found = start_host("127.0.0.2", stranger.port)
        stranger.answers["/api/version/"] = (200, {}, b'{"status": "UP"}')
        found.answers["/api/version/"] = (200, {}, b'{"release": "1.23.2"}')
        found.answers["/data/image"] = IMAGE
        names = {"stranger": "127.0.0.3", "label-studio": "127.0.0.2", "localhost": "127.0.0.9"}
        requests = http_client(resolve=lambda host, port: [names.get(host, host)])
        url = f"http://localhost:{stranger.port}"
        known = LabelStudio(
            url, LEGACY_TOKEN, requests, container_hosts=("stranger", "label-studio")
        )
        files = Fetcher(known, requests)

        with caplog.at_level("INFO"):
            files.fetch("/data/image")
            files.fetch(f"{url}/data/image")  # as the browser knows it

        assert stranger.asked == [("/api/version/", None)]
        assert found.asked == [
            ("/api/version/", None),  # probed once
            ("/data/image", f"Token {LEGACY_TOKEN}"),
            ("/data/image", f"Token {LEGACY_TOKEN}"),
        ]
        assert f"Label Studio is reached at http://label-studio:{found.port}" in caplog.text

    def test_setup_says_where_when_it_has_the_password(
        self, label_studio: Host, tmp_path: Path
    ) -> None:
        """Another worker knows the address too, and no other user may read the file."""
        path = tmp_path / "cache" / "setup-info"
        told = studio(None, None, http_client(), SetupInfoFile(path))
        told.note_setup(f"{label_studio.url}/", "from-setup", is_proven=True)
        requests = http_client()
        other = Fetcher(studio(None, None, requests, SetupInfoFile(path)), requests)
        assert other.fetch("/data/image").content == b"image"
        assert label_studio.asked == [("/data/image", "Token from-setup")]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert list(path.parent.iterdir()) == [path]

    def test_setup_without_a_password_cannot_say_where(
        self, elsewhere: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        setup_info = SetupInfoFile(tmp_path / "setup-info")
        requests = http_client()
        known = studio(None, LEGACY_TOKEN, requests, setup_info)
        known.note_setup(elsewhere.url, "from-setup", is_proven=False)
        with pytest.raises(LabelStudioError, match="LABEL_STUDIO_URL is not set"):
            Fetcher(known, requests).fetch("/data/image")
        assert elsewhere.asked == []
        assert "set LABEL_STUDIO_URL to the address at which" in caplog.text

    def test_anybody_may_call_setup_and_the_log_does_not_grow(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        known = studio(None, None, http_client(), SetupInfoFile(tmp_path / "setup-info"))
        for _ in range(3):
            known.note_setup("http://" + 300 * "a", None, is_proven=False)
        assert len(caplog.messages) == 1
        for number in range(300):
            known.note_setup(f"http://host-{number}", None, is_proven=False)
        assert len(caplog.messages) == 100

    def test_a_set_address_keeps_its_token(
        self, label_studio: Host, elsewhere: Host, tmp_path: Path
    ) -> None:
        setup_info = SetupInfoFile(tmp_path / "setup-info")
        requests = http_client()
        known = studio(label_studio.url, LEGACY_TOKEN, requests, setup_info)
        known.note_setup(elsewhere.url, None, is_proven=False)
        Fetcher(known, requests).fetch("/data/image")
        assert elsewhere.asked == []

    def test_one_worker_knows_if_the_folder_cannot_be_written(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        setup_info = SetupInfoFile(Path("/dev/null/setup-info"))
        setup_info.write(SetupInfo("http://h", "token"))
        assert setup_info.read() == SetupInfo("http://h", "token")
        assert "set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY" in caplog.text

    def test_label_studio_is_not_there(self) -> None:
        with pytest.raises(LabelStudioError, match="Is LABEL_STUDIO_URL the address at which"):
            fetcher("http://127.0.0.1:9").fetch("/data/image")


ODD_CHARACTERS = "htp:/.@[]#?%\\xn--aé\u00ad\u200d\U0001f600 0\n\x00"


class TestOddUrls:
    def test_white_space_around_and_inside(self, label_studio: Host, elsewhere: Host) -> None:
        files = fetcher(label_studio.url)
        url = f" \x00\n{elsewhere.url}/data/im\r\nage\t\n "
        assert files.fetch(url).content == b"image"
        assert files.fetch(" /data/image\n").content == b"image"

    def test_a_url_without_a_scheme_has_that_of_label_studio(
        self, label_studio: Host, elsewhere: Host
    ) -> None:
        url = elsewhere.url.removeprefix("http:")
        assert fetcher(label_studio.url).fetch(f"{url}/data/image").content == b"image"

    @pytest.mark.parametrize(
        "location",
        [
            "mailto:x",
            "javascript:alert(1)",
            "data:,x",
            "http://xn--a/",
            "http://[::1",
            "//",
            "http://",
        ]
        + ["http://h:99999/", "\x7f", "?", "http://a..b/", "http://%00/", "about:blank", "x:y:z"],
    )
    def test_an_odd_redirect_is_a_named_error(self, elsewhere: Host, location: str) -> None:
        elsewhere.answers["/start"] = redirect(location)
        with pytest.raises((HttpClientError, LabelStudioError), match="."):
            fetcher("http://127.0.0.1:9").fetch(f"{elsewhere.url}/start")

    @given(
        url=st.text(
            st.sampled_from("htp:/.@[]#?%\\xn--aé\u00ad\u200d\U0001f600 0\n\x00"), max_size=20
        )
    )
    @settings(max_examples=300, deadline=None)
    def test_any_text_is_a_named_error(self, url: str) -> None:
        """Neither the key nor the fetch raises anything else."""
        files = Fetcher(studio("http://127.0.0.1:9", None, CLOSED), CLOSED)
        for prefix in ("", "http://", "http://xn--", "/data/", "//", "s3:", "data:"):
            with suppress(HttpClientError, LabelStudioError):
                files.fetch(prefix + url, 1)
            with suppress(ImageError):
                _ = ImageRef(prefix + url).key, ImageRef(prefix + url).needs_proof


class TestSubPath:
    """Label Studio is not at the root of its host, or the browser knows another address."""

    @pytest.mark.parametrize("inside", ["/label-studio", ""])
    @pytest.mark.parametrize("prefix", ["/label-studio", ""])
    def test_a_path_with_and_without_the_prefix(
        self, label_studio: Host, inside: str, prefix: str
    ) -> None:
        """A proxy may remove the prefix before the request reaches Label Studio."""
        label_studio.answers[f"{inside}/data/upload/4/x.png"] = IMAGE
        files = fetcher(label_studio.url + inside)
        assert files.fetch(f"{prefix}/data/upload/4/x.png").content == b"image"
        assert label_studio.asked == [(f"{inside}/data/upload/4/x.png", f"Token {LEGACY_TOKEN}")]

    def test_an_absolute_url(self, label_studio: Host) -> None:
        path = "/label-studio/data/local-files/?d=a.png"
        label_studio.answers[path] = IMAGE
        files = fetcher(f"{label_studio.url}/label-studio")
        assert files.fetch(label_studio.url + path).content == b"image"
        assert label_studio.asked == [(path, f"Token {LEGACY_TOKEN}")]

    @pytest.mark.parametrize("is_proven", [True, False])
    def test_the_public_address_of_setup(
        self, label_studio: Host, tmp_path: Path, is_proven: bool
    ) -> None:
        """Whoever calls /setup only says which URLs are files of LABEL_STUDIO_URL."""
        label_studio.answers["/inside/data/upload/4/x.png"] = IMAGE
        requests = http_client()
        known = studio(
            f"{label_studio.url}/inside", LEGACY_TOKEN, requests, SetupInfoFile(tmp_path / "info")
        )
        known.note_setup("https://public.example/ls/", None, is_proven=is_proven)
        files = Fetcher(known, requests)
        label_studio.answers["/inside/api/version/"] = (200, {}, b'{"release": "1.23.2"}')
        for url in ("https://public.example/ls/data/upload/4/x.png", "/ls/data/upload/4/x.png"):
            assert files.fetch(url).content == b"image"
        token = f"Token {LEGACY_TOKEN}"
        asked = [request for request in label_studio.asked if "version" not in request[0]]
        assert asked == [("/inside/data/upload/4/x.png", token)] * 2

    @pytest.mark.parametrize(
        "url", ["/ls/data/local-files/?d=a.png", "http://127.0.0.1:9/ls/data/local-files?d=a.png"]
    )
    def test_the_mounted_folder(self, tmp_path: Path, url: str) -> None:
        (tmp_path / "a.png").write_bytes(b"mounted")
        files = fetcher("http://127.0.0.1:9/ls", local_files=tmp_path)
        assert files.fetch(url).content == b"mounted"

    @pytest.mark.parametrize("name", ["photos%5Ca.png", "photos\\a.png", "photos%5ca.png"])
    def test_the_path_of_a_windows_machine(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "a.png").write_bytes(b"mounted")
        files = fetcher("http://127.0.0.1:9", local_files=tmp_path)
        assert files.fetch(f"/data/local-files/?d={name}").content == b"mounted"
        (tmp_path / "photos\\a.png").write_bytes(b"name with a backslash")
        assert files.fetch(f"/data/local-files/?d={name}").content == b"name with a backslash"

    def test_the_token_stays_below_the_path(self, label_studio: Host) -> None:
        requests = http_client("127.0.0.1")
        files = Fetcher(studio(f"{label_studio.url}/ls", LEGACY_TOKEN, requests), requests)
        for path in ("/other-app/data/upload/x", "/lsx/data/upload/x", "/data/upload/x"):
            label_studio.answers[path] = IMAGE
            files.fetch(label_studio.url + path)
        assert {token for _, token in label_studio.asked} == {None}


class TestFilesOfLabelStudio:
    @pytest.mark.parametrize(
        "path",
        [
            "/data/upload/4/x.png",
            "/data/local-files/?d=x.png",
            "/data/avatars/x.png",
            "/static/samples/sample.jpg",
            "/storage-data/uploaded/?filepath=upload%2Fx.png",
            "/tasks/4/presign/?fileuri=czM6",
            "/tasks/4/resolve/?fileuri=czM6",
            "/projects/4/resolve/?fileuri=czM6",
        ],
    )
    def test_are_fetched_with_the_token(self, label_studio: Host, path: str) -> None:
        label_studio.answers[path] = IMAGE
        files = fetcher(label_studio.url)
        assert files.fetch(path).content == files.fetch(label_studio.url + path).content == b"image"
        assert label_studio.asked == [(path, f"Token {LEGACY_TOKEN}")] * 2

    @pytest.mark.parametrize(
        "path",
        [
            "/api/projects/1/export",
            "/api/projects/1/export?exportType=JSON",
            "/logout/",
            "/logout",
            "/user/login/",
            "/projects/1/",
            "/tasks/1/",
            "/api/tasks/1/?/data/upload/x.png",
            "/data/../api/projects/1/export",
            "/data/%2e%2e/api/projects/1/export",
            "/data/..%2fapi%2fprojects%2f1%2fexport",
            "/data/%252e%252e/api/projects/1/export",
            "/data/..\\api/projects/1/export",
            "/data/x/..%5c..%5capi",
        ],
    )
    def test_nothing_else_is_fetched(self, label_studio: Host, elsewhere: Host, path: str) -> None:
        files = fetcher(label_studio.url)
        with pytest.raises(LabelStudioError, match="is not an image of Label Studio"):
            files.fetch(path)
        elsewhere.answers["/start"] = redirect(label_studio.url + path)
        label_studio.answers["/data/start"] = redirect(label_studio.url + path)
        for url in (label_studio.url + path, f"{elsewhere.url}/start", "/data/start"):
            with pytest.raises((HttpClientError, LabelStudioError)):
                files.fetch(url)
        assert {asked for asked, _ in label_studio.asked} == {"/data/start"}

    @pytest.mark.parametrize("path", ["/data", "/data/", "/", "/x.png"])
    def test_a_path_of_another_kind_is_not_fetched(self, label_studio: Host, path: str) -> None:
        with pytest.raises(LabelStudioError, match="is not an image of Label Studio"):
            fetcher(label_studio.url).fetch(path)
        assert label_studio.asked == []

    def test_another_file_at_the_same_address_gets_no_token(self, label_studio: Host) -> None:
        label_studio.answers["/pictures/x.png"] = IMAGE
        files = fetcher(label_studio.url)
        assert files.fetch(f"{label_studio.url}/pictures/x.png").content == b"image"
        assert label_studio.asked == [("/pictures/x.png", None)]


class TestProbes:
    """A frozen Label Studio, seen from a container."""

    @pytest.fixture
    def frozen(self) -> Iterator[list[socket.socket]]:
        """Three listeners on one port of three addresses; none ever answers."""
        first = socket.create_server(("127.0.0.1", 0))
        port = first.getsockname()[1]
        others = [socket.create_server((f"127.0.0.{i}", port)) for i in (2, 3)]
        yield [first, *others]
        for listener in (first, *others):
            listener.close()

    def test_are_made_once_for_all_threads(
        self, frozen: list[socket.socket], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(discovery, "_NOBODY_S", 3600.0)  # longer than a busy machine takes
        names = {"localhost": "127.0.0.1", "one": "127.0.0.2", "two": "127.0.0.3"}
        limits = Limits(connect_s=1, read_s=1, total_s=30, backoff_s=0.01)
        requests = HttpClient(AllowedHosts(), limits, lambda host, port: [names[host]])
        port = frozen[0].getsockname()[1]
        known = LabelStudio(
            f"http://localhost:{port}", LEGACY_TOKEN, requests, container_hosts=("one", "two")
        )
        files = Fetcher(known, requests)

        def attempt(_: int) -> str:
            with pytest.raises(LabelStudioError, match="did not answer") as caught:
                files.fetch("/data/upload/1/a.png")
            return str(caught.value)

        with ThreadPoolExecutor(5) as pool:
            assert len(list(pool.map(attempt, range(5)))) == 5
        for listener in frozen[1:]:
            listener.setblocking(False)
            listener.accept()[0].close()
            with pytest.raises(BlockingIOError):  # a second probe was not made
                listener.accept()
        attempt(0)  # "none answers" is remembered: the request itself fails, and no probe is made
        for listener in frozen[1:]:
            with pytest.raises(BlockingIOError):
                listener.accept()
