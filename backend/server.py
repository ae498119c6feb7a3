"""The HTTP server: Label Studio's contract, basic auth, errors as one sentence.

label-studio-ml has a server too, but it is not used. In that server, each process answers 500 until
it has received a /setup, and callers get tracebacks.
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

import orjson
from flask import Flask, Response, g, jsonify, request
from flask.json.provider import JSONProvider
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import BadRequest, HTTPException, Unauthorized

from backend import __version__, metrics, request_context, webhooks
from backend.access import Access
from backend.embeddings.waiting_room import TooManyWaitingError
from backend.label_studio.project_uid import project_id
from backend.log import Problems, keep_problems
from backend.plugin import MobileSAMBackend
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.regions.labeling_config import LabelingConfig, whole_number
from backend.service import Service
from backend.settings import Settings
from backend.status import page as status_page
from backend.watchdog import EngineHungError
from model.engines import OutOfDeviceMemoryError

logger = logging.getLogger(__name__)

_SETUP_WAIT_S = 1.5  # for the decoder of a project; Label Studio waits 3 s

# The checks of an orchestrator send no password.
_OPEN = frozenset({"index", "health", "ready"})
_RETRY_AFTER_S = "2"
_REQUEST_ID = "X-Request-ID"


class _FastJSON(JSONProvider):
    """Reads and writes JSON with orjson: old drafts have megabytes, and the RLE of a mask is long.

    orjson refuses NaN and half characters. Half an emoji such as "\\ud83d" remains when software
    cuts a text in two. Python's own reader and writer accept both, because one odd caption in a
    task must not cost the click.
    """

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        try:
            return orjson.dumps(obj).decode()
        except TypeError:
            return json.dumps(obj)

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return orjson.loads(s)
        except orjson.JSONDecodeError:
            return _loads(s)


def _loads(content: str | bytes) -> Any:
    try:
        return json.loads(content)
    except RecursionError as error:
        raise BadRequest("the body is nested too deeply") from error
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def create_app(settings: Settings) -> Flask:
    """Load the model and build the app.

    Raises:
        OSError, ValueError: the backend cannot use the checkpoint. The message says why.
    """
    problems = Problems(settings.cache_dir / "problems.json")
    keep_problems(problems, logging.getLogger("backend"))
    service = Service.start(settings)
    service.start_background()
    MobileSAMBackend.service = service
    model_version = service.segmenter.model_version

    app = Flask(__name__, static_folder=None)
    app.json = _FastJSON(app)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(MalformedRequestError, _malformed_region)
    app.register_error_handler(UnanswerableRequestError, _unanswerable_region)
    app.register_error_handler(EngineHungError, _engine_hung)
    app.register_error_handler(TooManyWaitingError, _unavailable)
    app.register_error_handler(OutOfDeviceMemoryError, _out_of_device_memory)
    app.register_error_handler(Exception, _internal_error)

    access = Access(settings.basic_auth)

    @app.before_request
    def begin() -> None:
        g.request_id = request_context.begin(request.headers.get(_REQUEST_ID))

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        request_context.end()

    @app.before_request
    def check_access() -> None:
        given = request.headers.get("Authorization")
        request.max_content_length = access.body_limit(request.path, given)
        is_trusted = access.is_trusted(given)
        g.has_password = settings.basic_auth is not None and is_trusted
        if request.endpoint in _OPEN or is_trusted:
            return
        if request.endpoint == "webhook" and given is None:
            return  # Label Studio's webhooks send no password. Their content is checked in the API.
        raise Unauthorized(
            "the user or the password is wrong or missing (BASIC_AUTH_USER, BASIC_AUTH_PASS)"
        )

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "other"
        metrics.REQUESTS.labels(route, str(response.status_code)).inc()
        response.headers[_REQUEST_ID] = g.request_id
        return response

    def version_of(uid: Any) -> str:
        """The model version of a project by Label Studio's name of the project."""
        return service.decoders.of(project_id(uid), wait_s=_SETUP_WAIT_S).model_version

    @app.get("/")
    def index() -> Response:
        return jsonify(
            name="MobileSAM backend for Label Studio",
            version=__version__,
            model_version=model_version,
        )

    @app.get("/health")
    def health() -> Response:
        return jsonify(status="UP", model_version=model_version, engine=service.segmenter.engine)

    @app.get("/ready")
    def ready() -> Response:
        # A worker accepts requests only after its model is loaded and warm.
        if service.engine.has_hung:
            raise EngineHungError
        return jsonify(status="READY", model_version=model_version, engine=service.segmenter.engine)

    @app.get("/metrics")
    def counts() -> Response:
        return Response(generate_latest(metrics.registry()), content_type=CONTENT_TYPE_LATEST)

    @app.get("/status")
    def status() -> Response:
        return status_page(service, problems.last())

    @app.post("/setup")
    def setup() -> Response:
        body = _body()
        service.label_studio.note_setup(
            _text(body, "hostname"),
            _text(body, "access_token"),
            is_proven=settings.basic_auth is not None,
        )
        return jsonify(model_version=version_of(body.get("project")))

    @app.get("/versions")
    def versions() -> Response:
        return jsonify(versions=service.decoders.model_versions())  # no project is asked for

    @app.post("/predict")
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
        plugin = MobileSAMBackend(project_id=str(body.get("project")), label_config=label_config)
        if context is None:
            return jsonify(results=plugin.predict(tasks, project=body.get("project")))
        with metrics.CLICK_SECONDS.time():
            return jsonify(
                results=plugin.predict(tasks, context=context, project=body.get("project"))
            )

    @app.post("/webhook")
    def webhook() -> tuple[Response, int]:
        body = _object(app.json.loads(webhooks.read(request)))
        action = body.get("action")
        if not isinstance(action, str):
            raise BadRequest("action must be the name of an event")
        logger.debug("webhook: %s", action)
        service.prefetcher.event(action, body)
        service.recorder.event(action, body)
        return jsonify({}), HTTPStatus.CREATED

    return app


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


