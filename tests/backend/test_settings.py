"""Settings come from the environment. An error names the variable."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from backend.http.addresses import AllowedHosts
from backend.settings import Settings

ROOT = Path(__file__).parents[2]


def test_nothing_set_gives_the_defaults() -> None:
    settings = Settings.from_env({})
    assert settings == Settings()
    assert settings.host == "127.0.0.1"
    assert settings.port == 9090


def test_everything_set() -> None:
    settings = Settings.from_env(
        {
            "LABEL_STUDIO_URL": "http://label-studio:8080/",
            "LABEL_STUDIO_API_KEY": "key",
            "LABEL_STUDIO_API_KEY_FILE": "/run/secrets/token",
            "LABEL_STUDIO_USERNAME": "admin@example.com",
            "LABEL_STUDIO_PASSWORD": "of admin",
            "LOCAL_FILES_DOCUMENT_ROOT": "/",
            "ALLOWED_HOSTS": "minio 10.0.0.0/8",
            "BASIC_AUTH_USER": "user",
            "BASIC_AUTH_PASS": "secret",
            "MOBILESAM_CHECKPOINT": "/weights/mobile_sam.pt",
            "MODEL_DIR": "/models",
            "ENGINE": "torch",
            "PRECISION": "BF16",
            "CACHE_MEMORY_MB": "64",
            "CACHE_DIR": "/cache",
            "CACHE_DISK_GB": "3",
            "REDIS_URL": "redis://redis:6379/0",
            "HOST": "0.0.0.0",
            "PORT": "8000",
            "WORKERS": "2",
            "THREADS": "4",
            "LOG_LEVEL": "debug",
        }
    )
    assert settings == Settings(
        label_studio_url="http://label-studio:8080",
        label_studio_api_key="key",
        label_studio_api_key_file=Path("/run/secrets/token"),
        label_studio_user=("admin@example.com", "of admin"),
        local_files_document_root=Path("/"),
        allowed_hosts=AllowedHosts.parse("minio, 10.0.0.0/8"),
        basic_auth=("user", "secret"),
        checkpoint=Path("/weights/mobile_sam.pt"),
        model_dir=Path("/models"),
        engine="torch",
        precision="bf16",
        cache_memory_mb=64,
        cache_dir=Path("/cache"),
        cache_disk_gb=3,
        redis_url="redis://redis:6379/0",
        host="0.0.0.0",
        port=8000,
        workers=2,
        threads=4,
        log_level="DEBUG",
    )


def test_names_of_label_studios_example_work() -> None:
    settings = Settings.from_env(
        {"LABEL_STUDIO_HOST": "http://localhost:8080", "LABEL_STUDIO_ACCESS_TOKEN": "token"}
    )
    assert settings.label_studio_url == "http://localhost:8080"
    assert settings.label_studio_api_key == "token"


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        pytest.param({"PORT": "http"}, "PORT is 'http'.*whole number, 1 to 65535", id="text"),
        pytest.param({"WORKERS": "0"}, "WORKERS is '0'.*1 to 256", id="too-small"),
        pytest.param({"ENGINE": "tpu"}, "ENGINE is 'tpu'.*one of auto", id="unknown"),
        pytest.param(
            {"LABEL_STUDIO_URL": "label-studio:8080"}, "must begin with http", id="no-scheme"
        ),
        pytest.param(
            {"ALLOWED_HOSTS": "http://minio"}, "ALLOWED_HOSTS: 'http://minio' is neither", id="host"
        ),
        pytest.param(
            {"LOCAL_FILES_DOCUMENT_ROOT": "/dev/null/folder"},
            "that folder does not exist here",
            id="no-folder",
        ),
        pytest.param({"BASIC_AUTH_USER": "user"}, "must be set together", id="half-a-pair"),
    ],
)
def test_an_error_names_the_variable(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Settings.from_env(environ)


def test_an_empty_variable_is_not_set() -> None:
    assert Settings.from_env({"PORT": "", "MOBILESAM_CHECKPOINT": " "}) == Settings()


def test_readme_has_a_row_for_every_variable() -> None:
    class Recorder(Mapping[str, str]):
        asked: set[str] = set()

        def __getitem__(self, name: str) -> str:
            self.asked.add(name)
            raise KeyError(name)

        def __iter__(self) -> Iterator[str]:
            return iter(())

        def __len__(self) -> int:
            return 0

    Settings.from_env(Recorder())

    rows = re.findall(r"^\| (`[A-Z_`, ]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"[A-Z_]+", row)}
    assert documented == Recorder.asked
