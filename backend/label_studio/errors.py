"""The errors of Label Studio's API."""


class LabelStudioError(ValueError):
    """Label Studio did not answer as expected. The message names cause and remedy."""


class LabelStudioSilentError(LabelStudioError):
    """Label Studio did not answer, or a proxy says that Label Studio is not ready."""


class LabelStudioAnswerError(LabelStudioError):
    """Label Studio answered with an error.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status
