"""What the image of CPUs holds is enough to answer clicks, and little."""

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

    server = LaidOut(
        tmp_path,
        tmp_path / "log",
        LABEL_STUDIO_URL=image_host,
        MOBILESAM_CHECKPOINT=str(tmp_path / "app" / "model" / "mobile_sam_builtin.safetensors"),
        MODEL_DIR=str(tmp_path / "models"),
        CACHE_DIR=str(tmp_path / "cache"),
    )
    try:
        body = recorded("click_positive")["json"]
        response = httpx.post(f"{server.url}/predict", json=body, timeout=60)
    finally:
        server.stop()
    (prediction,) = response.json()["results"]
    assert prediction["result"][0]["value"]["rle"]
    assert "OpenVINO on cpu" in server.log

    size = container.size(tmp_path / "venv")
    print(f"environment: {size / 1e6:.0f} MB")
    assert size < LARGEST_ENVIRONMENT
