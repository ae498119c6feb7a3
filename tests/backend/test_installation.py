"""What the image of CPUs holds is enough to answer clicks, and little."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from benchmarks import container
from benchmarks.installation import LaidOut

LARGEST_ENVIRONMENT = 420_000_000  # bytes; pip would add 20 MB


@pytest.mark.slow
def test_the_files_of_the_image_answer_clicks_without_large_packages(
    image_host: str, recorded: Callable[[str], dict], tmp_path: Path
) -> None:
    container.lay_out(tmp_path)
    large = ("torch", "timm", "label_studio_sdk")
    looked_for = f"import importlib.util as u; print(*map(u.find_spec, {large}))"
    python = tmp_path / "venv" / "bin" / "python"
    said = subprocess.run([python, "-c", looked_for], capture_output=True, text=True, check=True)
    assert said.stdout == "None None None\n"

    # A user of OpenShift, where the machine allows to become one: only the group is known.
    data = tmp_path / "data"
    data.mkdir()
    is_possible = os.getuid() == 0 and shutil.which("setpriv")
    if is_possible:
        os.chown(data, 0, 0)
        data.chmod(0o775)
    server = LaidOut(
        tmp_path,
        tmp_path / "log",
        container.as_user(1_234_567, 0) if is_possible else (),
        LABEL_STUDIO_URL=image_host,
        MOBILESAM_CHECKPOINT=str(tmp_path / "app" / "model" / "mobile_sam_builtin.safetensors"),
        MODEL_DIR=str(data / "models"),
        CACHE_DIR=str(data / "embeddings"),
    )
    try:
        body = recorded("click_positive")["json"]
        response = httpx.post(f"{server.url}/predict", json=body, timeout=60)
    finally:
        server.stop()
    (prediction,) = response.json()["results"]
    assert prediction["result"][0]["value"]["rle"]
    assert "OpenVINO on cpu" in server.log
    assert "Permission denied" not in server.log
    assert list((data / "embeddings").iterdir())

    size = container.size(tmp_path / "venv")
    print(f"environment: {size / 1e6:.0f} MB")
    assert size < LARGEST_ENVIRONMENT
