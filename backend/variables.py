"""Variables as values of a type: texts, numbers, URLs, paths."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from backend.http.addresses import AllowedHosts
from model.weights import expanded

T = TypeVar("T", bound=str)
N = TypeVar("N", int, float)


class Variables:
    """Reads variables as values of a type. Errors are ValueErrors that name variable and value.

    A variable that is empty counts as not set.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, *names: str) -> str | None:
        """The value of the first name that is set."""
        values = (self._environ.get(name, "").strip() for name in names)
        return next((value for value in values if value), None)

    def url(self, *names: str, schemes: tuple[str, ...] = ("http", "https")) -> str | None:
        """A URL without a slash at the end."""
        value = self.text(*names)
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in schemes or not (parts.hostname or parts.path):
            beginnings = " or ".join(f"{scheme}://" for scheme in schemes)
            raise ValueError(f"{names[0]} is {value!r}; it must begin with {beginnings}")
        return value.rstrip("/")

    def path(self, *names: str) -> Path | None:
        """A path, with ``~`` replaced by the home folder."""
        value = self.text(*names)
        try:
            return None if value is None else expanded(Path(value))
        except ValueError as error:
            raise ValueError(f"{names[0]}: {error}") from error

    def home(self, name: str, default: Path) -> Path:
        """A folder below the home folder, for a variable that is not set."""
        try:
            return expanded(default)
        except ValueError as error:
            raise ValueError(
                f"{name} is not set, and this user has no home folder: set {name} to a folder that"
                " the backend can write to"
            ) from error

    def folder(self, *names: str) -> Path | None:
        """A folder that exists."""
        path = self.path(*names)
        if path is not None and not path.is_dir():
            raise ValueError(f"{names[0]} is {str(path)!r}, but that folder does not exist here")
        return path

    def paths(self, *names: str) -> tuple[Path, ...]:
        """The files and folders of all names. One variable may hold several, as PATH does."""
        found = []
        for name in names:
            for value in (self.text(name) or "").split(os.pathsep):
                path = expanded(Path(value))
                if value and not path.exists():
                    raise ValueError(f"{name} is {value!r}, and there is no such file or folder")
                found += [path] if value else []
        return tuple(dict.fromkeys(found))

    def allowed_hosts(self, name: str) -> AllowedHosts:
        """Hosts and networks: see :meth:`AllowedHosts.parse`."""
        value = self.text(name)
        try:
            return AllowedHosts.parse(value) if value else AllowedHosts()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def pair(self, first: str, second: str) -> tuple[str, str] | None:
        """The values of two names that must be set together."""
        values = self.text(first), self.text(second)
        if values[0] is None or values[1] is None:
            if values != (None, None):
                raise ValueError(f"{first} and {second} must be set together")
            return None
        return values[0], values[1]

    def choice(self, name: str, choices: tuple[T, ...], default: T) -> T:
        """One of several words, in any case."""
        value = self.text(name)
        if value is None:
            return default
        for choice in choices:
            if value.lower() == choice.lower():
                return choice
        raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(choices)}")

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``."""
        return self._parse(name, default, low, high, int, "whole number")

    def decimal(self, name: str, default: float, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        return self._parse(name, default, low, high, float, "number")

    def _parse(
        self, name: str, default: N, low: N, high: N, parse: Callable[[str], N], kind: str
    ) -> N:
        value = self.text(name)
        if value is None:
            return default
        try:
            number = parse(value)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:  # also refuses NaN
            raise ValueError(f"{name} is {value!r}; it must be a {kind}, {low} to {high}")
        return number
