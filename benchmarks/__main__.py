"""The table of README.md's Speed section and the plot beside it: ``make bench``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks import gpu, report, serving, systems, weights
from benchmarks.subjects import measured_in_own_process
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
        floor = measured_in_own_process("floor", checkpoint, options.repetitions)
        served = serving.measure(checkpoint, options.repetitions)
        on_gpu = gpu.measure(checkpoint, options.repetitions) if torch.cuda.is_available() else ""
        subjects = {
            name: measured_in_own_process(name, checkpoint, options.repetitions)
            for name in SUBJECTS
        }
        others = {
            name: systems.measured_in_own_process(name, checkpoint) for name in systems.SYSTEMS
        }
    print(f"{platform.machine()}, {os.cpu_count()} cores, {_processor()}\n")
    print(report.networks(subjects, floor))
    print(report.backend(served))
    print(report.systems(others))
    print(on_gpu)
    report.plot(subjects, options.plot)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
