"""The errors of requests: of regions, labeling configs and tasks."""


class MalformedRequestError(ValueError):
    """The request is not as Label Studio writes it."""


class UnanswerableRequestError(ValueError):
    """The request is well-formed, but has no mask as its answer. Names the cause and the remedy."""
