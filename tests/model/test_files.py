"""Folders that appear complete or not at all."""

from pathlib import Path

import pytest

from model.files import new_folder


def test_a_folder_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "above" / "folder"
    with new_folder(path) as folder:
        (folder / "file").write_text("whole")
        assert not path.exists()
    assert (path / "file").read_text() == "whole"
    assert [one.name for one in path.parent.iterdir()] == ["folder"]
    assert path.stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    with new_folder(tmp_path) as folder:
        (folder / "file").touch()
    assert (tmp_path / "file").exists()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "folder"
    with pytest.raises(error), new_folder(path) as folder:
        (folder / "file").touch()
        raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file", "full"])
def test_what_is_there_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "file").write_text("old")
    (tmp_path / "full" / "a").write_text("old")
    with pytest.raises(ValueError, match=f"{name} exists already"), new_folder(tmp_path / name):
        raise AssertionError
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "full"]
