"""A tier never fails its caller, and never gives out what it was not given."""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from backend.embeddings.codec import pack, unpack
from backend.embeddings.disk_tier import DiskTier
from model import ImageEmbedding

MIB = 1 << 20


def embedding(value: float = 1.0, numbers: int = 1024) -> ImageEmbedding:
    return ImageEmbedding(np.full((1, numbers), value, dtype=np.float16), (480, 640))


ENTRY = len(pack("key-new", embedding()))  # bytes


def wait_until_within(folder: Path, max_bytes: int) -> None:
    """Eviction goes on beside the work."""
    deadline = time.monotonic() + 30
    while kept_bytes(folder) > max_bytes:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kept_bytes(folder: Path) -> int:
    sizes = []
    for path in folder.glob("??/*"):
        with suppress(FileNotFoundError):  # evicted since it was listed
            sizes.append(path.stat().st_size)
    return sum(sizes)


class TestPack:
    def test_round_trip(self) -> None:
        found = unpack("key", pack("key", embedding(2.5)))
        assert found.original_size == (480, 640)
        np.testing.assert_array_equal(found.features, embedding(2.5).features)

    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(b"", id="empty"),
            pytest.param(os.urandom(4096), id="noise"),
            pytest.param(pack("key", embedding())[:-7], id="cut-off"),
            pytest.param(pack("other", embedding()), id="other-key"),
            pytest.param(pack("key", embedding())[:-1] + b"\x7f", id="one-byte"),
        ],
    )
    def test_what_is_damaged_is_found_out(self, data: bytes) -> None:
        with pytest.raises(ValueError, match="damaged or foreign"):
            unpack("key", data)


class TestDisk:
    def test_a_damaged_file_is_a_miss_and_is_removed(self, tmp_path: Path) -> None:
        tier = DiskTier(tmp_path, MIB)
        tier.put("key", embedding())
        (path,) = tmp_path.glob("??/*")
        path.write_bytes(os.urandom(path.stat().st_size))
        assert tier.get("key") is None
        assert not path.exists()

    def test_the_least_recently_used_go_first(self, tmp_path: Path) -> None:
        tier = DiskTier(tmp_path, 10 * ENTRY)
        for index in range(10):
            tier.put(f"key-{index}", embedding())
        for age, index in enumerate([0, *range(2, 10), 1]):  # 0 is the oldest, 1 the newest
            (path,) = tmp_path.glob(f"??/key-{index}.safetensors")
            os.utime(path, (age, age))
        tier.put("key-new", embedding())

        wait_until_within(tmp_path, 10 * ENTRY)
        assert tier.get("key-0") is None
        assert tier.get("key-1") is not None
        assert tier.get("key-new") is not None

    def test_what_earlier_runs_left_counts(self, tmp_path: Path) -> None:
        large = DiskTier(tmp_path, 100 * MIB)
        for index in range(20):
            large.put(f"key-{index}", embedding())
        DiskTier(tmp_path, 5 * ENTRY).put("key-new", embedding())
        wait_until_within(tmp_path, 5 * ENTRY)

    def test_notes_of_tasks_do_not_pile_up(self, tmp_path: Path) -> None:
        tier = DiskTier(tmp_path, 8 * 4096)
        for task_id in range(40):
            tier.note_task(str(task_id), "key")
        tier.put("key", embedding())
        deadline = time.monotonic() + 30
        while len(list(tmp_path.glob("tasks/*/*"))) > 8:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_a_folder_that_cannot_be_written_is_said_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("where the folder should be")
        tier = DiskTier(blocked, MIB)
        with caplog.at_level(logging.INFO):
            for index in range(3):
                tier.put(f"key-{index}", embedding())
                assert tier.get(f"key-{index}") is None
                with tier.hold(f"key-{index}"):
                    pass
        (record,) = caplog.records
        assert "cannot be used, serving goes on without it" in record.message

        blocked.unlink()
        with caplog.at_level(logging.INFO):
            tier.put("key", embedding())
        assert "works again" in caplog.records[-1].message
        assert tier.get("key") is not None
