"""Requests to Label Studio with a token that Label Studio accepts.

The token is sent to Label Studio and to no other host.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import httpx

from backend.http.client import HttpClient, Response, redacted
from backend.http.errors import HttpClientError
from backend.label_studio.api_key import ApiKey
from backend.label_studio.credentials import Credential
from backend.label_studio.discovery import Discovery
from backend.label_studio.errors import LabelStudioError
from backend.label_studio.setup_info import SetupInfoFile

logger = logging.getLogger(__name__)


class SignIn:
    """Makes requests to Label Studio. Threads may share a sign-in.

    Args:
        api_key: where the operator's token is.
        http: makes the requests.
        discovery: where Label Studio is.
        setup_info: the last ``/setup``. Its token is tried if Label Studio refuses ``api_key``.

    Attributes:
        working_credential: the credential that Label Studio accepted last.
    """

    def __init__(
        self,
        api_key: ApiKey,
        http: HttpClient,
        discovery: Discovery,
        setup_info: SetupInfoFile | None,
    ) -> None:
        self._api_key = api_key
        self._set_credential: Credential | None = None
        self._http = http
        self._discovery = discovery
        self._setup_info = setup_info
        self.working_credential: Credential | None = None

    def send(
        self,
        method: str,
        url: httpx.URL,
        deadline: float,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        *,
        attempts: int | None = None,
        reads_body: bool = True,
    ) -> Response:
        """Make a request to Label Studio with a token that Label Studio accepts.

        Args:
            method: the HTTP method.
            url: the URL as this process reaches it.
            deadline: when to give up, by the monotonic clock.
            headers: headers to send beside the token.
            json, attempts, reads_body: see :meth:`HttpClient.request`.

        Raises:
            LabelStudioError: Label Studio does not answer, or accepts no token.
        """
        refused: list[tuple[Credential, str]] = []
        status = int(httpx.codes.UNAUTHORIZED)
        for credential in self._credentials():
            try:
                sent = {**(headers or {}), **self._headers(credential, deadline)}
                response = self.request(
                    method, url, deadline, sent, json, attempts=attempts, reads_body=reads_body
                )
            except _RefusedError as error:
                if credential:
                    reason = f"{error.status} when an access token was asked for"
                    refused.append((credential, reason))
                continue
            if response.status not in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                if credential is not self.working_credential and credential is not None:
                    logger.info("Label Studio accepts %s", credential)
                self.working_credential = credential
                return response
            status = response.status
            if credential:
                refused.append((credential, str(status)))
        raise LabelStudioError(_refusal(url, status, refused, self._api_key))

    def request(
        self,
        method: str,
        url: httpx.URL,
        deadline: float,
        headers: Mapping[str, str],
        json: Any = None,
        *,
        attempts: int | None = None,
        reads_body: bool = True,
    ) -> Response:
        """Make a request to Label Studio. Only ``headers`` may carry a token.

        Raises:
            LabelStudioError: Label Studio does not answer.
        """
        try:
            return self._http.request(
                method,
                url,
                deadline=deadline,
                headers=headers,
                json=json,
                is_trusted=True,
                attempts=attempts,
                reads_body=reads_body,
            )
        except HttpClientError as error:
            self._discovery.forget()
            raise LabelStudioError(
                f"Label Studio did not answer: {error}. Is LABEL_STUDIO_URL the address at which"
                f" the backend reaches Label Studio{self._discovery.hint(url)}?"
            ) from error

    def _headers(self, credential: Credential | None, deadline: float) -> dict[str, str]:
        if credential is None:
            return {}
        return {"Authorization": credential.header(lambda token: self._exchange(token, deadline))}

    def _exchange(self, personal_token: str, deadline: float) -> str:
        """Exchange a personal access token for an access token."""
        url = httpx.URL(self._discovery.address(deadline) + "/api/token/refresh/")
        response = self.request("POST", url, deadline, {}, {"refresh": personal_token})
        fields = response.json() if response.is_ok else None
        access_token = fields.get("access") if isinstance(fields, dict) else None
        if not isinstance(access_token, str) or not access_token.isascii():
            raise _RefusedError(response.status)
        return access_token

    def _credentials(self) -> list[Credential | None]:
        """The credentials to try, in order; None stands for a request without a token."""
        self._set_credential = self._api_key.credential(self._set_credential)
        offered = [self._set_credential] if self._set_credential else []
        token = self._setup_info.read().access_token if self._setup_info else None
        if token and token.isascii() and token.isprintable():
            offered.append(Credential(token, "/setup"))
        working = self.working_credential
        if working is not None:
            offered = [working, *(c for c in offered if c.token != working.token)]
        return [*offered] if offered else [None]


class _RefusedError(ValueError):
    """Label Studio gave no access token for a personal access token."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _refusal(
    url: httpx.URL, status: int, refused: list[tuple[Credential, str]], api_key: ApiKey
) -> str:
    """A sentence: why Label Studio answered 401 or 403, and the remedy.

    Args:
        url: what was asked for.
        status: of the last answer.
        refused: the tokens that were tried, each with the status that refused it.
        api_key: where the operator's token should be.
    """
    asked = f"Label Studio refuses {redacted(url)}"
    if not refused:
        return f"{asked} ({status}) without a token: {api_key.remedy}"
    if api_key.credential() is None:
        sentence = (
            f"{api_key.absence} (the token that Label Studio sent in /setup is refused):"
            f" {api_key.remedy}"
        )
    else:
        tokens = " and to ".join(f"{credential} ({reason})" for credential, reason in refused)
        doubts = dict.fromkeys(credential.doubt for credential, _ in refused)
        sentence = f"{asked} to {tokens}: {api_key.remedy}{''.join(doubts)}"
    if url.path.startswith("/data/local-files") and status == httpx.codes.FORBIDDEN:
        sentence += (
            "; or Label Studio does not serve local files: start Label Studio with"
            " LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true"
        )
    return sentence
