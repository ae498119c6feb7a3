"""Connects this backend to a project of Label Studio: token, project, registration.

Every step may be done already, so the same command may run at each start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from backend.http import certificates
from backend.label_studio.api_key import ApiKey
from backend.label_studio.errors import (
    LabelStudioAnswerError,
    LabelStudioError,
    LabelStudioSilentError,
)
from backend.label_studio.session import Session
from backend.settings import Settings
from model.files import write_atomically

_POLL_S = 1.0
_UNREACHED = "Can't connect to ML backend"  # Label Studio's words


@dataclass(frozen=True)
class Wanted:
    """What to connect.

    Attributes:
        backend_url: the address at which Label Studio reaches the backend.
        project: the id of a project, or the title of a project that is made where there is none.
        config: the labeling config of a new project.
        wait_s: how long to wait for Label Studio and the backend to answer, seconds.
    """

    backend_url: str
    project: int | str
    config: Path
    wait_s: float


def connect(settings: Settings, wanted: Wanted, say: Callable[[str], None]) -> None:
    """Do all steps.

    Args:
        settings: where Label Studio is, and its token or its user.
        wanted: what to connect.
        say: called with a sentence after each step.

    Raises:
        LabelStudioError: a step failed. The message names the remedy.
        OSError: the file of the token cannot be written.
    """
    url = settings.label_studio_url
    if url is None:
        raise LabelStudioError("set LABEL_STUDIO_URL to the address of Label Studio")
    deadline = time.monotonic() + wanted.wait_s
    with closing(Session(url, certificates.trust(settings.certificate_authorities))) as session:
        _retry(lambda: _sign_in(session, settings, say), _is_silent, deadline)
        project_id = _project(session, wanted, say)
        _retry(
            lambda: _register(session, project_id, wanted.backend_url, settings.basic_auth),
            _is_unreached,
            deadline,
        )
        is_told = session.has_webhook(project_id, wanted.backend_url)
    say(f"Label Studio sends the clicks of project {project_id} to {wanted.backend_url}")
    if not is_told:
        say(
            "but no webhooks, so the next images are not embedded before they are opened. Label"
            " Studio sends webhooks only to host names with a dot, such as backend.internal"
        )


def _retry(
    step: Callable[[], object], is_temporary: Callable[[LabelStudioError], bool], deadline: float
) -> None:
    """Do a step again and again while its errors are temporary, until the deadline."""
    while True:
        try:
            step()
            return
        except LabelStudioError as error:
            if time.monotonic() > deadline or not is_temporary(error):
                raise
        time.sleep(_POLL_S)


def _is_silent(error: LabelStudioError) -> bool:
    """Whether Label Studio does not answer yet."""
    return isinstance(error, LabelStudioSilentError)


def _is_unreached(error: LabelStudioError) -> bool:
    """Whether Label Studio found no healthy backend: it asks the backend before it answers."""
    return isinstance(error, LabelStudioAnswerError) and error.status == HTTPStatus.BAD_REQUEST


def _sign_in(session: Session, settings: Settings, say: Callable[[str], None]) -> None:
    """Sign in with the token that is set. If there is none that works, make one."""
    key = ApiKey(settings.label_studio_api_key, settings.label_studio_api_key_file)
    credential = key.credential()
    if credential is not None:
        try:
            session.use_token(credential)
            user = session.call("GET", "/api/current-user/whoami")
            say(f"{credential} is accepted, as {session.value(user, 'email')}")
            return
        except LabelStudioAnswerError as error:
            if settings.label_studio_user is None or key.token:
                raise LabelStudioError(
                    f"{error} ({credential}): {key.remedy}{credential.doubt}"
                ) from error
    if settings.label_studio_user is None:
        raise LabelStudioError(
            f"there is no token: {key.remedy}, or set LABEL_STUDIO_USERNAME and"
            " LABEL_STUDIO_PASSWORD"
        )
    session.sign_in(*settings.label_studio_user)
    _keep_token(session, key.file, say)


def _keep_token(session: Session, file: Path | None, say: Callable[[str], None]) -> None:
    """Make a token of the signed-in user and write it to the file, if there is one."""
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(file) as opened:  # opened first: the token is shown only once
        opened.write(session.new_personal_access_token().encode())
    say(f"the new personal access token is in {file}")


def _register(
    session: Session, project_id: int, url: str, password: tuple[str, str] | None
) -> None:
    """Make the backend a backend of the project."""
    try:
        session.connect_backend(project_id, url, password)
    except LabelStudioAnswerError as error:
        if not _is_unreached(error) or _UNREACHED not in str(error):
            raise
        raise LabelStudioAnswerError(
            f"Label Studio does not reach {url}: start the backend there (make run), or correct"
            " --backend-url. In a container, localhost is the container itself",
            error.status,
        ) from error


def _project(session: Session, wanted: Wanted, say: Callable[[str], None]) -> int:
    """The id of the project; a new project if there is none with the title."""
    if isinstance(wanted.project, int):
        return wanted.project
    project_id = session.find_project(wanted.project)
    if project_id is None:
        project_id = session.create_project(wanted.project, wanted.config.read_text())
        say(f'made the project "{wanted.project}": {session.url}/projects/{project_id}')
    return project_id
