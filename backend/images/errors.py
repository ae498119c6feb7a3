"""The errors of images."""


class ImageError(ValueError):
    """The image is not available. The message names cause and remedy, and no secret."""
