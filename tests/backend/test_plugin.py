"""The plugin under the server of label-studio-ml, in a separate process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from model.weights import BUILTIN_PATH

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

SERVE = """
import json, sys
from label_studio_ml.api import init_app
from backend.plugin import MobileSAMBackend

setup, predict = json.load(sys.stdin)
client = init_app(MobileSAMBackend).test_client()
assert client.post("/setup", json=setup).status_code == 200
json.dump(client.post("/predict", json=predict).json, sys.stdout)
"""


def test_the_plugin_works_under_label_studio_ml(
    recorded: Callable[[str], dict], image_host: str, tmp_path: Path
) -> None:
    requests = [recorded(name)["json"] for name in ("setup", "click_positive")]
    done = subprocess.run(
        [sys.executable, "-c", SERVE],
        cwd=tmp_path,  # label-studio-ml writes files into the current folder
        env={
            **os.environ,  # noqa: TID251
            "PYTHONPATH": str(ROOT),
            "MOBILESAM_CHECKPOINT": str(BUILTIN_PATH),
            "LABEL_STUDIO_URL": image_host,
        },
        input=json.dumps(requests),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (prediction,) = json.loads(done.stdout)["results"]
    (region,) = prediction["result"]
    assert region["value"]["brushlabels"] == ["Object"]
    assert prediction["model_version"] == "mobile-sam-builtin"


@pytest.mark.parametrize("package", ["torch", "label_studio_sdk"])
def test_importing_the_plugin_does_not_import_large_packages(package: str) -> None:
    script = f"import sys, backend.server, backend.cli; sys.exit({package!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
