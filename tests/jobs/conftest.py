"""Clients of an engine that fails when told to: far away, and on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.engines.dashboard import Dashboard
from tests.jobs.boards import place_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.jobs.boards import Place


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Dashboard]:
    with Dashboard(tmp_path / "logs") as dashboard:
        yield dashboard


@pytest.fixture
def far(board: Dashboard, tmp_path: Path) -> Iterator[Place]:
    place = place_of(board, tmp_path, is_here=False)
    with place.client:
        yield place


@pytest.fixture
def here(board: Dashboard, tmp_path: Path) -> Iterator[Place]:
    place = place_of(board, tmp_path, is_here=True)
    with place.client:
        yield place


@pytest.fixture(params=["far", "here"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found
