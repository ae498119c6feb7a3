"""The HTTP server: its paths, basic auth, errors as one sentence.

label-studio-ml has a server too, but it is not used. In that server, each process answers 500 until
it has received a /setup, and callers get tracebacks.
"""

from __future__ import annotations

import logging
from functools import partial
from http import HTTPStatus

from flask import Blueprint, Flask, Response, g, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import HTTPException, NotFound, Unauthorized

from backend import metrics, request_context
from backend.access import AccessRules
from backend.contract import WrongTeamError, health_paths, label_studio_paths
from backend.embeddings.waiting_room import TooManyWaitingError
from backend.fast_json import FastJSON
from backend.learning.runs import LearningRuns
from backend.learning.starts import LearningStarts, starter
from backend.log import Problems, keep_problems
from backend.regions.errors import MalformedRequestError, UnanswerableRequestError
from backend.service import Service, Services
from backend.settings import Settings
from backend.status import page as status_page
from backend.watchdog import EngineHungError
from model.engines import OutOfDeviceMemoryError

logger = logging.getLogger(__name__)


# The checks of an orchestrator send no password.
_OPEN = frozenset({"index", "health", "ready"})
_RETRY_AFTER_S = "2"
_LONGEST_PATH = 200  # characters of a path in an error
_REQUEST_ID = "X-Request-ID"


def create_app(settings: Settings) -> Flask:
    """Load the model and build the app.

    Raises:
        OSError, ValueError: the backend cannot use the checkpoint. The message says why.
    """
    problems = Problems(settings.cache_dir / "problems.json")
    keep_problems(problems, logging.getLogger("backend"))
    services = Services.start(settings)
    services.start_background()

    app = Flask(__name__, static_folder=None)
    app.json = FastJSON(app)
    app.url_map.merge_slashes = False  # a path has one spelling
    app.before_request(partial(_begin, settings.access))
    app.after_request(partial(_count, settings.access))
    app.teardown_request(lambda _: request_context.end())
    app.register_blueprint(_operator_paths(services, problems))
    app.register_blueprint(health_paths(services))
    for team, service in services.by_team.items():
        paths = label_studio_paths(service, services, _learning_starts(service))
        if team:
            paths.register_blueprint(health_paths(services))
        prefix = f"/{team}" if team else None
        app.register_blueprint(paths, url_prefix=prefix, name=f"team-{team}")

    app.register_error_handler(NotFound, _no_team if settings.teams else _no_path)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(MalformedRequestError, _malformed_region)
    app.register_error_handler(UnanswerableRequestError, _unanswerable_region)
    app.register_error_handler(WrongTeamError, _wrong_team)
    app.register_error_handler(EngineHungError, _engine_hung)
    app.register_error_handler(TooManyWaitingError, _unavailable)
    app.register_error_handler(OutOfDeviceMemoryError, _out_of_device_memory)
    app.register_error_handler(Exception, _internal_error)
    return app


def _learning_starts(service: Service) -> LearningStarts:
    settings = service.settings
    runs = LearningRuns.of(settings)
    return LearningStarts(
        service.label_studio,
        runs,
        starter(runs, settings.redis_url, settings.team),
        settings.learn_every,
        needs_password=settings.basic_auth is not None,
        team=settings.team,
    )


def _operator_paths(services: Services, problems: Problems) -> Blueprint:
    """The pages for the operator. They show all teams."""
    paths = Blueprint("operator", __name__)

    @paths.get("/metrics")
    def counts() -> Response:
        return Response(generate_latest(metrics.registry()), content_type=CONTENT_TYPE_LATEST)

    @paths.get("/status")
    def status() -> Response:
        return status_page(services, problems.last())

    return paths


def _begin(rules: AccessRules) -> None:
    """Refuse a request without the password of its team. Flask refuses unknown paths."""
    team, access = rules.of(request.path)
    g.request_id = request_context.begin(request.headers.get(_REQUEST_ID))
    request_context.note(team=team or None)
    if request.endpoint is None:
        return
    given = request.headers.get("Authorization")
    request.max_content_length = rules.body_limit(request.path, given)
    is_trusted = access.is_trusted(given)
    g.has_password = access.basic_auth is not None and is_trusted
    endpoint = request.endpoint.rpartition(".")[2]
    if endpoint in _OPEN or is_trusted:
        return
    if endpoint == "webhook" and given is None:
        return  # Label Studio's webhooks send no password. Their content is checked in the API.
    names = "BASIC_AUTH_USER, BASIC_AUTH_PASS"
    raise Unauthorized(
        f"the user or the password is wrong or missing ({names.lower() if team else names})"
    )


def _count(rules: AccessRules, response: Response) -> Response:
    """Count a request. Its route has no team, because there may be many teams."""
    rule = request.url_rule.rule if request.url_rule else "other"
    team, _ = rules.of(rule)
    route = rule.removeprefix(f"/{team}") if team else rule
    metrics.REQUESTS.labels(route, str(response.status_code)).inc()
    response.headers[_REQUEST_ID] = g.request_id
    return response


def _http_error(error: HTTPException) -> tuple[Response, int]:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    metrics.FAILURES.labels("password" if status == HTTPStatus.UNAUTHORIZED else "request").inc()
    return _error(error.description or error.name, status)


def _malformed_region(error: MalformedRequestError) -> tuple[Response, int]:
    metrics.FAILURES.labels("request").inc()
    return _error(str(error), HTTPStatus.BAD_REQUEST)


def _unanswerable_region(error: UnanswerableRequestError) -> Response:
    return _shown(str(error), HTTPStatus.UNPROCESSABLE_ENTITY)


def _wrong_team(error: WrongTeamError) -> Response:
    metrics.FAILURES.labels("request").inc()
    return _shown(str(error), HTTPStatus.CONFLICT)


def _no_path(error: NotFound) -> tuple[Response, int]:
    metrics.FAILURES.labels("request").inc()
    return _error(
        f"no such path: {request.path[:_LONGEST_PATH]}. For people there is /status, for machines"
        " /health",
        HTTPStatus.NOT_FOUND,
    )


def _no_team(error: NotFound) -> Response:
    metrics.FAILURES.labels("request").inc()
    return _shown(
        "there is no such path. Several Label Studios use this backend: the URL of the backend must"
        " end in the path of your Label Studio, such as http://backend:9090/team",
        HTTPStatus.NOT_FOUND,
    )


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
