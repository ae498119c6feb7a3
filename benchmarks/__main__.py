"""The table of README.md's Speed section and the plot beside it: ``make bench``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import report, serving, weights
from demo.backend import ROOT

PLOT = ROOT / "docs" / "speed.png"
SUBJECTS = (
    "ours openvino auto",
    "ours openvino fp32",
    "ours torch fp32",
    "original",
    "ultralytics",
)


def main() -> None:
    """Measure everything, print Markdown, draw the plot."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--repetitions", type=int, default=9, help="of an encode; more of a click")
    parser.add_argument("--plot", type=Path, default=PLOT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "mobile_sam.pt"
        torch.save(weights.with_smooth_masks(), checkpoint)
        floor = _measure("floor", checkpoint, options.repetitions)
        served = serving.measure(checkpoint, options.repetitions)
        subjects = {name: _measure(name, checkpoint, options.repetitions) for name in SUBJECTS}
    print(f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}\n")
    print(report.networks(subjects, floor))
    print(report.backend(served))
    report.plot(subjects, options.plot)


def _measure(name: str, checkpoint: Path, repetitions: int) -> dict[str, Any]:
    print(f"measuring: {name}", file=sys.stderr, flush=True)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.subjects"]
    said = subprocess.run(
        [*command, name, checkpoint, str(repetitions)], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    measured: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return measured


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
