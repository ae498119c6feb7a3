"""The page of /status: the numbers and the last problems of all workers, for the operator."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, render_template

from backend import metrics
from backend.label_studio.api_key import ApiKey
from backend.log import Problem
from backend.service import Service, Services
from model import weights

_PLACES = {"memory": "in memory", "disk": "on disk", "redis": "in Redis"}  # of metrics.TIERS


def page(services: Services, problems: list[Problem]) -> Response:
    """The page. The browser needs no other file for it."""
    html = render_template(
        "status.html",
        facts=_facts(services),
        problems=[
            {
                "level": problem.level,
                "sentence": problem.sentence,
                "count": problem.count,
                "when": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(problem.last)),
            }
            for problem in problems
        ],
    )
    response = Response(html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


def _quality(counts: metrics.Counts) -> list[tuple[str, str]]:
    """What the suggestions of each version of each project were worth."""
    outcomes: dict[tuple[str, str], dict[str, float]] = {}
    for (name, labels), number in counts.items():
        fields = dict(labels)
        if name == "mobilesam_suggestions_total":
            of_version = outcomes.setdefault((fields["project"], fields["version"]), {})
            of_version[fields["outcome"]] = number
    lines = []
    for (project, version), found in sorted(outcomes.items()):
        of_version_labels = (("project", project), ("version", version))
        shown, accepted, corrected, rejected = (
            int(found.get(o, 0)) for o in metrics.SUGGESTION_OUTCOMES
        )
        iou = _mean(counts, "mobilesam_corrected_iou", of_version_labels)
        clicks = _mean(counts, "mobilesam_object_clicks", of_version_labels)
        lines.append(
            f"project {project}, {version}: {shown} shown, {accepted} accepted, {corrected}"
            f" corrected{'' if iou is None else f' (mean IoU {iou:.2f})'}, {rejected} rejected"
            f"{'' if clicks is None else f', {clicks:.1f} clicks an object'}"
        )
    return [("Suggestions", "; ".join(lines) or "none yet")]


def _mean(counts: metrics.Counts, name: str, labels: tuple[tuple[str, str], ...]) -> float | None:
    number = counts.get((f"{name}_count", labels), 0.0)
    return counts[f"{name}_sum", labels] / number if number else None


def _facts(services: Services) -> list[tuple[str, Any]]:
    counts = metrics.counts()

    def total(name: str, **labels: str) -> int:
        return int(counts.get((f"mobilesam_{name}", tuple(labels.items())), 0))

    def mean(name: str) -> str:
        seconds = _mean(counts, f"mobilesam_{name}_seconds", ())
        number = total(f"{name}_seconds_count")
        return "none yet" if seconds is None else f"{1000 * seconds:.0f} ms (mean of {number})"

    clicks = {o: total("clicks_total", outcome=o) for o in metrics.CLICK_OUTCOMES}
    jobs = {o: total("jobs_total", outcome=o) for o in metrics.JOB_OUTCOMES}
    made = {o: total("preannotations_total", outcome=o) for o in metrics.PREANNOTATION_OUTCOMES}
    hits = {tier: total("embedding_hits_total", tier=tier) for tier in metrics.TIERS}
    failures = {tier: total("tier_failures_total", tier=tier) for tier in metrics.TIERS}
    return [
        ("Model", _model(services.any)),
        *(fact for service in services.by_team.values() for fact in _facts_of(service)),
        *_quality(counts),
        (
            "Clicks",
            f"{_number(clicks['mask'], 'mask')}, {clicks['empty']} empty,"
            f" {clicks['unanswerable']} without an answer",
        ),
        ("A click takes", mean("click")),
        ("Encoding an image takes", mean("encode")),
        ("Images encoded", total("encodes_total")),
        ("Embeddings found", ", ".join(f"{n} {_PLACES[tier]}" for tier, n in hits.items())),
        ("Cache failures", ", ".join(f"{n} of {t}" for t, n in failures.items() if n) or "none"),
        ("Waiting to be embedded", sum(total("waiting", team=team) for team in services.by_team)),
        (
            "Tasks with masks that nobody clicked for",
            f"{made['answered'] + made['written']}, {made['failed']} failed,"
            f" {made['dropped']} dropped",
        ),
        (
            "Requests to embed ahead",
            f"{jobs['done']} done, {jobs['failed']} failed, {jobs['dropped']} dropped",
        ),
    ]


def _model(service: Service) -> str:
    segmenter = service.segmenter
    sentence = f"{segmenter.model_version} on {segmenter.engine}"
    if segmenter.model_version != weights.BUILTIN_VERSION:
        return sentence
    return f"{sentence}, {weights.builtin_remedy(service.settings.model_dir)}"


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _facts_of(service: Service) -> list[tuple[str, str]]:
    """What is different for each team."""
    team = service.settings.team
    of_team = f" of {team}" if team else ""
    credential = service.label_studio.working_credential
    api_key = ApiKey(
        service.settings.label_studio_api_key, service.settings.label_studio_api_key_file
    )
    unused = "set, not used yet" if api_key.credential() else "none yet"
    return [
        (f"Learnt decoders{of_team}", "; ".join(service.decoders.overview()) or "none"),
        (f"Token in use{of_team}", str(credential or unused)),
    ]
