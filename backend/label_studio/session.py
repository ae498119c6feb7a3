"""A user who is signed in to Label Studio, to set things up there: tokens, projects, backends.

Serving needs no session. Serving asks with a token, through ``client.py``.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import httpx

from backend.http import certificates
from backend.http.client import USER_AGENT
from backend.label_studio import refusals
from backend.label_studio.credentials import Credential
from backend.label_studio.errors import (
    LabelStudioAnswerError,
    LabelStudioError,
    LabelStudioSilentError,
)

_TIMEOUT_S = 60.0
_LOGIN = "/user/login/"
_CSRF_COOKIE = "csrftoken"
# A proxy's answers while the server behind it starts.
_NOT_READY = {
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
}


class Session:
    """Calls to Label Studio's API as one user. One thread may use a session.

    Args:
        url: the address of Label Studio without a slash at the end.
        tls: the certificates to trust; None for the usual.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self._client = httpx.Client(
            base_url=url,
            timeout=_TIMEOUT_S,
            verify=tls or certificates.trust(),
            trust_env=False,
            headers={"User-Agent": USER_AGENT, "Referer": url},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def sign_in(self, email: str, password: str) -> None:
        """Sign in with a password, as in a browser.

        Raises:
            LabelStudioError: there is no such user, or the password is another. Or the server is
                not Label Studio, or it redirects: then the password is not sent.
            LabelStudioSilentError: Label Studio does not answer.
        """
        page = self._send("GET", _LOGIN)
        _refuse_errors(page)
        self._refuse_redirect(page)
        form = {"email": email, "password": password, "csrfmiddlewaretoken": self._csrf_token()}
        response = self._send("POST", _LOGIN, data=form)
        _refuse_errors(response)
        if response.status_code != HTTPStatus.FOUND:
            raise LabelStudioError(
                f"Label Studio at {self.url} has no user {email} with this password: correct"
                " LABEL_STUDIO_USERNAME and LABEL_STUDIO_PASSWORD"
            )
        self._client.headers["X-CSRFToken"] = self._csrf_token()

    def use_token(self, credential: Credential) -> None:
        """Sign in with a token. A personal access token holds for five minutes.

        Raises:
            LabelStudioError: Label Studio gives no access token for a personal access token.
            LabelStudioSilentError: Label Studio does not answer.
        """
        self._client.headers["Authorization"] = credential.header(self._exchange)

    def new_personal_access_token(self) -> str:
        """Make the personal access token of the user. Label Studio shows a token only once.

        Raises:
            LabelStudioError: the user has a token already.
        """
        response = self._send("POST", "/api/token/")
        if response.status_code == HTTPStatus.CONFLICT:
            raise LabelStudioError(
                "this user has a personal access token already, and Label Studio shows a token only"
                " once: set that token as LABEL_STUDIO_API_KEY, or delete the token in Label Studio"
                " (Account & Settings) and run this again"
            )
        return str(self.value(self._json(response), "token"))

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Make a request. Returns the JSON of the answer; None for an empty answer.

        Raises:
            LabelStudioAnswerError: the answer is an error. The message has Label Studio's words.
            LabelStudioSilentError: Label Studio does not answer.
            LabelStudioError: the answer is a redirect or no JSON.
        """
        return self._json(self._send(method, path, **arguments))

    def value(self, answer: Any, name: str) -> Any:
        """A value of an answer of :meth:`call`.

        Raises:
            LabelStudioError: the answer has no such value.
        """
        if not isinstance(answer, dict) or name not in answer:
            raise self._not_label_studio()
        return answer[name]

    def download(self, path: str, parameters: Mapping[str, str]) -> httpx.Response:
        """Get a file.

        Raises:
            LabelStudioAnswerError: the answer is an error.
            LabelStudioSilentError: Label Studio does not answer.
        """
        response = self._send("GET", path, params=parameters)
        _refuse_errors(response)
        return response

    def find_project(self, title: str) -> int | None:
        """The id of the oldest project with this title, or None."""
        parameters = {"title": title, "page_size": 1000}
        found = self.value(self.call("GET", "/api/projects/", params=parameters), "results")
        return min((int(p["id"]) for p in found if p["title"] == title), default=None)

    def create_project(self, title: str, label_config: str) -> int:
        """Make a project; returns its id."""
        body = {"title": title, "label_config": label_config}
        return int(self.value(self.call("POST", "/api/projects/", json=body), "id"))

    def connect_backend(
        self, project_id: int, url: str, password: tuple[str, str] | None = None
    ) -> int:
        """Make a backend an interactive backend of a project; returns its id.

        Args:
            project_id: the project.
            url: the address at which Label Studio reaches the backend. A backend of the project
                with the same address is changed, and no second backend is made.
            password: the user and the password that the backend asks for, or None.

        Raises:
            LabelStudioAnswerError: Label Studio does not reach the backend (400) or refuses its
                address (403).
        """
        body = {"url": url, "project": project_id, "title": "MobileSAM", "is_interactive": True}
        if password is not None:
            body |= {"auth_method": "BASIC_AUTH"}
            body |= dict(zip(("basic_auth_user", "basic_auth_pass"), password, strict=True))
        known = self.call("GET", "/api/ml", params={"project": project_id})
        same = [backend["id"] for backend in known if backend["url"].rstrip("/") == url]
        made = (
            self.call("PATCH", f"/api/ml/{same[0]}", json=body)
            if same
            else self.call("POST", "/api/ml", json=body)
        )
        return int(self.value(made, "id"))

    def has_webhook(self, project_id: int, backend_url: str) -> bool:
        """Whether Label Studio tells a backend what annotators do in a project."""
        webhooks = self.call("GET", "/api/webhooks/", params={"project": project_id})
        return any(w["url"] == f"{backend_url}/webhook" and w["is_active"] for w in webhooks)

    def _exchange(self, personal_token: str) -> str:
        """Exchange a personal access token for an access token."""
        body = {"refresh": personal_token}
        return str(self.value(self.call("POST", "/api/token/refresh/", json=body), "access"))

    def _csrf_token(self) -> str:
        token = self._client.cookies.get(_CSRF_COOKIE)
        if token is None:
            raise self._not_label_studio()
        return token

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.TransportError as error:
            reason = certificates.refusal(error) or str(error) or type(error).__name__
            raise LabelStudioSilentError(
                f"Label Studio does not answer at {self.url} (LABEL_STUDIO_URL): {reason}"
            ) from error
        if response.status_code in _NOT_READY:
            raise LabelStudioSilentError(
                f"Label Studio does not answer at {self.url} (LABEL_STUDIO_URL): status"
                f" {response.status_code}"
            )
        return response

    def _json(self, response: httpx.Response) -> Any:
        """The JSON of an answer; None for an empty answer."""
        _refuse_errors(response)
        self._refuse_redirect(response)
        try:
            return response.json() if response.content else None
        except ValueError as error:
            raise self._not_label_studio() from error

    def _refuse_redirect(self, response: httpx.Response) -> None:
        if response.next_request is None:
            return
        path = response.request.url.path.removeprefix(httpx.URL(self.url).path.rstrip("/"))
        target = str(response.next_request.url.copy_with(query=None, fragment=None))
        address = target.removesuffix(path) if target.endswith(path) else None
        raise LabelStudioError(
            f"{self.url} redirects to {target}: set LABEL_STUDIO_URL to"
            f" {address or 'the address that answers without a redirect'}"
        )

    def _not_label_studio(self) -> LabelStudioError:
        return LabelStudioError(
            f"the server at {self.url} did not answer as Label Studio does: is LABEL_STUDIO_URL"
            " right?"
        )


def _refuse_errors(response: httpx.Response) -> None:
    if response.is_error:
        request = response.request
        sentence = (
            f"Label Studio answered {response.status_code} to {request.method} {request.url.path}:"
            f" {refusals.words(response.text)}"
        )
        if response.status_code == HTTPStatus.NOT_FOUND and "project" in request.url.params:
            sentence = refusals.missing(request.url.path, request.url.params)
        raise LabelStudioAnswerError(sentence, response.status_code)
