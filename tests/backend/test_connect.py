"""The command connect without a Label Studio. tests/e2e has those with one."""

import json
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler

import pytest

from backend import cli


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "HOST", "API_KEY", "ACCESS_TOKEN", "API_KEY_FILE", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"LABEL_STUDIO_{name}", raising=False)


def connect(*options: str) -> int:
    return cli.main(["connect", "--backend-url", "http://backend:9090", *options])


def test_without_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert connect("--project", "1") == 1
    assert "set LABEL_STUDIO_URL to the address of Label Studio" in capsys.readouterr().err


def test_without_a_token_and_without_a_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    assert connect("--project", "1") == 1
    sentence = "set it as LABEL_STUDIO_API_KEY, or set LABEL_STUDIO_USERNAME and LABEL_STUDIO_PASS"
    assert sentence in capsys.readouterr().err


def test_nobody_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LABEL_STUDIO_USERNAME", "a@example.com")
    monkeypatch.setenv("LABEL_STUDIO_PASSWORD", "secret")
    assert connect("--new-project", "Cars") == 1
    said = capsys.readouterr().err
    assert "Label Studio does not answer at http://127.0.0.1:9 (LABEL_STUDIO_URL)" in said
    assert "Traceback" not in said


@pytest.fixture
def start_studio(start_server: Callable[..., str]) -> Callable[..., str]:
    """Starts servers that answer each call to /api/ml in turn and 200 to all others.

    The first GET requests get the statuses of ``not_ready``.
    """

    def start(*registrations: tuple[int, object], not_ready: Sequence[int] = ()) -> str:
        left = list(registrations)
        not_ready_left = list(not_ready)

        def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
            status, body = 200, {"email": "a@example.com"}
            if request.command == "POST":
                status, body = left.pop(0)
            elif not_ready_left:
                status, body = not_ready_left.pop(0), "not ready"
            elif request.path.startswith(("/api/ml", "/api/webhooks/")):
                body = []
            return status, {}, json.dumps(body).encode()

        return start_server(answer)

    return start


def refusal(status: int, detail: str, **fields: object) -> tuple[int, object]:
    """As Label Studio 1.23 words an error."""
    body = {"id": "ba17fae0", "status_code": status, "version": "1.23.2", "detail": detail}
    return status, {**body, "exc_info": None, **fields}


UNREACHED = refusal(
    400,
    "Validation error",
    validation_errors={
        "non_field_errors": [
            "Can't connect to ML backend http://backend:9090, health check failed."
            ' <a href="https://example.com">Learn more</a>'
        ]
    },
)


def test_it_waits_for_the_backend(
    monkeypatch: pytest.MonkeyPatch,
    start_studio: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", start_studio(UNREACHED, (201, {"id": 1})))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    assert connect("--project", "7", "--wait", "60") == 0
    said = capsys.readouterr().out
    assert "the clicks of project 7 to http://backend:9090" in said
    assert "no webhooks" in said


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        pytest.param(
            refusal(403, "URL resolves to a reserved network address (block: 10.0.0.0/8)"),
            "403 to POST /api/ml: URL resolves to a reserved network address (block: 10.0.0.0/8):"
            " start Label Studio with USE_DEFAULT_BANNED_SUBNETS=false together with"
            " USER_ADDITIONAL_BANNED_SUBNETS (docs/operations.md, What Label Studio has to allow)",
            id="a-private-address",
        ),
        pytest.param(
            UNREACHED,
            "Label Studio does not reach http://backend:9090: start the backend there (make run),"
            " or correct --backend-url. In a container, localhost is the container itself",
            id="no-backend",
        ),
        pytest.param(
            refusal(
                400,
                "Validation error",
                validation_errors={
                    "non_field_errors": ["See <a href='https://example.com'>this page</a>.", "No."],
                    "url": ["Enter a valid URL."],
                },
            ),
            "400 to POST /api/ml: Validation error: See this page.; No.; url: Enter a valid URL.",
            id="several-errors",
        ),
        pytest.param(
            (500, "no JSON of Label Studio " + 1000 * "long "),
            "500 to POST /api/ml: no JSON of Label Studio long long",
            id="other",
        ),
    ],
)
def test_what_label_studio_refuses(
    monkeypatch: pytest.MonkeyPatch,
    start_studio: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    answer: tuple[int, object],
    sentence: str,
) -> None:
    monkeypatch.setenv("LABEL_STUDIO_URL", start_studio(answer))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    assert connect("--project", "7") == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert "{" not in said
    assert len(said) < 700


