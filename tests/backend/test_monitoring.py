"""The dashboard and the alert rules fit what a backend counts, as a real Prometheus answers."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from demo.process import ServerProcess, free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
VARIABLES = {"$job": ".*", "$project": ".*", "$__rate_interval": "30s", "$__range": "5m"}

needs_prometheus = pytest.mark.skipif(
    not shutil.which("prometheus"), reason="Prometheus is not installed"
)


def dashboard_queries() -> list[str]:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    found = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            found.append(query)
    return found


def rules() -> dict[str, str]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


class Prometheus(ServerProcess):
    """A Prometheus that scrapes a backend every second, with the rules of the project."""

    def __init__(self, folder: Path, target: str) -> None:
        settings = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        settings["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        shutil.copy(DEPLOY / "prometheus" / "alerts.yml", folder)
        self.url = f"http://127.0.0.1:{free_port()}"
        super().__init__(
            [
                shutil.which("prometheus") or "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            folder / "prometheus.log",
            {},
            folder,
            timeout_s=60,
        )

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def query(self, query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=30).json()
        assert answer["status"] == "success", f"{query}: {answer}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


@pytest.fixture(scope="module")
def clicked(start_backend, image_host: str, recorded):
    """A backend with 2 workers, after some clicks."""
    backend = start_backend(LABEL_STUDIO_URL=image_host, WORKERS="2")
    body = recorded("click_positive")["json"]
    for _ in range(5):
        assert backend.client.post("/predict", json=body).status_code == 200
    return backend


@pytest.fixture(scope="module")
def prometheus(clicked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped the backend several times."""
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), clicked.url.removeprefix("http://"))
    deadline = time.monotonic() + 60
    while not server.query("changes(scrape_samples_scraped[1m]) >= 0 and up == 1") or not (
        server.query("rate(mobilesam_clicks_total[30s])")
    ):
        assert time.monotonic() < deadline, server.log[-2000:]
        time.sleep(0.2)
    yield server
    server.stop()


def test_every_name_and_label_is_counted(clicked) -> None:
    labels: dict[str, set[str]] = {"up": {"job"}}
    for line in clicked.client.get("/metrics").text.splitlines():
        sample = re.match(r"(\w+)(?:\{(.*)\})? ", line)
        if sample and not line.startswith("#"):
            names = set(re.findall(r'(\w+)="', sample[2] or ""))
            labels.setdefault(sample[1], set()).update(names, {"job", "instance"})
    for query in [*dashboard_queries(), *rules().values()]:
        selectors = re.findall(r"\b(mobilesam_\w+|up)\b(?:\s*\{([^}]*)\})?", query)
        assert selectors, query
        for name, matchers in selectors:
            assert name in labels, f"{name} in {query}"
            unknown = set(re.findall(r"(\w+)\s*[=!]", matchers)) - labels[name]
            assert not unknown, f"{unknown} of {name} in {query}"
        grouped = re.findall(r"(?:by|on|ignoring|group_left) \(([^)]*)\)", query)
        wanted = {label.strip() for group in grouped for label in group.split(",")} - {""}
        known = {label for name, _ in selectors for label in labels[name]}
        assert wanted <= known, f"{wanted - known} in {query}"


@needs_prometheus
def test_prometheus_answers_every_query_of_the_dashboard(prometheus: Prometheus) -> None:
    assert len(dashboard_queries()) == 20
    for query in dashboard_queries():
        assert prometheus.query(query), f"no data: {query}"


@needs_prometheus
def test_prometheus_evaluates_every_rule(prometheus: Prometheus) -> None:
    deadline = time.monotonic() + 60
    while True:
        answer = httpx.get(f"{prometheus.url}/api/v1/rules").json()
        (group,) = answer["data"]["groups"]
        if all(rule["health"] != "unknown" for rule in group["rules"]):
            break
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert {rule["name"] for rule in group["rules"]} == rules().keys()
    for rule in group["rules"]:
        assert rule["health"] == "ok", rule
        assert rule["state"] == "inactive", rule


@needs_prometheus
@pytest.mark.slow
def test_the_rules_alert_in_trouble_and_only_then(tmp_path: Path) -> None:
    for path in (DEPLOY / "prometheus" / "alerts.yml", ROOT / "tests" / "data" / "alerts_test.yml"):
        shutil.copy(path, tmp_path)
    tested = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
