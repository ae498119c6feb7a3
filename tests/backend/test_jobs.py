"""Jobs for RQ workers."""

import socket
from dataclasses import replace

import pytest

from backend import jobs
from backend.settings import Settings


def test_a_redis_without_an_answer_gets_a_sentence() -> None:
    with socket.socket() as taken:  # nobody listens on its port
        taken.bind(("127.0.0.1", 0))
        url = f"redis://:secret@127.0.0.1:{taken.getsockname()[1]}"
        settings = replace(Settings.from_env({}), redis_url=url)
        with pytest.raises(ValueError, match="is REDIS_URL right") as caught:
            list(jobs.run(settings, print, [[1]]))
    assert "secret" not in str(caught.value)
