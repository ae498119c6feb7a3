"""The file of LABEL_STUDIOS, and the settings of a team."""

from pathlib import Path

import pytest

from backend.access import Access, AccessRules
from backend.cli import main
from backend.http.addresses import AllowedHosts
from backend.settings import Settings

GOOD = """
[teamA]
url = "http://label-studio-a:8080/"
api_key = "token"

[team-b]
url = "https://b.example.com/studio"
api_key_file = "/run/secrets/b"
local_files_document_root = "{folder}"
allowed_hosts = "minio, 10.0.0.0/8"
basic_auth_user = "b"
basic_auth_pass = "secret"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "teams.toml"
    path.write_text(GOOD.format(folder=tmp_path))
    return path


def test_each_team_has_its_own_settings_and_shares_the_others(path: Path) -> None:
    environ = {"LABEL_STUDIOS": str(path), "PORT": "8000", "BASIC_AUTH_USER": "operator"}
    settings = Settings.from_env({**environ, "BASIC_AUTH_PASS": "password"})
    assert settings.label_studio_url is None
    assert list(settings.teams) == ["teamA", "team-b"]
    first, second = settings.of_team("teamA"), settings.of_team("team-b")
    assert first.label_studio_url == "http://label-studio-a:8080"
    assert first.label_studio_api_key == "token"
    assert first.basic_auth is None  # the operator's password is no team's
    assert second.label_studio_api_key_file == Path("/run/secrets/b")
    assert second.local_files_document_root == path.parent
    assert second.allowed_hosts == AllowedHosts.parse("minio 10.0.0.0/8")
    assert second.basic_auth == ("b", "secret")
    assert (first.team, second.team) == ("teamA", "team-b")
    assert first.port == second.port == 8000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("", "has no table: add .team. with url and api_key", id="empty"),
        pytest.param("[a", "is not TOML", id="no-toml"),
        pytest.param("a = 1", "table 'a': it is a value", id="no-table"),
        pytest.param("[a]", "table 'a': url is missing", id="no-url"),
        pytest.param('[a]\nurl = "b:8080"', "table 'a': url is 'b:8080'; it must", id="bad-url"),
        pytest.param("[a]\nurl = 1", "table 'a': url must be a text", id="no-text"),
        pytest.param('[a]\ntoken = "x"', "'token' is unknown; the keys are url, api_key", id="key"),
        pytest.param(
            '[a]\nurl = "http://a"\nbasic_auth_user = "a"', "must be set together", id="half"
        ),
        pytest.param('["1"]\nurl = "http://a"', "a team is a letter and then", id="a-number"),
        pytest.param('["a/b"]\nurl = "http://a"', "a team is a letter and then", id="a-slash"),
        pytest.param('["a.b"]\nurl = "http://a"', "a team is a letter and then", id="a-dot"),
        pytest.param('[Health]\nurl = "http://a"', "choose another name", id="a-path"),
        pytest.param('[a]\nurl = "http://a"\n[A]\nurl = "http://b"', "the same name", id="twice"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "teams.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence) as raised:
        Settings.from_env({"LABEL_STUDIOS": str(path)})
    assert str(path) in str(raised.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gone.toml cannot be read: No such file"):
        Settings.from_env({"LABEL_STUDIOS": str(tmp_path / "gone.toml")})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LABEL_STUDIO_URL", "http://a"),
        ("LABEL_STUDIO_ACCESS_TOKEN", "token"),
        ("ALLOWED_HOSTS", "minio"),
    ],
)
def test_a_setting_of_one_label_studio_beside_the_file_is_refused(
    path: Path, name: str, value: str
) -> None:
    with pytest.raises(ValueError, match=f"{name} and LABEL_STUDIOS are both set: put {name} into"):
        Settings.from_env({"LABEL_STUDIOS": str(path), name: value})


@pytest.mark.parametrize(
    ("team", "sentence"),
    [
        ([], "a team is needed: LABEL_STUDIOS has teamA, team-b. Choose with --team"),
        (["--team", "teama"], "there is no team teama: LABEL_STUDIOS has teamA, team-b"),
    ],
)
def test_a_command_without_its_team_says_so(
    path: Path,
    team: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LABEL_STUDIOS", str(path))
    assert main(["doctor", *team]) == 1
    assert sentence in capsys.readouterr().err


def test_without_the_file_there_is_no_team() -> None:
    settings = Settings.from_env({})
    assert settings.of_team(None) is settings
    with pytest.raises(ValueError, match="there is no team a: LABEL_STUDIOS is not set"):
        settings.of_team("a")


def test_long_bodies_are_for_the_paths_of_label_studio_only() -> None:
    red = Access(("red", "secret"))
    rules = AccessRules(Access(), {"red": red})
    basic = "Basic cmVkOnNlY3JldA=="
    assert rules.body_limit("/red/predict", basic) > rules.body_limit("/red/predict", None)
    assert rules.body_limit("/red/webhook", None) == 16 << 20
    for path in ("/predict", "/webhook", "/RED/predict", "/red/red/predict", "/blue/predict"):
        assert rules.body_limit(path, basic) == 1 << 20
    assert AccessRules(Access()).body_limit("/predict", None) == 256 << 20
