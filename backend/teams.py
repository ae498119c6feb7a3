"""Several Label Studios on one backend: the file of LABEL_STUDIOS, with a table for each team.

A team is what uses one Label Studio. Its name is the path at which this Label Studio reaches the
backend: ``http://backend:9090/teamA``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.http.addresses import AllowedHosts
from backend.variables import Variables

# A letter comes first: a number may be a project. Names are parts of URLs, files and keys.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
_PATHS = ("health", "metrics", "predict", "ready", "setup", "status", "versions", "webhook")
_KEYS = (
    *("url", "api_key", "api_key_file", "local_files_document_root", "allowed_hosts"),
    *("basic_auth_user", "basic_auth_pass"),
)


@dataclass(frozen=True)
class Team:
    """What is different for each Label Studio. See :class:`backend.settings.Settings`."""

    label_studio_url: str
    label_studio_api_key: str | None
    label_studio_api_key_file: Path | None
    local_files_document_root: Path | None
    allowed_hosts: AllowedHosts
    basic_auth: tuple[str, str] | None


def read_teams(path: Path) -> dict[str, Team]:
    """Read the file: TOML with a table for each team.

    Raises:
        ValueError: the file cannot be used. The message names the table and the remedy.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"LABEL_STUDIOS: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"LABEL_STUDIOS: {path} is not TOML: {error}") from error
    if not tables:
        raise ValueError(f"LABEL_STUDIOS: {path} has no table: add [team] with url and api_key")
    teams: dict[str, Team] = {}
    for name, table in tables.items():
        try:
            _check_name(name, teams)
            teams[name] = _team(table)
        except ValueError as error:
            raise ValueError(f"LABEL_STUDIOS: {path}, table {name!r}: {error}") from error
    return teams


def team_option(team: str) -> str:
    """What chooses a team in a command that a message names: `` --team red``.

    Args:
        team: its name; "" where there is one Label Studio, whose commands need no option.
    """
    return f" --team {team}" if team else ""


def _check_name(name: str, others: Mapping[str, Team]) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "the name of a team is a letter and then up to 39 letters, digits, dashes and"
            " underscores"
        )
    if name.lower() in _PATHS:
        raise ValueError("the backend has a path of this name: choose another name")
    if name.lower() in map(str.lower, others):
        raise ValueError("another team has the same name: capital letters make no difference")


def _team(table: Any) -> Team:
    if not isinstance(table, dict):
        raise ValueError("it is a value, and must be a table such as [team]")
    for key, value in table.items():
        if key not in _KEYS:
            raise ValueError(f"{key!r} is unknown; the keys are {', '.join(_KEYS)}")
        if not isinstance(value, str):
            raise ValueError(f"{key} must be a text in quotation marks")
    read = Variables(table)
    url = read.url("url")
    if url is None:
        raise ValueError("url is missing: the address at which the backend reaches Label Studio")
    return Team(
        label_studio_url=url,
        label_studio_api_key=read.text("api_key"),
        label_studio_api_key_file=read.path("api_key_file"),
        local_files_document_root=read.folder("local_files_document_root"),
        allowed_hosts=read.allowed_hosts("allowed_hosts"),
        basic_auth=read.pair("basic_auth_user", "basic_auth_pass"),
    )
