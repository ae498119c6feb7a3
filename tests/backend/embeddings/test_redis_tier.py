"""A Redis that is full, frozen, restarted or short of memory never fails a click."""

import logging
import signal
import subprocess
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
import redis

from backend import metrics
from backend.embeddings.redis_tier import RedisTier
from model import ImageEmbedding

EMBEDDING = ImageEmbedding(np.ones((1, 4, 2, 2), np.float16), (480, 640))
LOCK = "mobile-sam:embedding:key:lock"

Server = tuple[subprocess.Popen, str]


@pytest.fixture
def tier(redis_server: Server) -> RedisTier:
    return RedisTier(redis_server[1])


@pytest.fixture
def client(redis_server: Server):
    with redis.Redis.from_url(redis_server[1]) as client:
        yield client


def test_a_lock_that_redis_evicts_is_no_failure(
    tier: RedisTier, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with tier.hold("key"):
        client.delete(LOCK)
    tier.put("key", EMBEDDING)
    assert tier.get("key") is not None  # Redis is not left alone
    assert not caplog.records


def test_a_lock_that_redis_evicts_is_taken_again(tier: RedisTier, client: redis.Redis) -> None:
    with tier.hold("key"):
        client.delete(LOCK)
        deadline = time.monotonic() + 30
        while not client.exists(LOCK):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert not client.exists(LOCK)


def test_the_lock_of_another_host_is_left_alone(tier: RedisTier, client: redis.Redis) -> None:
    with tier.hold("key"):
        client.set(LOCK, "another host")
    assert client.get(LOCK) == b"another host"


def test_a_full_redis_still_answers_reads(
    tier: RedisTier, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    tier.put("key", EMBEDDING)
    client.config_set("maxmemory", "1")
    for _ in range(3):
        tier.put("other", EMBEDDING)
        with tier.hold("other"):
            pass
        assert tier.get("key") is not None
    (record,) = caplog.records
    assert "Redis cannot be used, serving goes on without it" in record.message

    client.config_set("maxmemory", "0")
    with caplog.at_level(logging.INFO):
        tier.put("other", EMBEDDING)
    assert "works again" in caplog.records[-1].message


def test_a_frozen_redis_is_asked_once(redis_server: Server, tier: RedisTier) -> None:
    def failures() -> float:
        return metrics.TIER_FAILURES.labels("redis")._value.get()

    tier.put("key", EMBEDDING)
    before = failures()
    redis_server[0].send_signal(signal.SIGSTOP)
    try:
        for _ in range(3):
            assert tier.get("key") is None
        assert failures() == before + 1
    finally:
        redis_server[0].send_signal(signal.SIGCONT)


def test_a_restarted_redis_is_used_at_once(redis_server: Server, tier: RedisTier) -> None:
    process, url = redis_server
    tier.put("key", EMBEDDING)
    arguments = process.args
    process.kill()
    process.wait()
    again = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                redis.Redis(port=urlsplit(url).port).ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        tier.put("key", EMBEDDING)
        assert tier.get("key") is not None
    finally:
        again.kill()
        again.wait()


@pytest.mark.parametrize("value", ["noise", "list"])
def test_a_foreign_entry_is_a_miss(tier: RedisTier, client: redis.Redis, value: str) -> None:
    name = "mobile-sam:embedding:key"
    client.set(name, "noise") if value == "noise" else client.rpush(name, "noise")
    assert tier.get("key") is None
    tier.put("key", EMBEDDING)
    assert tier.get("key") is not None
