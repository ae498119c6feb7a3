"""Times of calls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def median_ms(call: Callable[[], object], repetitions: int) -> float:
    """The median time of a call, milliseconds. A first call is not counted."""
    call()
    return statistics.median(elapsed_ms(call) for _ in range(repetitions))


def elapsed_ms(call: Callable[[], object]) -> float:
    """The time of one call, milliseconds."""
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000
