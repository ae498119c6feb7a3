"""What the demo keeps of its Label Studio from one start to the next."""

from pathlib import Path

import pytest

from demo.label_studio import LabelStudio


def test_the_key_and_the_token_are_kept_where_no_other_user_reads_them(
    label_studio: LabelStudio,
) -> None:
    folder = label_studio.log_path.parent
    for name in ("secret-key", "token"):
        assert (folder / name).stat().st_mode & 0o077 == 0
    # no key of Label Studio's, which may begin with "$"
    assert not (folder / ".env").exists()
    assert label_studio.kept_token(folder / "token") == label_studio.token


def test_a_kept_token_that_is_refused_is_named(label_studio: LabelStudio, tmp_path: Path) -> None:
    path = tmp_path / "token"
    signed = label_studio.token.rpartition(".")[0]
    path.write_text(f"{signed}.of-another-key")
    with pytest.raises(RuntimeError, match=f"the kept token is refused: remove {tmp_path}"):
        label_studio.kept_token(path)
