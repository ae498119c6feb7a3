"""Versions of learnt decoders: kept, activated, rolled back, and refused where they are damaged."""

import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from backend.versions.errors import VersionError
from backend.versions.store import DecoderVersions
from model.checkpoint import Arrays
from model.decoder_file import DecoderRecord

# A small decoder is enough for what is kept here.
ARRAYS: Arrays = {"mask_decoder.iou_token.weight": np.ones((1, 4), np.float32)}


@pytest.fixture
def versions(tmp_path: Path) -> DecoderVersions:
    return DecoderVersions(tmp_path)


def test_a_version_comes_back_as_it_was(versions: DecoderVersions, record: DecoderRecord) -> None:
    arrays = {"prompt_encoder.no_mask_embed.weight": np.arange(6, dtype=np.float32), **ARRAYS}
    assert versions.add(1, arrays, record) == 1
    decoder = versions.load(1, 1)
    assert decoder.record == record
    assert decoder.arrays.keys() == arrays.keys()
    assert all(np.array_equal(decoder.arrays[name], array) for name, array in arrays.items())


def test_versions_are_numbered_for_each_project(
    versions: DecoderVersions, record: DecoderRecord
) -> None:
    assert [versions.add(project, ARRAYS, record) for project in (1, 1, 2, 1)] == [1, 2, 1, 3]
    assert versions.versions(1) == [1, 2, 3]
    assert versions.versions(2) == [1]
    assert versions.versions(3) == []


def test_the_number_of_a_removed_version_in_the_middle_is_not_used_again(
    tmp_path: Path, versions: DecoderVersions, record: DecoderRecord
) -> None:
    for _ in range(3):
        versions.add(1, ARRAYS, record)
    (tmp_path / "1" / "v2.safetensors").unlink()
    assert versions.add(1, ARRAYS, record) == 4


def test_nothing_is_active_before_it_is_activated(
    versions: DecoderVersions, record: DecoderRecord
) -> None:
    versions.add(1, ARRAYS, record)
    assert versions.active(1) is None


def test_a_rollback_goes_back_one_activation_at_a_time(
    versions: DecoderVersions, record: DecoderRecord
) -> None:
    for number in (1, 2, 3):
        versions.add(1, ARRAYS, record)
        versions.activate(1, number)
    versions.activate(1, 1)
    assert [versions.rollback(1) for _ in range(5)] == [3, 2, 1, None, None]
    assert versions.active(1) is None


def test_the_active_version_may_be_activated_again(
    versions: DecoderVersions, record: DecoderRecord
) -> None:
    versions.add(1, ARRAYS, record)
    versions.activate(1, 1)
    versions.activate(1, 1)
    assert versions.rollback(1) is None


def test_others_who_share_the_folder_see_a_change(
    tmp_path: Path, versions: DecoderVersions, record: DecoderRecord
) -> None:
    versions.add(1, ARRAYS, record)
    versions.activate(1, 1)
    other = DecoderVersions(tmp_path)
    assert other.active(1) == 1
    other.rollback(1)
    assert versions.active(1) is None


def test_namespaces_do_not_mix(tmp_path: Path, record: DecoderRecord) -> None:
    team, other = DecoderVersions(tmp_path, namespace="a"), DecoderVersions(tmp_path, namespace="b")
    team.add(1, ARRAYS, record)
    team.activate(1, 1)
    assert other.versions(1) == []
    assert other.active(1) is None
    assert DecoderVersions(tmp_path).projects() == []


def test_two_who_add_at_once_get_different_numbers(tmp_path: Path, record: DecoderRecord) -> None:
    numbers: list[int] = []

    def add() -> None:
        numbers.append(DecoderVersions(tmp_path).add(1, ARRAYS, record))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))


def _flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        pytest.param(lambda data: data[:-3], "is damaged", id="cut off"),
        pytest.param(_flip, "checksum", id="a flipped bit"),
        pytest.param(lambda data: b"noise", "is damaged", id="noise"),
        pytest.param(lambda data: b"", "is damaged", id="empty"),
        pytest.param(lambda data: b"\xff" * 64, "is damaged", id="an endless header"),
    ],
)
def test_a_damaged_version_is_refused_and_never_activated(
    tmp_path: Path, versions: DecoderVersions, record: DecoderRecord, damage, sentence: str
) -> None:
    versions.add(1, ARRAYS, record)
    path = tmp_path / "1" / "v1.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(VersionError, match=sentence):
        versions.activate(1, 1)
    assert versions.active(1) is None


def test_a_checkpoint_is_no_version(tmp_path: Path, versions: DecoderVersions) -> None:
    from model.weights import BUILTIN_PATH

    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "v1.safetensors").write_bytes(BUILTIN_PATH.read_bytes())
    with pytest.raises(VersionError, match="not of a learnt decoder"):
        versions.load(1, 1)


def test_a_link_in_the_place_of_a_version_is_not_followed(
    tmp_path: Path, versions: DecoderVersions, record: DecoderRecord
) -> None:
    versions.add(1, ARRAYS, record)
    path = tmp_path / "1" / "v1.safetensors"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(VersionError, match="cannot be read"):
        versions.load(1, 1)


def test_a_version_that_is_not_there_cannot_be_activated(versions: DecoderVersions) -> None:
    with pytest.raises(VersionError, match="version 7 of project 1 .* does not exist"):
        versions.activate(1, 7)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        pytest.param({}, "is empty", id="nothing"),
        pytest.param(
            {"image_encoder.neck.0.weight": np.ones(1, np.float32)}, "no decoder has", id="encoder"
        ),
        pytest.param(
            {"mask_decoder.iou_token.weight": np.array([np.nan], np.float32)}, "finite", id="nan"
        ),
    ],
)
def test_what_is_no_decoder_cannot_be_added(
    versions: DecoderVersions, record: DecoderRecord, arrays: Arrays, sentence: str
) -> None:
    with pytest.raises(VersionError, match=sentence):
        versions.add(1, arrays, record)
    assert versions.versions(1) == []


@pytest.mark.parametrize("text", ["", "[]", '{"active": 1}', '{"active": "1", "before": []}'])
def test_a_damaged_note_of_what_is_active_means_the_base(
    tmp_path: Path,
    versions: DecoderVersions,
    record: DecoderRecord,
    caplog: pytest.LogCaptureFixture,
    text: str,
) -> None:
    versions.add(1, ARRAYS, record)
    versions.activate(1, 1)
    (tmp_path / "1" / "active.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert [versions.active(1) for _ in range(3)] == [None] * 3
    (record_of_log,) = caplog.records  # it is looked at every second
    assert "until a version is activated again" in record_of_log.message
    versions.activate(1, 1)
    assert versions.active(1) == 1
