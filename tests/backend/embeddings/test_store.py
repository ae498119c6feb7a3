"""No image is encoded twice while its embedding is kept anywhere."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from backend.embeddings.disk_tier import DiskTier
from backend.embeddings.priority import Demand, Priority
from backend.embeddings.store import EmbeddingStore
from model import ImageEmbedding

KIB = 1024


def computed(value: float = 0.0) -> Callable[..., ImageEmbedding]:
    """Makes an embedding that takes 1 KiB in fp16."""
    return lambda demand: ImageEmbedding(np.full(512, value, dtype=np.float32), (3, 4))


def never(demand: Demand) -> ImageEmbedding:
    raise AssertionError("this must come from the store")


class TestMemory:
    def test_computed_once_and_kept(self) -> None:
        store = EmbeddingStore(4 * KIB)
        first = store.get_or_compute("a", computed())
        assert store.get_or_compute("a", never) is first
        assert first.features.dtype == np.float16

    def test_the_least_recently_used_goes_first(self) -> None:
        store = EmbeddingStore(2 * KIB)
        for key in ("a", "b"):
            store.get_or_compute(key, computed())
        store.get_or_compute("a", never)
        store.get_or_compute("c", computed())

        store.get_or_compute("a", never)
        store.get_or_compute("c", never)
        with pytest.raises(AssertionError):
            store.get_or_compute("b", never)

    def test_one_larger_than_the_store_is_handed_out(self) -> None:
        store = EmbeddingStore(KIB // 2)
        assert store.get_or_compute("a", computed(7)).features[0] == 7
        assert store.get_or_compute("a", computed(8)).features[0] == 8

    def test_dropped_is_computed_again(self) -> None:
        store = EmbeddingStore(4 * KIB)
        store.get_or_compute("a", computed())
        store.drop("a")
        store.drop("never there")
        assert store.get_or_compute("a", computed(5)).features[0] == 5

    def test_an_embedding_of_another_size_is_computed_again(self, tmp_path: Path) -> None:
        store = EmbeddingStore(4 * KIB, [DiskTier(tmp_path, 1 << 20)])
        store.get_or_compute("a", computed(1))
        for _ in range(2):  # from memory, then from disk
            assert store.get_or_compute("a", never, expected_size=(3, 4)).features[0] == 1
            store = EmbeddingStore(4 * KIB, [DiskTier(tmp_path, 1 << 20)])
        assert store.get_or_compute("a", computed(2), expected_size=(5, 6)).features[0] == 2


class TestSingleFlight:
    def test_simultaneous_requests_compute_once(self) -> None:
        store = EmbeddingStore(4 * KIB)
        arrived = threading.Barrier(17)
        calls: list[int] = []

        def compute(demand: Demand) -> ImageEmbedding:
            calls.append(1)
            return computed()(demand)

        def ask() -> ImageEmbedding:
            arrived.wait()
            return store.get_or_compute("a", compute)

        with ThreadPoolExecutor(16) as pool:
            answers = [pool.submit(ask) for _ in range(16)]
            arrived.wait()
            found = {id(answer.result()) for answer in answers}

        assert len(calls) == 1
        assert len(found) == 1

    def test_a_failure_reaches_everyone_who_waits_and_is_not_kept(self) -> None:
        store = EmbeddingStore(4 * KIB)
        computing, release = threading.Event(), threading.Event()

        def fail(demand: Demand) -> ImageEmbedding:
            computing.set()
            release.wait()
            raise OSError("no such image")

        with ThreadPoolExecutor(2) as pool:
            leader = pool.submit(store.get_or_compute, "a", fail)
            computing.wait()
            follower = pool.submit(store.get_or_compute, "a", fail)
            release.set()
            for answer in (leader, follower):
                with pytest.raises(OSError, match="no such image"):
                    answer.result()

        assert store.get_or_compute("a", computed(1)).features[0] == 1

    def test_background_work_becomes_urgent_when_somebody_waits_for_it(self) -> None:
        store = EmbeddingStore(4 * KIB)
        computing, clicked = threading.Event(), threading.Event()
        priorities: list[Priority] = []

        def compute(demand: Demand) -> ImageEmbedding:
            priorities.append(demand.priority)
            computing.set()
            while demand.priority is not Priority.CLICK:
                assert clicked.wait(30)
            priorities.append(demand.priority)
            return computed()(demand)

        with ThreadPoolExecutor(2) as pool:
            background = pool.submit(store.get_or_compute, "a", compute, priority=Priority.REST)
            computing.wait()
            click = pool.submit(store.get_or_compute, "a", never)
            clicked.set()
            assert background.result() is click.result()
        assert priorities == [Priority.REST, Priority.CLICK]


class TestTiers:
    def test_another_process_finds_it_on_disk(self, tmp_path: Path) -> None:
        EmbeddingStore(4 * KIB, [DiskTier(tmp_path, 1 << 20)]).get_or_compute("a", computed(3))
        restarted = EmbeddingStore(4 * KIB, [DiskTier(tmp_path, 1 << 20)])
        found = restarted.get_or_compute("a", never)
        assert found.features.tolist() == [3] * 512
        assert found.original_size == (3, 4)

    def test_a_wider_tier_fills_the_narrower_ones(self, tmp_path: Path) -> None:
        near, far = DiskTier(tmp_path / "near", 1 << 20), DiskTier(tmp_path / "far", 1 << 20)
        EmbeddingStore(4 * KIB, [far]).get_or_compute("a", computed())
        EmbeddingStore(4 * KIB, [near, far]).get_or_compute("a", never)
        assert near.get("a") is not None

    def test_dropped_is_gone_everywhere(self, tmp_path: Path) -> None:
        tier = DiskTier(tmp_path, 1 << 20)
        store = EmbeddingStore(4 * KIB, [tier])
        store.get_or_compute("a", computed())
        store.drop("a")
        assert tier.get("a") is None

    def test_two_processes_that_want_the_same_compute_it_once(self, tmp_path: Path) -> None:
        """Two stores stand for two processes: the lock is on a file, not on an object."""
        stores = [EmbeddingStore(4 * KIB, [DiskTier(tmp_path, 1 << 20)]) for _ in range(2)]
        computing, release = threading.Event(), threading.Event()

        def compute(demand: Demand) -> ImageEmbedding:
            computing.set()
            release.wait()
            return computed(9)(demand)

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(stores[0].get_or_compute, "a", compute)
            computing.wait()
            second = pool.submit(stores[1].get_or_compute, "a", never)
            release.set()
            assert first.result().features[0] == second.result().features[0] == 9
