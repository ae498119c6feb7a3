"""What keeps a project from learning."""


class LearningError(ValueError):
    """A run cannot be started or cannot go on. The message is a sentence: cause and remedy."""
