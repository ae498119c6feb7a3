"""Suggestions wait for the submission of their task, and no longer."""

import os
import time
from pathlib import Path

import pytest
import redis

from backend.quality import places
from backend.quality.places import FolderPlace, Place, RedisPlace

TASK = (1, 7)


@pytest.fixture(params=["folder", pytest.param("redis", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return FolderPlace(tmp_path / "suggestions")
    return RedisPlace(request.getfixturevalue("redis_server")[1], "mobile-sam:suggestions")


def test_the_suggestions_of_a_task_are_taken_once(place: Place) -> None:
    for data in (b"one", b"two"):
        place.put(TASK, data)
    place.put((1, 8), b"of another task")
    assert place.has(TASK)
    assert sorted(place.take(TASK)) == [b"one", b"two"]
    assert not place.has(TASK)
    assert place.take(TASK) == []
    assert place.take((1, 8)) == [b"of another task"]


def test_the_last_suggestions_of_a_task_are_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_MOST_OF_TASK", 3)
    for number in range(9):
        place.put(TASK, str(number).encode())
    assert len(place.take(TASK)) == 3


def test_the_folder_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_PRUNE_EVERY", 10)
    monkeypatch.setattr(places, "_MOST_FILES", 20)
    place = FolderPlace(tmp_path)
    for number in range(100):
        place.put((1, number), b"data")
    assert len(list(tmp_path.glob("*/*"))) <= 30
    assert len(list(tmp_path.iterdir())) <= 30  # no empty folders
    assert place.has((1, 99))


def test_the_folder_does_not_grow_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_PRUNE_BYTES", 2_000)
    monkeypatch.setattr(places, "_MOST_BYTES", 10_000)
    place = FolderPlace(tmp_path)
    for number in range(100):
        place.put((1, number), bytes(1_000))
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*")) <= 12_000
    assert place.has((1, 99))


def test_a_suggestion_that_is_too_large_is_not_kept(place: Place) -> None:
    place.put(TASK, b"small")
    place.put(TASK, bytes((1 << 20) + 1))
    assert place.take(TASK) == [b"small"]


def test_what_cannot_be_read_leaves_the_other_suggestions(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    place.put(TASK, b"data")
    (tmp_path / "1-7" / "folder").mkdir()
    (tmp_path / "1-7" / "link").symlink_to("/etc/hostname")
    assert place.take(TASK) == [b"data"]


def test_only_what_suggestions_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_MOST_FILES", 1)
    monkeypatch.setattr(places, "_TAKEN_S", -1)
    (tmp_path / "a-team" / "1-1").mkdir(parents=True)
    (tmp_path / "a-team" / "1-1" / "its").write_bytes(b"")
    (tmp_path / "taken-0123").mkdir()
    (tmp_path / "taken-0123" / "left").write_bytes(b"")
    FolderPlace(tmp_path).put(TASK, b"data")
    assert (tmp_path / "a-team" / "1-1" / "its").exists()
    assert not (tmp_path / "taken-0123").exists()


def test_tasks_that_nobody_submits_are_forgotten(tmp_path: Path) -> None:
    FolderPlace(tmp_path).put((1, 1), b"old")
    (old,) = tmp_path.glob("1-1/*")
    week_ago = time.time() - places.KEPT_S - 1
    os.utime(old, (week_ago, week_ago))
    place = FolderPlace(tmp_path)  # after a restart
    place.put((1, 2), b"new")
    assert not place.has((1, 1))
    assert place.has((1, 2))


def test_redis_keeps_the_tasks_that_were_clicked_in_last(
    redis_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_PRUNE_BYTES", 2_000)
    monkeypatch.setattr(places, "_MOST_BYTES", 20_000)
    place = RedisPlace(redis_server[1], "p")
    with redis.Redis.from_url(redis_server[1]) as client:
        others = ("p:a-team:1:1", "embedding")  # what belongs to somebody else stays
        for name in others:
            client.rpush(name, bytes(50_000))
        for number in range(100):
            place.put((1, number), bytes(1_000))
            place.put((2, 1), b"another click")
            time.sleep(0.002)  # the order of two suggestions of one millisecond is not known
        kept = set(client.keys("p:[0-9]*"))
        assert sum(client.memory_usage(name) for name in kept) <= 24_000
        assert client.exists(*others) == 2
    assert {b"p:1:99", b"p:2:1"} <= kept
    assert b"p:1:0" not in kept


def test_redis_forgets_them_too(redis_server) -> None:
    RedisPlace(redis_server[1], "p").put(TASK, b"data")
    with redis.Redis.from_url(redis_server[1]) as client:
        assert 0 < client.ttl("p:1:7") <= places.KEPT_S
