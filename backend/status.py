"""The page of /status: the numbers and the last problems of all workers, for the operator."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, render_template

from backend import metrics
from backend.log import Problem
from backend.service import Service

_TIERS = ("memory", "disk", "redis")


def page(service: Service, problems: list[Problem]) -> Response:
    """The page. The browser needs no other file for it."""
    html = render_template(
        "status.html",
        facts=_facts(service),
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


def _facts(service: Service) -> list[tuple[str, Any]]:
    counts = metrics.counts()

    def total(name: str, **labels: str) -> int:
        return int(counts.get((f"mobilesam_{name}", tuple(labels.items())), 0))

    def mean(name: str) -> str:
        number = total(f"{name}_seconds_count")
        seconds = counts.get((f"mobilesam_{name}_seconds_sum", ()), 0.0)
        return f"{1000 * seconds / number:.0f} ms (mean of {number})" if number else "none yet"

    clicks = {o: total("clicks_total", outcome=o) for o in ("mask", "empty", "unanswerable")}
    jobs = {o: total("jobs_total", outcome=o) for o in ("done", "failed", "dropped")}
    made = {
        o: total("preannotations_total", outcome=o)
        for o in ("answered", "written", "failed", "dropped")
    }
    hits = {tier: total("embedding_hits_total", tier=tier) for tier in _TIERS}
    failures = {tier: total("tier_failures_total", tier=tier) for tier in _TIERS}
    credential = service.label_studio.working_credential
    return [
        ("Model", f"{service.segmenter.model_version} on {service.segmenter.engine}"),
        ("Learnt decoders", "; ".join(service.decoders.overview()) or "none"),
        ("Token in use", str(credential) if credential else "none yet in this worker"),
        (
            "Clicks",
            f"{clicks['mask']} masks, {clicks['empty']} empty,"
            f" {clicks['unanswerable']} without an answer",
        ),
        ("A click takes", mean("click")),
        ("Encoding an image takes", mean("encode")),
        ("Images encoded", total("encodes_total")),
        ("Embeddings found", ", ".join(f"{n} in {tier}" for tier, n in hits.items())),
        ("Cache failures", ", ".join(f"{n} of {t}" for t, n in failures.items() if n) or "none"),
        ("Waiting to be embedded", total("waiting")),
        (
            "Tasks with masks that nobody clicked for",
            f"{made['answered'] + made['written']}, {made['failed']} failed,"
            f" {made['dropped']} dropped",
        ),
        ("Embedded ahead", f"{jobs['done']}, {jobs['failed']} failed, {jobs['dropped']} dropped"),
    ]
