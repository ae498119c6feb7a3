"""The counts of /metrics. prometheus_client adds the counts of gunicorn's workers.

docs/metrics.md explains each of them.
"""

from __future__ import annotations

import threading

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

Counts = dict[tuple[str, tuple[tuple[str, str], ...]], float]

# Upper bounds, seconds: from a click on an embedded image to a worker without an answer.
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_IOUS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)
_CLICKS = (1, 2, 3, 4, 5, 7, 10, 20)
_MOST_VERSIONS = 40  # of all projects, in a process; each takes 5 KB of the counts' file

CAUSES = (
    *("image", "task", "overload", "request", "password"),
    *("engine", "memory", "quality", "internal"),
)
TIERS = ("memory", "disk", "redis")
JOB_OUTCOMES = ("done", "failed", "dropped")
PREANNOTATION_OUTCOMES = ("answered", "written", "failed", "dropped")
CLICK_OUTCOMES = ("mask", "empty", "unanswerable")
SUGGESTION_OUTCOMES = ("shown", "accepted", "corrected", "rejected")

REQUESTS = Counter("mobilesam_requests", "HTTP requests", ["route", "status"])
FAILURES = Counter("mobilesam_failures", "Failures, by cause", ["cause"])
CLICKS = Counter("mobilesam_clicks", "Interactive requests, by outcome", ["outcome"])
ENCODES = Counter("mobilesam_encodes", "Images encoded")
CROP_ENCODES = Counter("mobilesam_crop_encodes", "Crops encoded to refine small objects")
JOBS = Counter("mobilesam_jobs", "Background jobs, by outcome", ["outcome"])
PREANNOTATIONS = Counter(
    "mobilesam_preannotations", "Tasks in which nobody has clicked, by outcome", ["outcome"]
)
EMBEDDING_HITS = Counter("mobilesam_embedding_hits", "Embeddings found, by tier", ["tier"])
CLICK_SECONDS = Histogram(
    "mobilesam_click_seconds", "Answering an interactive request", buckets=_SECONDS
)
FETCH_SECONDS = Histogram(
    "mobilesam_fetch_seconds", "Fetching and decoding an image", buckets=_SECONDS
)
ENCODER_WAIT_SECONDS = Histogram(
    "mobilesam_encoder_wait_seconds", "Waiting for the image encoder", buckets=_SECONDS
)
ENCODE_SECONDS = Histogram(
    "mobilesam_encode_seconds", "Encoding an image, without waiting", buckets=_SECONDS
)
WAITING = Gauge(
    "mobilesam_waiting",
    "Images waiting to be embedded ahead",
    ["team"],
    multiprocess_mode="livesum",
)
TIER_FAILURES = Counter(
    "mobilesam_tier_failures", "Failures of a cache tier: damaged entries, full disks", ["tier"]
)

_OF_VERSION = ["project", "version"]
SUGGESTIONS = Counter("mobilesam_suggestions", "Masks shown", [*_OF_VERSION, "outcome"])
CORRECTED_IOU = Histogram(
    "mobilesam_corrected_iou", "IoU of corrected masks", _OF_VERSION, buckets=_IOUS
)
OBJECT_CLICKS = Histogram(
    "mobilesam_object_clicks", "Clicks for each object kept", _OF_VERSION, buckets=_CLICKS
)

# Prometheus takes the first value of a count for its beginning. So counts begin at zero.
for _cause in CAUSES:
    FAILURES.labels(_cause)
for _outcome in CLICK_OUTCOMES:
    CLICKS.labels(_outcome)
for _outcome in JOB_OUTCOMES:
    JOBS.labels(_outcome)
for _outcome in PREANNOTATION_OUTCOMES:
    PREANNOTATIONS.labels(_outcome)
for _tier in TIERS:
    EMBEDDING_HITS.labels(_tier)
    TIER_FAILURES.labels(_tier)

_versions: set[tuple[str, str]] = set()
_versions_lock = threading.Lock()


def of_version(project: str, version: str) -> tuple[str, str]:
    """The labels of a version of a project. After many versions, they are "other".

    The file of the counts has room for a limited number of labels.
    """
    with _versions_lock:
        if (project, version) not in _versions:
            if len(_versions) >= _MOST_VERSIONS:
                return "other", "other"
            _versions.add((project, version))
            for outcome in SUGGESTION_OUTCOMES:
                SUGGESTIONS.labels(project, version, outcome)
            CORRECTED_IOU.labels(project, version)
            OBJECT_CLICKS.labels(project, version)
    return project, version


def registry() -> CollectorRegistry:
    """The counts of all workers of gunicorn. Without gunicorn, the counts of this process."""
    workers = CollectorRegistry()
    try:
        MultiProcessCollector(workers)
    except ValueError:  # no folder with counts of several workers
        return REGISTRY
    return workers


def counts() -> Counts:
    """Every count by its name and its labels, which are sorted."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in registry().collect()
        for sample in family.samples
    }
