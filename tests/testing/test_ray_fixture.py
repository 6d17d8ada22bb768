from __future__ import annotations

import pytest


@pytest.mark.ray
def test_ray_local_runs_a_task(ray_local):
    import ray

    @ray.remote
    def add(a: int, b: int) -> int:
        return a + b

    assert ray.get(add.remote(1, 2)) == 3


def test_the_session_ray_is_not_taken_for_a_leak():
    pass
