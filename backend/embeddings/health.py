"""Logs when a tier stops working and when it works again, once each."""

from __future__ import annotations

import logging

from backend import metrics

logger = logging.getLogger(__name__)


class Health:
    """The state of a tier. The log gets a line when the state changes, not at every request.

    Args:
        tier: the name of the tier in /metrics.
        what: the name of the tier in the log.
    """

    def __init__(self, tier: str, what: str) -> None:
        self._tier = tier
        self._what = what
        self._is_well = True

    def failed(self, error: Exception) -> None:
        """Count a failure, and log the first of a row."""
        metrics.TIER_FAILURES.labels(self._tier).inc()
        if self._is_well:
            self._is_well = False
            logger.error("%s cannot be used, serving goes on without it: %s", self._what, error)

    def worked(self) -> None:
        """Log that the tier works again, if it had failed."""
        if not self._is_well:
            self._is_well = True
            logger.info("%s works again", self._what)
