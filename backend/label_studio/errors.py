"""The errors of Label Studio's API."""


class LabelStudioError(ValueError):
    """Label Studio did not answer as expected. Names the cause and the remedy."""
