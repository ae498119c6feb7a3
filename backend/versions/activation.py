"""Which version serves a project, and which served before."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

_REMEMBERED = 50  # changes that can be taken back

Version = int | None  # the number of a version; None is the checkpoint as it is, the base


@dataclass(frozen=True)
class Activation:
    """Which version serves a project. A value of this class never changes.

    Attributes:
        active: the version that serves.
        before: the versions that served before, the oldest first.
        sequence: counts the changes. Of two activations, the one with the greater number is newer.
    """

    active: Version = None
    before: tuple[Version, ...] = ()
    sequence: int = 0

    def activated(self, number: int) -> Activation:
        """The activation after a version was chosen."""
        if number == self.active:
            return self
        before = (*self.before, self.active)[-_REMEMBERED:]
        return Activation(number, before, self.sequence + 1)

    def rolled_back(self) -> Activation:
        """The activation after a return to the version before. Before the first is the base."""
        if self.active is None and not self.before:
            return self
        before = self.before or (None,)
        return Activation(before[-1], before[:-1], self.sequence + 1)

    def dumps(self) -> bytes:
        """The activation as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def loads(cls, data: bytes) -> Activation:
        """Read what :meth:`dumps` wrote.

        Raises:
            ValueError: the bytes are something else.
        """
        try:
            values = json.loads(data)
            active, before, sequence = values["active"], values["before"], values["sequence"]
            if type(sequence) is not int or not all(map(_is_version, [active, *before])):
                raise ValueError("a value has the wrong type")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"it is no activation ({error!r})") from error
        return cls(active, tuple(before), sequence)


def _is_version(value: object) -> bool:
    return value is None or (type(value) is int and value > 0)
