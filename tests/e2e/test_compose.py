"""One command brings a project to click in: the services of docker-compose.yml, without Docker."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import compose

LABEL_STUDIO = compose.ROOT / ".venv-label-studio" / "bin" / "label-studio"

pytestmark = [
    pytest.mark.skipif(
        os.getuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv", "ip"))),
        reason="root, unshare, setpriv and ip are needed",
    ),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is needed"),
    pytest.mark.skipif(not LABEL_STUDIO.exists(), reason=f"{LABEL_STUDIO} is needed"),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that other users may enter. Those of pytest are for its user alone."""
    path = Path(tempfile.mkdtemp(prefix="compose-"))
    yield path
    shutil.rmtree(path)


def test_up_brings_a_project_to_click_in(folder: Path) -> None:
    picture = folder / "picture.png"
    Image.effect_noise((320, 200), 60).convert("RGB").save(picture)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.compose", str(folder), "--picture", str(picture)],
        cwd=compose.ROOT,
        capture_output=True,
        text=True,
    )
    logs = {log.stem: log.read_text(errors="replace") for log in folder.glob("*.log")}
    assert done.returncode == 0, f"{done.stderr}\n{logs}"
    found = json.loads(done.stdout)

    (region,) = found["click"]["data"]["result"]
    assert region["value"]["rle"]

    # the token, the webhook, Redis: nothing is missed but the published weights
    verdicts = [line.split("\t") for line in found["doctor"].splitlines() if "\t" in line]
    assert len(verdicts) > 10
    assert {line[1] for line in verdicts if line[0] != "ok"} <= {"weights", "cache folder"}

    assert "1/1" in found["precompute"]
    assert "Job OK" in logs["worker"], logs["worker"]

    token = (folder / "backend" / "label-studio-token").read_text()
    assert not any(token in log for log in logs.values())
    assert (folder / "backend" / "label-studio-token").stat().st_mode & 0o077 == 0
