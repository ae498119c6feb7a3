"""Clicks that wait for an image leave room for others."""

from contextlib import ExitStack

import pytest

from backend.embeddings.waiting_room import WaitingRoom
from backend.images.errors import ImageError


def test_one_key_takes_half_of_the_seats_and_all_keys_all() -> None:
    room = WaitingRoom(4)
    with ExitStack() as waiting:
        for key in ("a", "a", "b"):
            waiting.enter_context(room.seat(key))
        with pytest.raises(ImageError, match="click again"), room.seat("a"):
            pass
        with room.seat("c"), pytest.raises(ImageError, match="click again"), room.seat("d"):
            pass
    with ExitStack() as waiting:  # all seats are free again
        for key in ("a", "a", "b", "b"):
            waiting.enter_context(room.seat(key))


def test_each_team_has_seats_of_its_own() -> None:
    room = WaitingRoom(2)
    with ExitStack() as waiting:
        for key in ("red.a", "red.b"):
            waiting.enter_context(room.seat(key, "red"))
        with pytest.raises(ImageError, match="click again"), room.seat("red.c", "red"):
            pass
        for key in ("blue.a", "blue.b"):
            waiting.enter_context(room.seat(key, "blue"))
    with room.seat("red.c", "red"):  # the seats are free again
        pass
