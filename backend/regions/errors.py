"""The errors of requests: of regions, labeling configs and tasks."""


class MalformedRequestError(ValueError):
    """The request is not as Label Studio writes it."""


class UnanswerableRequestError(ValueError):
    """The request is well-formed, but no mask can answer it. Names the cause and the remedy."""
