"""Whether a tier works, said once and not at every request."""

from __future__ import annotations

import logging

from backend import metrics

logger = logging.getLogger(__name__)


class Health:
    """Says once that a tier has failed, and once that it works again.

    Args:
        tier: the tier's name, for /metrics.
        what: what the log calls the tier.
    """

    def __init__(self, tier: str, what: str) -> None:
        self._tier = tier
        self._what = what
        self._is_well = True

    def failed(self, error: Exception) -> None:
        """Count a failure."""
        metrics.TIER_FAILURES.labels(self._tier).inc()
        if self._is_well:
            self._is_well = False
            logger.error("%s cannot be used, serving goes on without it: %s", self._what, error)

    def worked(self) -> None:
        """Note a success."""
        if not self._is_well:
            self._is_well = True
            logger.info("%s works again", self._what)
