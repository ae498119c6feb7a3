"""The errors of predictions."""

from __future__ import annotations

from backend.images.errors import ImageError
from backend.label_studio.errors import LabelStudioError
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from model.engines import OutOfDeviceMemoryError


class DetectorError(ValueError):
    """A detector gives no boxes. The message names cause and remedy."""


# What keeps a task from masks or from an embedding. The work goes on with the other tasks.
TASK_ERRORS = (
    DetectorError,
    ImageError,
    LabelStudioError,
    MalformedRequestError,
    OutOfDeviceMemoryError,
    UnanswerableRequestError,
)
