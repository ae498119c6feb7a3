"""The results of a run as text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.soak.annotators import Click
from benchmarks.soak.faults import Happened

GRACE_S = 5.0  # after the end of a fault every click must be answered within this time
_UNNAMED = re.compile(r"(https?://|data:)\S+|\d+")
_REASON = re.compile(r"the click got no mask: (.*)")


@dataclass(frozen=True)
class Summary:
    """What was seen.

    Attributes:
        clicks: every click.
        faults: every fault, in order.
        resident: (seconds of the run, bytes of all workers), at intervals.
        log: the backend's.
    """

    clicks: Sequence[Click]
    faults: Sequence[Happened]
    resident: Sequence[tuple[float, int]]
    log: str

    @property
    def wrong(self) -> int:
        """How many masks were those of another picture or prompt."""
        return sum(click.outcome == "wrong" for click in self.clicks)

    @property
    def late(self) -> list[Click]:
        """Clicks that took longer than the grace and ended later than that after all faults."""
        return [
            click
            for click in self.clicks
            if click.ended_s - click.begun_s > GRACE_S
            and not any(_touches(click, fault, GRACE_S, at_end=True) for fault in self.faults)
        ]

    def text(self) -> str:
        """All results, a line each."""
        return "\n".join(
            [
                f"clicks        {len(self.clicks)}",
                f"wrong masks   {self.wrong}",
                f"late          {len(self.late)} (more than {GRACE_S:.0f} s after the fault)",
                f"faults        {len(self.faults)}",
                "",
                *_counted("outcome", Counter(click.outcome for click in self.clicks)),
                "",
                *_counted("reason in the log", self._reasons()),
                "",
                *self._waits(),
                "",
                *self._memory(),
            ]
        )

    def _reasons(self) -> Counter[str]:
        return Counter(_UNNAMED.sub("#", reason) for reason in _REASON.findall(self.log))

    def _waits(self) -> list[str]:
        rows = ["during                  clicks      p50      p95      max, ms"]
        quiet = [
            click
            for click in self.clicks
            if not any(_touches(click, fault, GRACE_S) for fault in self.faults)
        ]
        rows.append(_row("nothing", quiet))
        for name in sorted({fault.name for fault in self.faults}):
            faults = [fault for fault in self.faults if fault.name == name]
            during = [
                click for click in self.clicks if any(_touches(click, fault, 0) for fault in faults)
            ]
            rows.append(_row(name, during))
        return rows

    def _memory(self) -> list[str]:
        step = max(1, len(self.resident) // 10)
        return [
            "resident, all workers",
            *(f"{at:7.0f} s {size / 2**20:7.0f} MB" for at, size in self.resident[::step]),
        ]


def _touches(click: Click, fault: Happened, grace_s: float, *, at_end: bool = False) -> bool:
    begun_s = click.ended_s if at_end else click.begun_s
    return begun_s < fault.ended_s + grace_s and click.ended_s > fault.begun_s


def _row(name: str, clicks: Sequence[Click]) -> str:
    if not clicks:
        return f"{name:24s}     0"
    waits = [1000 * (click.ended_s - click.begun_s) for click in clicks]
    median, high = np.percentile(waits, [50, 95])
    return f"{name:24s}{len(clicks):6d} {median:8.0f} {high:8.0f} {max(waits):8.0f}"


def _counted(title: str, counts: Counter[str]) -> list[str]:
    return [title, *(f"{count:7d} {name}" for name, count in counts.most_common())]
