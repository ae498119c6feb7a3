"""A real Label Studio as a child process, with one user, and the calls that make a project."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from backend.label_studio.credentials import Credential
from backend.label_studio.errors import LabelStudioAnswerError
from backend.label_studio.session import Session
from demo.process import WebServerProcess, free_port

EMAIL = "admin@example.com"
PASSWORD = "label-studio"

_ENVIRONMENT = {
    "LABEL_STUDIO_USERNAME": EMAIL,
    "LABEL_STUDIO_PASSWORD": PASSWORD,
    # Without it Label Studio refuses backends on loopback.
    "USE_DEFAULT_BANNED_SUBNETS": "false",
    "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


class LabelStudio(WebServerProcess):
    """Label Studio on loopback, signed in as its only user.

    Args:
        executable: ``label-studio`` of an environment of its own.
        data_dir: its database and files; a second start goes on with them.
        port: a port that is free.

    Attributes:
        url: where it answers.
        token: a personal access token of the user.
    """

    def __init__(self, executable: Path, data_dir: Path, port: int | None = None) -> None:
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        data_dir.mkdir(parents=True, exist_ok=True)
        environment = {
            **_ENVIRONMENT,
            "LABEL_STUDIO_BASE_DATA_DIR": str(data_dir),
            "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(data_dir),
            **_secret_key(data_dir),
        }
        # Not signed in before it answers, but to be closed however far the start gets.
        self._session = Session(self.url)
        super().__init__(
            [executable, "start", "--no-browser", "--internal-host=127.0.0.1", f"--port={port}"],
            data_dir / "label-studio.log",
            environment,
            data_dir,
            timeout_s=300,
        )
        self._session.sign_in(EMAIL, PASSWORD)
        self.token = self.kept_token(data_dir / "token")

    def stop(self) -> None:
        """End it."""
        self._session.close()
        super().stop()

    def kept_token(self, path: Path) -> str:
        """The token in a file, or a new token, which the file keeps. It is shown only once.

        Raises:
            RuntimeError: Label Studio refuses the token in the file.
        """
        if not path.exists():
            _write_secret(path, self._session.new_personal_access_token())
        token = path.read_text()
        session = Session(self.url)
        try:
            session.use_token(Credential(token, str(path)))
        except LabelStudioAnswerError as error:
            raise RuntimeError(
                f"the kept token is refused: remove {path.parent} and start again"
            ) from error
        finally:
            session.close()
        return token

    def find_project(self, title: str) -> int | None:
        """The id of the oldest project with this title, or None."""
        return self._session.find_project(title)

    def create_project(self, title: str, label_config: str) -> int:
        """Make a project; returns its id."""
        return self._session.create_project(title, label_config)

    def upload(self, project_id: int, images: Mapping[str, bytes]) -> None:
        """Make one task of each image; the keys are file names."""
        # each under a field of its own: of several files in one field it takes the last
        files = {name: (name, content) for name, content in images.items()}
        self._call("POST", f"/api/projects/{project_id}/import", files=files)

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Make one task of each value of ``data``."""
        self._call("POST", f"/api/projects/{project_id}/import", json=tasks)

    def tasks(self, project_id: int) -> list[dict[str, Any]]:
        """The tasks of a project, oldest first."""
        found = self._call("GET", "/api/tasks/", params={"project": project_id, "page_size": 1000})
        return sorted(found["tasks"], key=lambda task: int(task["id"]))

    def connect_folder(self, project_id: int, folder: Path) -> None:
        """Make the files of a folder below ``data_dir`` available to a project as local files."""
        body = {"project": project_id, "path": str(folder), "use_blob_urls": True}
        self._call("POST", "/api/storages/localfiles", json=body)

    def delete_task(self, task_id: int) -> None:
        """Delete a task."""
        self._call("DELETE", f"/api/tasks/{task_id}/")

    def open_task(self, task_id: int) -> dict[str, Any]:
        """Send the request that the editor sends when an annotator opens a task."""
        task: dict[str, Any] = self._call("GET", f"/api/tasks/{task_id}/")
        return task

    def retrieve_predictions(self, project_id: int) -> None:
        """Press the button Retrieve predictions, with all tasks of a project chosen."""
        action = {"id": "retrieve_tasks_predictions", "project": project_id}
        body = {"selectedItems": {"all": True, "excluded": []}}
        self._call("POST", "/api/dm/actions", params=action, json=body)

    def interact(self, backend_id: int, task_id: int, context: Mapping[str, Any]) -> dict[str, Any]:
        """Send the request that the editor sends at a click; returns the backend's prediction."""
        path = f"/api/ml/{backend_id}/interactive-annotating"
        answer = self._call("POST", path, json={"task": task_id, "context": context})
        if answer.get("errors"):
            raise RuntimeError(f"Label Studio says: {answer['errors']}")
        prediction: dict[str, Any] = answer["data"]
        return prediction

    def annotate(self, task_id: int, result: Sequence[Mapping[str, Any]], **fields: Any) -> None:
        """Submit an annotation. Further fields are those of the API, such as was_cancelled."""
        body = {"result": result, **fields}
        self._call("POST", f"/api/tasks/{task_id}/annotations/", json=body)

    def annotations(self, task_id: int) -> list[dict[str, Any]]:
        """The submitted annotations of a task."""
        found: list[dict[str, Any]] = self._call("GET", f"/api/tasks/{task_id}/annotations/")
        return found

    def predict(self, task_id: int, result: Sequence[Mapping[str, Any]], version: str) -> None:
        """Write a prediction of a model_version."""
        body = {"task": task_id, "result": list(result), "model_version": version}
        self._call("POST", "/api/predictions/", json=body)

    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        """The predictions of a task, oldest first."""
        found = self._call("GET", "/api/predictions/", params={"task": task_id})
        return sorted(found, key=lambda prediction: int(prediction["id"]))

    def create_view(self, project_id: int, filters: Sequence[Mapping[str, Any]]) -> int:
        """Make a view (tab) of the Data Manager that shows the tasks of all filters; its id."""
        data = {"title": "view", "filters": {"conjunction": "and", "items": list(filters)}}
        body = {"project": project_id, "data": data}
        view_id: int = self._call("POST", "/api/dm/views/", json=body)["id"]
        return view_id

    def export(self, project_id: int, export_type: str) -> dict[str, bytes]:
        """Export a project in a format such as "COCO"; returns the files by name."""
        path = f"/api/projects/{project_id}/export"
        response = self._session.download(path, {"exportType": export_type})
        if response.headers["Content-Type"] != "application/zip":
            return {"result": response.content}
        with ZipFile(BytesIO(response.content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def connect(
        self, project_id: int, backend_url: str, password: tuple[str, str] | None = None
    ) -> int:
        """Make a backend the only interactive backend of a project.

        Args:
            project_id: the project.
            backend_url: where the backend answers.
            password: the user and the password of the backend, or None.

        Returns:
            Label Studio's id of the backend.
        """
        for other in self._call("GET", "/api/ml", params={"project": project_id}):
            self._call("DELETE", f"/api/ml/{other['id']}")
        return self._session.connect_backend(project_id, backend_url, password)

    def start_training(self, backend_id: int) -> None:
        """Send the request of the button *Start training*."""
        self._call("POST", f"/api/ml/{backend_id}/train")

    def ask(self, backend_id: int, task_id: int, context: Mapping[str, Any]) -> dict[str, Any]:
        """Send a prompt as the editor does; returns its ``data`` or its ``errors``."""
        body = {"task": task_id, "context": context}
        answer: dict[str, Any] = self._call(
            "POST", f"/api/ml/{backend_id}/interactive-annotating", json=body
        )
        return answer

    def allow_legacy_tokens(self) -> str:
        """Allow legacy tokens; returns the legacy token of the user."""
        settings = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
        self._call("POST", "/api/jwt/settings", json=settings)
        token: str = self._call("GET", "/api/current-user/token")["token"]
        return token

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        return self._session.call(method, path, **arguments)


def _secret_key(data_dir: Path) -> dict[str, str]:
    """The variable with the key that signs Label Studio's tokens.

    Label Studio writes a key of its own into ``.env``, and cannot read that key again where the
    key begins with "$". All tokens are worth nothing then. Folders that have such a file keep it.
    """
    path = data_dir / "secret-key"
    if not path.exists():
        if (data_dir / ".env").exists():
            return {}
        _write_secret(path, secrets.token_hex(32))
    return {"SECRET_KEY": path.read_text()}


def _write_secret(path: Path, text: str) -> None:
    """Write a file that other users cannot read, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
