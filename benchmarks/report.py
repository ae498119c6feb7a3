"""Measurements as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving import Serving

ENCODE, CLICK, LARGE_CLICK = "encode 1080p", "click 1080p", "click 12 MP"
_COLUMNS = (ENCODE, CLICK, LARGE_CLICK)

_SYSTEMS = {
    "ours": "ours",
    "mobile_sam": "Ultralytics MobileSAM (1)",
    "sam_b": "SAM-b (1, 2)",
    "sam2_b": "SAM2-b (1, 2)",
    "sam2_t": "SAM2-t (1, 2)",
    "fastsam_s": "FastSAM-s (2, 3)",
    "yolov8n-seg": "YOLOv8n-seg (2, 3, 4)",
    "yolo11n-seg": "YOLO11n-seg (2, 3, 4)",
}

_NOTES = """\
1. One batch of 64 points was measured. The time of the 15 other batches is added.
2. Random weights: the speed is right, and the masks mean nothing. So few masks pass the thresholds,
   and the removal of duplicates costs next to nothing.
3. Images are scaled to 640 pixels, the package's default. The others see 1024 pixels.
4. Finds the classes that it was trained for, and takes no click.
"""

Measurements = Mapping[str, Mapping[str, Any]]


def networks(subjects: Measurements, floor: Mapping[str, Any]) -> str:
    """The network by the program that runs it: milliseconds, and multiples of the first row."""
    first = next(iter(subjects.values()))
    header = ["", "encode, 1080p", "click, 1080p", "click, 12 MP"]
    rows = [
        [_title(name, measured), *(_cell(measured[key], first[key]) for key in _COLUMNS)]
        for name, measured in subjects.items()
    ]
    precision = first["description"].rpartition(" ")[2]
    peak = floor[f"{precision} GFLOP/s"]
    least = floor["encoder GFLOP"] / peak * 1000
    shares = (
        f"The encoder is {floor['encoder GFLOP']:.0f} GFLOP; at the {peak:.0f} GFLOP/s of one large"
        f" {precision} matrix product (fp32: {floor['fp32 GFLOP/s']:.0f}) that is {least:.0f} ms,"
        f" {100 * least / first[ENCODE]:.0f} % of the first row's encode.\n"
    )
    return f"{table(header, rows)}\n{shares}"


def backend(served: Serving) -> str:
    """The backend through HTTP."""
    single = served.crowds[0]
    rows = [
        ["click on an embedded image, 1080p", f"{served.warm_ms['1080p']:.1f} ms"],
        ["of which HTTP", f"{served.http_ms:.1f} ms"],
        ["click on an embedded image, 12 MP", f"{served.warm_ms['12 MP']:.1f} ms"],
        ["click on a new image, 1080p", f"{served.cold_ms['1080p']:.0f} ms"],
        ["click on a new image, 12 MP", f"{served.cold_ms['12 MP']:.0f} ms"],
        *(
            [
                f"annotators clicking at once: {crowd.annotators}",
                f"p50 {crowd.median_ms:.0f} ms, p95 {crowd.p95_ms:.0f} ms"
                f" ({crowd.p95_ms / single.median_ms:.1f}x one's p50),"
                f" {crowd.requests_per_s:.0f} clicks/s",
            ]
            for crowd in served.crowds
        ),
        [
            "click on an embedded image, 1080p, while others are encoded",
            f"p50 {served.encoding.median_ms:.0f} ms, p95 {served.encoding.p95_ms:.0f} ms"
            f" ({served.encoding.p95_ms / single.median_ms:.1f}x the quiet p50)",
        ],
        ["environment, without weights", f"{served.installation.environment_mb:.0f} MB"],
        [
            "installation to first mask, packages cached",
            f"{served.installation.first_mask_s:.0f} s,"
            f" {served.installation.install_s:.0f} of them pip's",
        ],
        ["start to first answer", f"{served.second_start_s:.1f} s"],
        ["the very first start", f"{served.first_start_s:.1f} s"],
        [
            "memory of a worker, resident",
            f"{served.resident_mb:.0f} MB, {served.shared_mb:.0f} of them shared by workers",
        ],
    ]
    return table(["backend, one worker", ""], rows)


def systems(measured: Mapping[str, Mapping[str, float]]) -> str:
    """The systems of Ultralytics' MobileSAM page beside ours."""
    ours = measured["ours"]
    rows = [
        [
            _SYSTEMS[name],
            *(_seconds(times.get(key), ours[key]) for key in ("everything", "prompt")),
        ]
        for name, times in measured.items()
    ]
    return f"{table(['a new image, 1080p', 'everything in it', 'one click'], rows)}\n{_NOTES}"


def _seconds(value: float | None, first: float) -> str:
    if value is None:
        return "-"
    ratio = "" if value == first else f" ({value / first:.2g}x)"
    return f"{value / 1000:.3g} s{ratio}"


def plot(subjects: Measurements, path: Path) -> None:
    """Bars of milliseconds, one panel for each of the columns."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(_COLUMNS), figsize=(11, 2.6), sharey=True)
    names = [_title(name, measured) for name, measured in subjects.items()]
    for panel, key in zip(panels, _COLUMNS, strict=True):
        times = [measured[key] for measured in subjects.values()]
        colours = ["#1677FF" if name.startswith("ours") else "#A0A6AE" for name in subjects]
        bars = panel.barh(names, times, color=colours)
        panel.bar_label(bars, fmt="%.0f", padding=3)
        panel.set_title(f"{key}, ms", fontsize=10)
        panel.set_xlim(0, 1.18 * max(times))
        panel.invert_yaxis() if panel is panels[0] else None
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _title(name: str, measured: Mapping[str, Any]) -> str:
    if name == "original":
        return "as the original, torch fp32"
    if name == "ultralytics":
        return "Ultralytics SAM, torch fp32"
    return f"ours, {measured['description'].replace(' on cpu,', '')}"


def _cell(value: float, first: float) -> str:
    ratio = "" if value == first else f" ({value / first:.1f}x)"
    return f"{value:.0f} ms{ratio}" if value >= 100 else f"{value:.1f} ms{ratio}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
