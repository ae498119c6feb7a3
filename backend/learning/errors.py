"""What keeps a project from learning."""


class LearningError(ValueError):
    """A run cannot be started or cannot go on. The message is a sentence: cause and remedy."""


class RunningError(LearningError):
    """A run goes on already."""


class TooLittleError(LearningError):
    """There is too little to learn from, or nothing new.

    Attributes:
        annotations: how many annotations the project had.
    """

    def __init__(self, sentence: str, annotations: int) -> None:
        super().__init__(sentence)
        self.annotations = annotations
