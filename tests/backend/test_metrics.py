"""What /metrics counts, under several workers too."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from backend import metrics
from backend.metrics_folder import _FILE_BYTES

ROOT = Path(__file__).parents[2]

Recorded = Callable[[str], dict]


def samples(backend, name: str) -> dict[str, float]:
    """The samples of a metric by their labels."""
    lines = backend.client.get("/metrics").text.splitlines()
    found = (re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line) for line in lines)
    return {match[1] or "": float(match[2]) for match in found if match}


@pytest.fixture(scope="module")
def backend(start_backend, image_host: str):
    """A backend with 2 workers that has seen nothing yet."""
    return start_backend(LABEL_STUDIO_URL=image_host, WORKERS="2")


def test_every_worker_adds_to_the_same_counts(backend, recorded: Recorded) -> None:
    body = recorded("click_positive")["json"]
    for _ in range(20):  # the workers take them by chance
        assert backend.client.post("/predict", json=body).status_code == 200
    assert backend.client.get("/nothing").status_code == 404
    assert backend.client.post("/predict", json=[]).status_code == 400

    requests = samples(backend, "mobilesam_requests_total")
    assert requests['route="/predict",status="200"'] == 20
    assert requests['route="/predict",status="400"'] == 1
    assert requests['route="other",status="404"'] == 1
    failures = samples(backend, "mobilesam_failures_total")
    assert {cause: count for cause, count in failures.items() if count} == {'cause="request"': 2}
    assert failures.keys() == {f'cause="{cause}"' for cause in metrics.CAUSES}
    for name in ("click", "fetch", "encoder_wait", "encode"):
        buckets = samples(backend, f"mobilesam_{name}_seconds_bucket")
        count = samples(backend, f"mobilesam_{name}_seconds_count")[""]
        assert count == (20 if name == "click" else 1)  # one worker encodes, the other finds it
        assert buckets['le="+Inf"'] == count
        assert list(buckets.values()) == sorted(buckets.values())
    hits = samples(backend, "mobilesam_embedding_hits_total")
    assert sum(hits.values()) >= 19


def test_a_click_without_a_mask_is_counted_by_its_cause(backend, recorded: Recorded) -> None:
    body = recorded("click_positive")["json"]
    body["tasks"][0]["data"] = {"image": "/data/upload/1/missing.png"}
    assert backend.client.post("/predict", json=body).json()["results"][0]["result"] == []
    body["tasks"][0]["data"] = {}
    assert backend.client.post("/predict", json=body).json()["results"][0]["result"] == []
    failures = samples(backend, "mobilesam_failures_total")
    assert (failures['cause="image"'], failures['cause="task"']) == (1, 1)


def test_many_versions_share_one_label() -> None:
    known = [metrics.of_version(str(project), "v1") for project in range(1000)]
    assert known[0] == ("0", "v1")
    assert known[-1] == ("other", "other")
    assert len(set(known)) <= 41
    assert metrics.of_version("0", "v1") == ("0", "v1")


FILL = """
import struct, sys
from pathlib import Path
from backend import metrics

for project in range(1000):
    labels = metrics.of_version(f"a-team-with-a-long-name/{10**9 + project}", "v1000")
    for outcome in ("shown", "accepted", "corrected", "rejected"):
        metrics.SUGGESTIONS.labels(*labels, outcome).inc()
    metrics.CORRECTED_IOU.labels(*labels).observe(0.9)
    metrics.OBJECT_CLICKS.labels(*labels).observe(2)
for path in Path(sys.argv[1]).iterdir():
    print(path.name.partition("_")[0], *struct.unpack("i", path.read_bytes()[:4]))
"""


@pytest.mark.slow
def test_the_reserved_space_is_enough_for_every_label(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},  # noqa: TID251
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    used = dict(line.split() for line in process.stdout.splitlines())
    assert int(used["counter"]) < 0.5 * _FILE_BYTES["counter"]
    assert int(used["histogram"]) < 0.8 * _FILE_BYTES["histogram"]


def test_the_documentation_names_every_metric() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(mobilesam_\w+)`", text, re.MULTILINE))
    collectors = [c for c in vars(metrics).values() if isinstance(c, MetricWrapperBase)]
    suffix = {"counter": "_total", "gauge": "", "histogram": ""}
    families = [family for collector in collectors for family in collector.collect()]
    assert documented == {family.name + suffix[family.type] for family in families}
