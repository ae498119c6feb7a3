"""The errors of predictions."""


class DetectorError(ValueError):
    """A detector gives no boxes. The message names cause and remedy."""
