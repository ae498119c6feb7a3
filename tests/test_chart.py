"""The Helm chart: rendered by Helm's own library and checked against Kubernetes' schemas."""

import importlib.util
import json
import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from backend import __version__, metrics
from backend.jobs import QUEUE_NAME

if importlib.util.find_spec("helm_python") is None:
    # requirements-dev.txt has it where there is a wheel
    assert (platform.system(), platform.machine()) != ("Linux", "x86_64")
    pytest.skip("Helm's library has no wheel for this machine", allow_module_level=True)

pytestmark = pytest.mark.slow  # Helm's library runs in a process of its own

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "mobile-sam-backend"
OLDEST, NEWEST = "1.27", kubernetes_validate.latest_version()
NO_SCHEMA = {"ServiceMonitor"}  # of the Prometheus operator, not of Kubernetes

EVERYTHING = {
    "image": {"pullSecrets": [{"name": "registry"}]},
    "labelStudio": {"token": {"existingSecret": "label-studio"}},
    "basicAuth": {"existingSecret": "password"},
    "settings": {"WORKERS": "2", "ALLOWED_HOSTS": "minio"},
    "cache": {"persistence": {"enabled": True, "storageClass": "fast"}},
    "redis": {"existingSecret": "redis"},
    "autoscaling": {"enabled": True},
    "workers": {"replicas": 2},
    "networkPolicy": {
        "enabled": True,
        "from": [{"podSelector": {"matchLabels": {"app": "label-studio"}}}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "podDisruptionBudget": {"enabled": True},
    "podAnnotations": {"team": "a"},
    "podLabels": {"team": "a"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "extraVolumes": [{"name": "images", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "images", "mountPath": "/images"}],
}


class HelmRefusedError(Exception):
    """Helm does not take the values."""


@cache
def ask_helm(question: str) -> str:
    """The answer of helm_library.py."""
    program = Path(__file__).with_name("helm_library.py")
    process = subprocess.run(
        [sys.executable, program, CHART], input=question, capture_output=True, text=True
    )
    if process.returncode == 1:
        raise HelmRefusedError(process.stderr)
    process.check_returncode()
    return process.stdout


def helm(action: str, values: dict[str, Any] | None = None) -> dict[str, Any]:
    return json.loads(ask_helm(json.dumps({"action": action, "values": values or {}})))


def render(values: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """The objects of the chart by their templates' names."""
    objects = {
        Path(path).stem: yaml.safe_load(text)
        for path, text in helm("render", values).items()
        if path.endswith(".yaml")
    }
    return {name: content for name, content in objects.items() if content is not None}


def notes(values: dict[str, Any]) -> str:
    """What Helm says after an installation."""
    rendered = helm("render", values)
    (text,) = (text for path, text in rendered.items() if path.endswith("NOTES.txt"))
    return text


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


def container(deployment: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod(deployment)["containers"]
    return only


def variables(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in container(deployment)["env"]}


@pytest.fixture(scope="module")
def usual() -> dict[str, dict[str, Any]]:
    return render()


@pytest.fixture(scope="module")
def everything() -> dict[str, dict[str, Any]]:
    return render(EVERYTHING)


def test_helm_finds_no_fault() -> None:
    found = helm("lint", EVERYTHING)
    assert found["errors"] == []
    assert {m["error"] for m in found["messages"]} <= {"icon is recommended"}


def test_the_version_is_that_of_the_backend() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    image = container(render()["deployment"])["image"]
    assert image == f"mobile-sam-backend:{__version__}"


def test_the_usual_objects(usual: dict[str, dict[str, Any]]) -> None:
    assert set(usual) == {"deployment", "service"}
    for content in usual.values():
        kubernetes_validate.validate(content, NEWEST, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_schemas_of_kubernetes(everything: dict[str, dict[str, Any]], version: str) -> None:
    assert {content["kind"] for content in everything.values()} == {
        *("Deployment", "Service", "PersistentVolumeClaim", "HorizontalPodAutoscaler"),
        *("NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor"),
    }
    for content in everything.values():
        if content["kind"] not in NO_SCHEMA:
            kubernetes_validate.validate(content, version, strict=True)


@pytest.mark.parametrize("name", ["deployment", "workers"])
def test_pods_need_no_rights(everything: dict[str, dict[str, Any]], name: str) -> None:
    spec, only = pod(everything[name]), container(everything[name])
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    rights = only["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"] == {"drop": ["ALL"]}
    # all that the Dockerfile's image writes to
    assert {mount["mountPath"] for mount in only["volumeMounts"]} >= {"/tmp", "/data"}


def test_openshift_chooses_the_user() -> None:
    spec = pod(render({"podSecurityContext": {"fsGroup": None}})["deployment"])
    assert "fsGroup" not in spec["securityContext"]
    assert not re.search(r"runAsUser|runAsGroup", str(spec))


def test_probes_and_the_end(usual: dict[str, dict[str, Any]]) -> None:
    only = container(usual["deployment"])
    assert only["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert only["livenessProbe"]["httpGet"]["path"] == "/health"
    assert only["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
    (graceful,) = re.findall(
        r"graceful_timeout = (\d+)", (ROOT / "gunicorn.conf.py").read_text()
    ) or ["10"]
    assert pod(usual["deployment"])["terminationGracePeriodSeconds"] > 5 + int(graceful)


def test_variables_are_settings(everything: dict[str, dict[str, Any]]) -> None:
    rows = re.findall(r"^\| (`[A-Z_`, ]+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    known = {name for row in rows for name in re.findall(r"[A-Z_]+", row)}
    given = variables(everything["deployment"])
    assert set(given) <= known
    assert given["WORKERS"]["value"] == "2"
    assert variables(everything["workers"]) == given


def test_secrets_are_named_and_not_written(everything: dict[str, dict[str, Any]]) -> None:
    given = variables(everything["deployment"])
    for name in ("BASIC_AUTH_USER", "BASIC_AUTH_PASS", "REDIS_URL"):
        assert "secretKeyRef" in given[name]["valueFrom"]
    file = Path(given["LABEL_STUDIO_API_KEY_FILE"]["value"])
    mounts = container(everything["deployment"])["volumeMounts"]
    volume = next(mount["name"] for mount in mounts if mount["mountPath"] == str(file.parent))
    (secret,) = (
        v["secret"] for v in pod(everything["deployment"])["volumes"] if v["name"] == volume
    )
    assert secret == {"secretName": "label-studio", "items": [{"key": "token", "path": file.name}]}
    assert "basicAuth" in everything["servicemonitor"]["spec"]["endpoints"][0]


def test_several_label_studios() -> None:
    """Settings of one Label Studio are not allowed beside the file."""
    objects = render(
        {
            "labelStudio": {"token": {"existingSecret": "one"}},
            "labelStudios": {"existingSecret": "teams"},
        }
    )
    given = variables(objects["deployment"])
    file = Path(given.pop("LABEL_STUDIOS")["value"])
    assert not any(name.startswith("LABEL_STUDIO") for name in given)
    (volume,) = (v for v in pod(objects["deployment"])["volumes"] if "secret" in v)
    assert volume["secret"]["secretName"] == "teams"
    assert [item["path"] for item in volume["secret"]["items"]] == [file.name]
    mounts = container(objects["deployment"])["volumeMounts"]
    assert {"name": volume["name"], "mountPath": str(file.parent), "readOnly": True} in mounts


@pytest.mark.parametrize("secret", ["LABEL_STUDIO_API_KEY", "BASIC_AUTH_PASS", "PORT"])
def test_settings_that_have_a_place_of_their_own(secret: str) -> None:
    with pytest.raises(HelmRefusedError, match=secret):
        render({"settings": {secret: "x"}})


def test_a_misspelt_value_is_refused() -> None:
    with pytest.raises(HelmRefusedError, match="replica"):
        render({"replica": 3})


def test_selectors_find_their_pods(everything: dict[str, dict[str, Any]]) -> None:
    labels = {
        name: everything[name]["spec"]["template"]["metadata"]["labels"]
        for name in ("deployment", "workers")
    }

    def selected(selector: dict[str, str]) -> set[str]:
        return {name for name, of_pod in labels.items() if selector.items() <= of_pod.items()}

    server = everything["service"]["spec"]["selector"]
    assert selected(server) == {"deployment"}
    for name in ("deployment", "workers"):
        assert selected(everything[name]["spec"]["selector"]["matchLabels"]) == {name}
    budget = everything["poddisruptionbudget"]["spec"]["selector"]["matchLabels"]
    assert selected(budget) == {"deployment"}
    policy = everything["networkpolicy"]["spec"]["podSelector"]["matchLabels"]
    assert selected(policy) == {"deployment", "workers"}
    monitored = everything["servicemonitor"]["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= everything["service"]["metadata"]["labels"].items()


def test_more_pods_when_clicks_become_slow(everything: dict[str, dict[str, Any]]) -> None:
    assert "replicas" not in everything["deployment"]["spec"]
    scaler = everything["hpa"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == everything["deployment"]["metadata"]["name"]
    (metric,) = scaler["metrics"]
    assert metric["pods"]["metric"]["name"] == "mobilesam_click_seconds_p95"
    (measured,) = metrics.CLICK_SECONDS.describe()
    assert (measured.name, measured.type) == ("mobilesam_click_seconds", "histogram")
    rule = (ROOT / "docs" / "operations.md").read_text()
    assert "name: {as: mobilesam_click_seconds_p95}" in rule
    assert f"rate({measured.name}_bucket" in rule


def test_a_claim_of_one_node_is_handed_over(everything: dict[str, dict[str, Any]]) -> None:
    assert everything["deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    claim = everything["pvc"]["metadata"]
    assert claim["annotations"] == {"helm.sh/resource-policy": "keep"}
    named = [
        v["persistentVolumeClaim"]
        for v in pod(everything["deployment"])["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert named == [{"claimName": claim["name"]}]

    shared = {"enabled": True, "existingClaim": "mine", "accessMode": "ReadWriteMany"}
    objects = render({"cache": {"persistence": shared}})
    assert "pvc" not in objects
    assert objects["deployment"]["spec"]["strategy"]["type"] == "RollingUpdate"


REDIS = {"url": "redis://redis:6379"}
MANY_PODS = [
    pytest.param({"replicas": 2}, id="replicas"),
    pytest.param({"autoscaling": {"enabled": True}}, id="autoscaling"),
    pytest.param({"workers": {"replicas": 1}, "redis": REDIS}, id="workers"),
]


@pytest.mark.parametrize("values", MANY_PODS)
def test_a_claim_of_one_pod_is_refused_for_many(values: dict[str, Any]) -> None:
    claim = {"persistence": {"enabled": True, "accessMode": "ReadWriteOncePod"}}
    assert "pvc" in render({"cache": claim})
    with pytest.raises(HelmRefusedError, match="ReadWriteOncePod lets one pod start"):
        render(values | {"cache": claim})


@pytest.mark.parametrize("values", MANY_PODS)
def test_the_notes_name_what_many_pods_with_a_claim_of_one_node_need(
    values: dict[str, Any],
) -> None:
    sentence = "Pods on another node than the first pod do not start"
    assert sentence in notes(values | {"cache": {"persistence": {"enabled": True}}})
    shared = {"persistence": {"enabled": True, "accessMode": "ReadWriteMany"}}
    assert sentence not in notes(values | {"cache": shared})
    assert sentence not in notes(values)
    assert sentence not in notes({"cache": {"persistence": {"enabled": True}}})


def test_workers_take_jobs_from_redis(everything: dict[str, dict[str, Any]]) -> None:
    command = container(everything["workers"])["command"]
    assert command == ["rq", "worker", "--url", "$(REDIS_URL)", QUEUE_NAME]
    with pytest.raises(HelmRefusedError, match="workers.replicas needs redis.url"):
        render({"workers": {"replicas": 1}})


def test_every_value_is_described_and_used() -> None:
    text = (CHART / "values.yaml").read_text()
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    values = yaml.safe_load(text)
    assert set(helm("schema")["properties"]) - {"global"} == set(values)
    for name in values:
        assert f".Values.{name}" in templates
