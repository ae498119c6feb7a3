"""The entry point of gunicorn: `gunicorn _wsgi:app`. gunicorn.conf.py configures gunicorn."""

import logging
import sys

from backend.allocator import keep_small_return_large
from backend.server import create_app
from backend.settings import Settings

# gunicorn's exit status for an app that does not load. gunicorn then starts no new worker.
_APP_DOES_NOT_LOAD = 4

keep_small_return_large()
try:
    app = create_app(Settings.of_process())
except (OSError, ValueError) as error:
    logging.getLogger("backend").critical("the backend cannot start: %s", error)
    sys.exit(_APP_DOES_NOT_LOAD)
