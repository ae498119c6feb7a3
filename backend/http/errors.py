"""The errors of HTTP requests."""


class HttpClientError(ValueError):
    """A request brought no response. Names the cause and the remedy, and no secret."""


class RefusedHostError(ValueError):
    """A host that must not be asked, or does not exist. Names the cause and the remedy."""
