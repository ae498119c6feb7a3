"""The checkpoint file: the one that was asked for, the published one, or the built-in one."""

import hashlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from model import load_predictor, weights


@pytest.fixture
def served(tmp_path: Path, start_server: Callable[..., str]) -> tuple[Path, str]:
    """A folder and the URL on loopback that it is served under."""
    folder = tmp_path / "served"
    folder.mkdir()

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], bytes]:
        path = folder / request.path.strip("/")
        return (200, {}, path.read_bytes()) if path.is_file() else (404, {}, b"")

    return folder, start_server(answer)


class TestFind:
    def test_the_one_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.pt"
        path.write_bytes(b"mine")
        found = weights.find(path, tmp_path)
        assert found.path == path
        assert found.fingerprint == hashlib.sha256(b"mine").hexdigest()
        assert found.model_version == f"mobile-sam-{found.fingerprint[:8]}"
        assert not found.is_builtin

    def test_the_one_asked_for_or_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no checkpoint file .*gone.pt"):
            weights.find(tmp_path / "gone.pt", tmp_path)

    def test_the_builtin_one_where_nothing_was_downloaded(self, tmp_path: Path) -> None:
        found = weights.find(None, tmp_path / "not made yet")
        assert found.is_builtin
        assert found.model_version == "mobile-sam-builtin"

    def test_a_wrong_file_in_the_model_dir_is_never_used(self, tmp_path: Path) -> None:
        (tmp_path / weights.PUBLISHED_NAME).write_bytes(b"half of it")
        with pytest.raises(ValueError, match="not the published mobile_sam.pt.*remove it"):
            weights.find(None, tmp_path)


class TestDownload:
    def test_verified_and_complete(self, served: tuple[Path, str], tmp_path: Path) -> None:
        folder, url = served
        (folder / "weights").write_bytes(b"published")
        model_dir = tmp_path / "models"
        checksum = hashlib.sha256(b"published").hexdigest()

        path = weights.download(model_dir, f"{url}/weights", checksum)

        assert path.read_bytes() == b"published"
        assert path.stat().st_mode & 0o777 == 0o644
        (folder / "weights").unlink()
        assert weights.download(model_dir, f"{url}/weights", checksum) == path  # not twice

    @pytest.mark.parametrize(
        ("path", "error", "sentence"),
        [
            pytest.param("weights", ValueError, "sent something else", id="other-content"),
            pytest.param("gone", OSError, "cannot be downloaded.*404", id="not-found"),
        ],
    )
    def test_nothing_is_left_behind(
        self,
        served: tuple[Path, str],
        tmp_path: Path,
        path: str,
        error: type[Exception],
        sentence: str,
    ) -> None:
        folder, url = served
        (folder / "weights").write_bytes(b"a login page")
        model_dir = tmp_path / "models"
        with pytest.raises(error, match=sentence):
            weights.download(model_dir, f"{url}/{path}", weights.PUBLISHED_SHA256)
        assert list(model_dir.iterdir()) == []

    def test_no_network(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="cannot be downloaded"):
            weights.download(tmp_path, "http://127.0.0.1:9/mobile_sam.pt", weights.PUBLISHED_SHA256)


class TestLoad:
    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            pytest.param(b"<html>not found", "neither a PyTorch nor a safetensors", id="html"),
            pytest.param(b"", "neither a PyTorch nor a safetensors", id="empty"),
            pytest.param(b"PK\x03\x04 cut off", "cannot be read as a PyTorch", id="truncated"),
            pytest.param(b"\x10" + bytes(7) + b"{broken", "no checkpoint of this", id="own-broken"),
        ],
    )
    def test_what_is_no_checkpoint_says_so(
        self, tmp_path: Path, content: bytes, sentence: str
    ) -> None:
        path = tmp_path / "wrong.pt"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=sentence):
            load_predictor(path)

    def test_a_checkpoint_of_something_else_names_a_tensor(
        self, seeded_checkpoint: Path, tmp_path: Path
    ) -> None:
        import torch

        state_dict = torch.load(seeded_checkpoint, weights_only=True)
        del state_dict["mask_decoder.iou_token.weight"]
        path = tmp_path / "other.pt"
        torch.save(state_dict, path)
        with pytest.raises(ValueError, match="1 tensor is missing: mask_decoder.iou_token.weight"):
            load_predictor(path)

    def test_a_file_that_would_run_code_is_refused(self, tmp_path: Path) -> None:
        import torch

        class Evil:
            def __reduce__(self) -> tuple[object, ...]:
                return (Path.touch, (tmp_path / "owned",))

        path = tmp_path / "evil.pt"
        torch.save({"key": Evil()}, path)
        with pytest.raises(ValueError, match="cannot be read as a PyTorch checkpoint"):
            load_predictor(path)
        assert not (tmp_path / "owned").exists()