def test_there_is_no_such_project(
    monkeypatch: pytest.MonkeyPatch,
    start_server: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        status, body = refusal(404, "No Project matches the given query.")
        if request.path.endswith("whoami"):
            status, body = 200, {"email": "a@example.com"}
        return status, {}, json.dumps(body).encode()

    monkeypatch.setenv("LABEL_STUDIO_URL", start_server(answer))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    sentence = "error: Label Studio has no project 99, or the user of the token may not see it\n"
    assert connect("--project", "99") == 1
    assert capsys.readouterr().err == sentence
    assert cli.main(["preannotate", "--project", "99"]) == 1
    assert capsys.readouterr().err == sentence


Odd = tuple[int, dict[str, str], bytes]


@pytest.fixture
def start_odd_server(
    monkeypatch: pytest.MonkeyPatch, start_server: Callable[..., str]
) -> Callable[[Odd], list[str]]:
    """Starts LABEL_STUDIO_URL, with one answer to all. Returns the methods of the requests."""

    def start(answer: Odd) -> list[str]:
        asked: list[str] = []

        def note(request: BaseHTTPRequestHandler) -> Odd:
            asked.append(request.command)
            return answer

        monkeypatch.setenv("LABEL_STUDIO_URL", f"{start_server(note)}/studio")
        return asked

    return start


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"<html>Welcome</html>", id="page"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'{"status": "UP"}', id="another-service"),
        pytest.param(b"", id="empty"),
    ],
)
def test_another_server_answers(
    monkeypatch: pytest.MonkeyPatch,
    start_odd_server: Callable[[Odd], list[str]],
    capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:
    start_odd_server((200, {}, content))
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    assert connect("--project", "7") == 1
    said = capsys.readouterr().err
    assert "did not answer as Label Studio does: is LABEL_STUDIO_URL right?" in said


def test_another_server_gets_no_password(
    monkeypatch: pytest.MonkeyPatch,
    start_odd_server: Callable[[Odd], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = start_odd_server((200, {}, b"<html>Welcome</html>"))
    monkeypatch.setenv("LABEL_STUDIO_USERNAME", "a@example.com")
    monkeypatch.setenv("LABEL_STUDIO_PASSWORD", "secret")
    assert connect("--project", "7") == 1
    said = capsys.readouterr().err
    assert "did not answer as Label Studio does: is LABEL_STUDIO_URL right?" in said
    assert asked == ["GET"]


@pytest.mark.parametrize(
    ("location", "remedy"),
    [
        pytest.param(
            "https://studio.example.com/studio/user/login/?next=/",
            "set LABEL_STUDIO_URL to https://studio.example.com/studio\n",
            id="https",
        ),
        pytest.param(
            "https://sign-in.example.com/start?for=studio",
            "redirects to https://sign-in.example.com/start: set LABEL_STUDIO_URL to the address"
            " that answers without a redirect",
            id="another-page",
        ),
    ],
)
def test_a_redirect_gets_no_password(
    monkeypatch: pytest.MonkeyPatch,
    start_odd_server: Callable[[Odd], list[str]],
    capsys: pytest.CaptureFixture[str],
    location: str,
    remedy: str,
) -> None:
    asked = start_odd_server((302, {"Location": location, "Set-Cookie": "csrftoken=a"}, b""))
    monkeypatch.setenv("LABEL_STUDIO_USERNAME", "a@example.com")
    monkeypatch.setenv("LABEL_STUDIO_PASSWORD", "secret")
    assert connect("--project", "7") == 1
    assert remedy in capsys.readouterr().err
    assert asked == ["GET"]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_it_waits_for_the_proxy_of_label_studio(
    monkeypatch: pytest.MonkeyPatch,
    start_studio: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    status: int,
) -> None:
    url = start_studio((201, {"id": 1}), not_ready=[status])
    monkeypatch.setenv("LABEL_STUDIO_URL", url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "token")
    assert connect("--project", "7") == 1
    said = capsys.readouterr().err
    assert f"does not answer at {url} (LABEL_STUDIO_URL): status {status}" in said
    url = start_studio((201, {"id": 1}), not_ready=[status])
    monkeypatch.setenv("LABEL_STUDIO_URL", url)
    assert connect("--project", "7", "--wait", "60") == 0
