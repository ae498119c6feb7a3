"""What can go wrong with the learnt decoders of a project."""


class VersionError(ValueError):
    """A version is missing, damaged or foreign, or a change did not reach every host.

    The message is a sentence with the cause and the remedy.
    """
