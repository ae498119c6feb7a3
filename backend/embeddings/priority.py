"""How urgent a piece of work is."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from enum import IntEnum

_NICENESS = 10


class Priority(IntEnum):
    """How soon an embedding is needed; a smaller number goes first."""

    CLICK = 0  # an annotator has clicked and waits for the mask
    OPENED = 1  # an annotator has opened the task of the image
    NEXT = 2  # an annotator reaches the image in a few tasks
    REST = 3  # nobody is near the image


class Demand:
    """The priority of a piece of work. It rises when a more urgent caller waits for it too."""

    def __init__(self, priority: Priority) -> None:
        self.priority = priority

    def join(self, priority: Priority) -> None:
        """Note that another caller, of this priority, waits for the same work."""
        self.priority = min(self.priority, priority)


def yield_to_other_threads() -> None:
    """Let the other threads of the machine go before the calling thread, for the rest of its life.

    A thread that encodes would otherwise take half of the time of a click on another image. Linux
    has a priority for each thread. Other systems have a priority for each process only, so nothing
    is done there.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid the call
            niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
            os.setpriority(os.PRIO_PROCESS, thread, niceness)
