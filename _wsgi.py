"""gunicorn's entry point: `gunicorn _wsgi:app`, configured by gunicorn.conf.py."""

import logging
import sys

from backend.allocator import keep_small_return_large
from backend.server import create_app
from backend.settings import Settings

_GUNICORN_GIVES_UP = 4  # its own exit status for an app that cannot be loaded: no respawning

keep_small_return_large()
try:
    app = create_app(Settings.from_env())
except (OSError, ValueError) as error:
    logging.getLogger("backend").critical("the backend cannot start: %s", error)
    sys.exit(_GUNICORN_GIVES_UP)
