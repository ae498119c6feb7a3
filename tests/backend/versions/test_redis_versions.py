"""Hosts that share a Redis and no folder agree on the versions of learnt decoders."""

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from backend.versions import redis_versions, store
from backend.versions.errors import VersionError
from backend.versions.store import DecoderVersions
from model.checkpoint import Arrays
from model.decoder_file import DecoderRecord

ARRAYS: Arrays = {"mask_decoder.iou_token.weight": np.ones((1, 4), np.float32)}


@pytest.fixture
def host(
    tmp_path: Path, redis_server: tuple[subprocess.Popen, str]
) -> Callable[[str], DecoderVersions]:
    """Makes the versions as a host of a name sees them. Each host has a folder of its own."""
    return lambda name: DecoderVersions(tmp_path / name, redis_server[1])


def test_another_host_serves_what_was_activated(
    tmp_path: Path, host: Callable[[str], DecoderVersions], record: DecoderRecord
) -> None:
    a, b = host("a"), host("b")
    assert a.add(1, ARRAYS, record) == 1
    a.activate(1, 1)
    assert b.active(1) == 1
    assert b.load(1, 1).record == record
    assert (tmp_path / "b" / "1" / "v1.safetensors").is_file()  # kept for a day without Redis
    assert b.add(1, ARRAYS, record) == 2
    b.activate(1, 2)
    assert a.active(1) == 2
    assert a.rollback(1) == 1
    assert b.active(1) == 1


def test_a_redis_that_lost_everything_gets_it_back(
    host: Callable[[str], DecoderVersions],
    redis_server: tuple[subprocess.Popen, str],
    record: DecoderRecord,
) -> None:
    a = host("a")
    for number in (1, 2):
        a.add(1, ARRAYS, record)
        a.activate(1, number)
    a.add(1, ARRAYS, record)
    with redis.Redis.from_url(redis_server[1]) as client:
        client.flushall()
    assert a.active(1) == 2
    new = host("new")
    assert new.versions(1) == [1, 2, 3]
    assert new.active(1) == 2
    assert new.load(1, 2).record == record


def test_a_damaged_file_is_fetched_again(
    tmp_path: Path, host: Callable[[str], DecoderVersions], record: DecoderRecord
) -> None:
    a = host("a")
    a.add(1, ARRAYS, record)
    (tmp_path / "a" / "1" / "v1.safetensors").write_bytes(b"noise")
    assert a.load(1, 1).record == record
    assert host("a").load(1, 1).record == record


def test_a_damaged_version_in_redis_is_refused(
    host: Callable[[str], DecoderVersions], redis_server: tuple[subprocess.Popen, str]
) -> None:
    with redis.Redis.from_url(redis_server[1]) as client:
        client.hset("mobile-sam:decoders:1", "1", "noise")
    with pytest.raises(VersionError, match="version 1 of project 1"):
        host("a").load(1, 1)


@pytest.mark.parametrize("damage", ["noise", "folder", "link"])
def test_damaged_versions_are_not_published(
    tmp_path: Path,
    host: Callable[[str], DecoderVersions],
    redis_server: tuple[subprocess.Popen, str],
    record: DecoderRecord,
    damage: str,
) -> None:
    a = host("a")
    for number in (1, 2):
        a.add(1, ARRAYS, record)
        a.activate(1, number)
    path = tmp_path / "a" / "1" / "v1.safetensors"
    path.unlink()
    if damage == "noise":
        path.write_bytes(b"noise")
    elif damage == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.with_name("v2.safetensors"))
    with redis.Redis.from_url(redis_server[1]) as client:
        client.flushall()
    assert a.active(1) == 2
    assert host("b").versions(1) == [2]
    assert a.rollback(1) == 1  # the base serves where a version cannot be loaded
    a.activate(1, 2)
    assert host("b").active(1) == 2


def test_odd_fields_in_redis_are_no_versions(
    host: Callable[[str], DecoderVersions],
    redis_server: tuple[subprocess.Popen, str],
    record: DecoderRecord,
) -> None:
    a = host("a")
    a.add(1, ARRAYS, record)
    with redis.Redis.from_url(redis_server[1]) as client:
        for field in ("0", "007", "9" * 5000):
            client.hset("mobile-sam:decoders:1", field, "noise")
    assert a.versions(1) == [1]


def test_a_version_in_redis_that_is_too_large_is_not_fetched(
    host: Callable[[str], DecoderVersions],
    record: DecoderRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host("a").add(1, ARRAYS, record)
    monkeypatch.setattr(redis_versions, "LARGEST_FILE", 8)
    with pytest.raises(VersionError, match="version 1 of project 1"):
        host("b").load(1, 1)


def test_a_redis_without_an_answer_is_left_alone_for_a_while(
    host: Callable[[str], DecoderVersions],
    redis_server: tuple[subprocess.Popen, str],
    record: DecoderRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = host("a"), host("b")
    monkeypatch.setattr(store, "_RETRY_AFTER_S", 3600.0)
    redis_server[0].send_signal(signal.SIGSTOP)
    try:
        assert b.active(1) is None
    finally:
        redis_server[0].send_signal(signal.SIGCONT)
    a.add(1, ARRAYS, record)
    a.activate(1, 1)
    assert b.active(1) is None  # a click that waits does not wait for Redis again
    assert host("c").active(1) == 1


def test_without_redis_nothing_changes_and_the_last_version_serves(
    host: Callable[[str], DecoderVersions],
    redis_server: tuple[subprocess.Popen, str],
    record: DecoderRecord,
    caplog: pytest.LogCaptureFixture,
) -> None:
    a = host("a")
    a.add(1, ARRAYS, record)
    a.activate(1, 1)
    redis_server[0].send_signal(signal.SIGSTOP)
    try:
        assert a.active(1) == 1
        with pytest.raises(VersionError, match="other hosts would not learn of the change"):
            a.rollback(1)
    finally:
        redis_server[0].send_signal(signal.SIGCONT)
    assert a.active(1) == 1
    assert sum("last known ones serve" in record.message for record in caplog.records) == 1
