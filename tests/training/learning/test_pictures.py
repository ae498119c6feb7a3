"""Which tasks are learnt from, watched and judged by."""

from collections import Counter

from training.learning.pictures import Role, role_of


def test_seven_of_ten_tasks_are_learnt_from_and_two_are_held_out() -> None:
    for first in (10, 500, 123_450):
        roles = Counter(role_of(task_id) for task_id in range(first, first + 10))
        assert roles == {Role.LEARN: 7, Role.WATCH: 1, Role.JUDGE: 2}


def test_the_held_out_tasks_are_not_every_fifth() -> None:
    places = {task_id % 10 for task_id in range(300) if role_of(task_id) is Role.JUDGE}
    assert len(places) == 10


def test_roles_never_change() -> None:
    judged = [task_id for task_id in range(100) if role_of(task_id) is Role.JUDGE]
    assert judged[:6] == [1, 8, 16, 17, 22, 28]
