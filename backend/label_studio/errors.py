"""The errors of Label Studio's API."""


class LabelStudioError(ValueError):
    """Label Studio did not answer as expected. The message names cause and remedy."""
