"""The errors of images."""


class ImageError(ValueError):
    """The image is not available. The message is for the operator: cause and remedy, no secrets."""
