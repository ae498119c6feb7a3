"""The errors of HTTP requests."""


class HttpClientError(ValueError):
    """A request brought no response. The message names cause and remedy, and no secret."""


class RefusedHostError(ValueError):
    """A host that is not allowed or does not exist. The message names cause and remedy."""
