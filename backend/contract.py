"""The paths that Label Studio calls: its contract with an ML backend.

Where several Label Studios use one backend, each calls paths of its own, and each path knows one
service. So no request reaches the images, tokens or embeddings of another team.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, current_app, g, jsonify, request
from werkzeug.exceptions import BadRequest

from backend import __version__, metrics, request_context, webhooks
from backend.label_studio.project_uid import project_id
from backend.learning.starts import LearningStarts
from backend.plugin import MobileSAMBackend
from backend.regions.labeling_config import LabelingConfig, whole_number
from backend.service import Service, Services
from backend.watchdog import EngineHungError

logger = logging.getLogger(__name__)

_SETUP_WAIT_S = 1.5  # for the decoder of a project; Label Studio waits 3 s


class WrongTeamError(ValueError):
    """A Label Studio has called the path of another team."""

    def __init__(self, hostname: str, team: str) -> None:
        super().__init__(
            f"the path /{team} is that of another Label Studio than {hostname[:200]}: connect this"
            " Label Studio with its own path. Is its LABEL_STUDIO_HOST right?"
        )


def health_paths(services: Services) -> Blueprint:
    """What the backend is, and whether it works. These paths need no password."""
    service = services.any
    state = {"model_version": service.segmenter.model_version, "engine": service.segmenter.engine}
    paths = Blueprint("up", __name__)

    @paths.get("/")
    def index() -> Response:
        return jsonify(
            name="MobileSAM backend for Label Studio",
            version=__version__,
            model_version=state["model_version"],
        )

    @paths.get("/health")
    def health() -> Response:
        return jsonify(status="UP", **state)

    @paths.get("/ready")
    def ready() -> Response:
        # A worker accepts requests only after its model is loaded and warm.
        if service.engine.has_hung:
            raise EngineHungError
        return jsonify(status="READY", **state)

    return paths


def label_studio_paths(service: Service, services: Services, starts: LearningStarts) -> Blueprint:
    """The paths of one Label Studio.

    Args:
        service: answers the requests.
        services: of all teams.
        starts: starts the learner.
    """
    paths = Blueprint("label-studio", __name__)
    is_proven = service.settings.basic_auth is not None  # callers of /setup have sent a password

    def version_of(uid: Any) -> str:
        """The model version of a project by Label Studio's name of the project."""
        return service.decoders.of(project_id(uid), wait_s=_SETUP_WAIT_S).model_version

    @paths.post("/setup")
    def setup() -> Response:
        body = _body()
        hostname = _text(body, "hostname")
        if hostname and services.others_at(hostname, service.settings.team):
            raise WrongTeamError(hostname, service.settings.team)
        service.label_studio.note_setup(hostname, _text(body, "access_token"), is_proven=is_proven)
        return jsonify(model_version=version_of(body.get("project")))

    @paths.get("/versions")
    def versions() -> Response:
        return jsonify(versions=service.decoders.model_versions())  # no project is asked for

    @paths.post("/predict")
    def predict() -> Response:
        body = _body()
        tasks = _tasks(body)
        context = _context(body)
        request_context.note(**_names(body, tasks))
        if context is not None and len(tasks) != 1:
            raise BadRequest("an interactive request must have exactly one task")
        label_config = body.get("label_config")
        if not isinstance(label_config, str):
            raise BadRequest("label_config must be a string: the labeling config")
        LabelingConfig.parse(label_config)  # label-studio-ml would fail without a sentence
        project = body.get("project")
        plugin = MobileSAMBackend(project_id=str(project), label_config=label_config)
        plugin.use(service)
        if context is None:
            return jsonify(results=plugin.predict(tasks, project=project))
        with metrics.CLICK_SECONDS.time():
            return jsonify(results=plugin.predict(tasks, context=context, project=project))

    @paths.post("/webhook")
    def webhook() -> tuple[Response, int]:
        body = _object(current_app.json.loads(webhooks.read(request)))
        action = body.get("action")
        if not isinstance(action, str):
            raise BadRequest("action must be the name of an event")
        logger.debug("webhook: %s", action)
        service.prefetcher.event(action, body)
        service.recorder.event(action, body)
        starts.event(action, webhooks.project_id(body), has_password=g.has_password)
        return jsonify({}), HTTPStatus.CREATED

    return paths


def _body() -> dict[str, Any]:
    return _object(request.get_json(force=True))


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object")
    return body


def _text(body: dict[str, Any], name: str) -> str | None:
    text = body.get(name)
    if not isinstance(text, str | None):
        raise BadRequest(f"{name} must be a string")
    return text


def _tasks(body: dict[str, Any]) -> list[dict[str, Any]]:
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise BadRequest("tasks must be a list of objects")
    return tasks


def _names(body: dict[str, Any], tasks: list[dict[str, Any]]) -> dict[str, int | None]:
    """What the log says of a request: the project, and the task where there is one."""
    task = whole_number(tasks[0].get("id")) if len(tasks) == 1 else None
    return {"project": project_id(body.get("project")), "task": task}


def _context(body: dict[str, Any]) -> dict[str, Any] | None:
    """The interaction, or None when nobody has clicked."""
    params = body.get("params", {})
    context = params.get("context") if isinstance(params, dict) else params
    if not isinstance(context, dict | None):
        raise BadRequest("params and params.context must be objects")
    if context is None or (context.get("result") is None and context.get("event") is None):
        return None
    if not isinstance(context.get("result"), list | None):
        raise BadRequest("params.context.result must be a list of regions")
    return context
