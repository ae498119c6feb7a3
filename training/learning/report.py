"""The report of a run for people. Its numbers are those of the JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.teams import team_option

_MEASURES = {
    "1_click": "IoU after 1 click",
    "3_clicks": "IoU after 3 clicks",
    "5_clicks": "IoU after 5 clicks",
    "box": "IoU from a box",
    "iou": "mean of these",
    "noc_85": "clicks to an IoU of 0.85",
}


def report_text(report: Mapping[str, Any]) -> str:
    """The report of a run that has judged a decoder.

    Args:
        report: as ``training.learning.project`` makes it.
    """
    data, verdict = report["data"], report["verdict"]
    lines = [
        f"Project {report['project']}: {_outcome(report)}",
        "",
        f"Learnt from {data['tasks']} tasks with {data['objects']} objects:",
        *(f"  {count:6} {origin}" for origin, count in data["origins"].items()),
        "",
        f"Judged by {verdict['objects']} objects of {verdict['tasks']} held-out tasks:",
        "",
        f"  {'':24} {'before':>8} {'after':>8} {'gain, at least':>16}",
    ]
    for name, title in _MEASURES.items():
        gain = verdict["gains"][name]
        lines.append(
            f"  {title:24} {gain['before']:8.3f} {gain['after']:8.3f} {gain['lower']:+16.3f}"
        )
    lines += ["", f"  IoU lost on synthetic scenes: {verdict['scenes_loss']:.3f}"]
    if verdict["accepted_loss"] is not None:
        lines.append(f"  IoU lost on accepted masks: {verdict['accepted_loss']:.3f}")
    before, after = verdict["heeded"]
    lines.append(f"  negative clicks heeded: {before:.0%} before, {after:.0%} after")
    lines += [f"- {reason}" for reason in verdict["reasons"]]
    lines += [f"! {failure}" for failure in data["failures"][:20]]
    return "\n".join(lines)


def _outcome(report: Mapping[str, Any]) -> str:
    version, project = report["version"], report["project"]
    if version is None:
        return "the learnt decoder is not offered."
    return (
        f"version {version} is offered. To let it serve: python -m backend learn --project"
        f" {project}{team_option(report['team'])} --activate {version}"
    )
