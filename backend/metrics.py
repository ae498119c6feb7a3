"""The counts of /metrics. prometheus_client adds the counts of gunicorn's workers."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Summary
from prometheus_client.multiprocess import MultiProcessCollector

CLICKS = Counter("mobilesam_clicks", "Interactive requests, by outcome", ["outcome"])
ENCODES = Counter("mobilesam_encodes", "Images encoded")
CROP_ENCODES = Counter("mobilesam_crop_encodes", "Crops encoded to refine small objects")
JOBS = Counter("mobilesam_jobs", "Background jobs, by outcome", ["outcome"])
EMBEDDING_HITS = Counter("mobilesam_embedding_hits", "Embeddings found, by tier", ["tier"])
CLICK_SECONDS = Summary("mobilesam_click_seconds", "Answering an interactive request")
ENCODE_SECONDS = Summary("mobilesam_encode_seconds", "Encoding an image, without waiting")
WAITING = Gauge(
    "mobilesam_waiting", "Images waiting to be embedded ahead", multiprocess_mode="livesum"
)
TIER_FAILURES = Counter(
    "mobilesam_tier_failures", "Failures of a cache tier: damaged entries, full disks", ["tier"]
)


def registry() -> CollectorRegistry:
    """The counts of all workers of gunicorn. Without gunicorn, the counts of this process."""
    workers = CollectorRegistry()
    try:
        MultiProcessCollector(workers)
    except ValueError:  # no folder with counts of several workers
        return REGISTRY
    return workers


def counts() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every count by its name and its labels."""
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in registry().collect()
        for sample in family.samples
    }