def _http_error(error: HTTPException) -> tuple[Response, int]:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    metrics.FAILURES.labels("password" if status == HTTPStatus.UNAUTHORIZED else "request").inc()
    return _error(error.description or error.name, status)


def _malformed_region(error: MalformedRequestError) -> tuple[Response, int]:
    metrics.FAILURES.labels("request").inc()
    return _error(str(error), HTTPStatus.BAD_REQUEST)


def _unanswerable_region(error: UnanswerableRequestError) -> Response:
    return _shown(str(error), HTTPStatus.UNPROCESSABLE_ENTITY)


def _unavailable(error: Exception) -> Response:
    response = _shown(str(error), HTTPStatus.SERVICE_UNAVAILABLE)
    response.headers["Retry-After"] = _RETRY_AFTER_S
    return response


def _engine_hung(error: EngineHungError) -> Response:
    metrics.FAILURES.labels("engine").inc()
    return _unavailable(error)


def _out_of_device_memory(error: OutOfDeviceMemoryError) -> Response:
    metrics.FAILURES.labels("memory").inc()
    logger.error("%s %s: %s", request.method, request.path, error)
    return _unavailable(error)


def _shown(sentence: str, status: HTTPStatus) -> Response:
    """An error with its sentence in the status line: Label Studio shows only this part."""
    response, code = _error(sentence, status)
    response.status = f"{code} {_one_line(sentence)}"
    return response


def _one_line(sentence: str) -> str:
    text = sentence.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in text)[:500]


def _internal_error(error: Exception) -> tuple[Response, int]:
    metrics.FAILURES.labels("internal").inc()
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _error("the backend failed: its log names the cause", HTTPStatus.INTERNAL_SERVER_ERROR)


def _error(sentence: str, status: int) -> tuple[Response, int]:
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        # /status shows warnings. A stranger must not displace the problems there.
        level = logging.WARNING if g.get("has_password") else logging.INFO
        path = request.path[:200]
        logger.log(level, "%s %s: %d: %s", request.method, path, status, sentence)
    response = jsonify(error=sentence)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Basic realm="backend"'
    return response, status
