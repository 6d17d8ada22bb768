"""Tells how far a stage of many quick steps has come: often enough for people, and no more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rle.runs.events import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from rle.runs.events import AnyEvent

TELL_EVERY_S = 0.25
"""Least time between two events of a stage, its last apart."""


class StageProgress:
    """Call it after every step of a stage; it tells of the first, the last and a few between.

    Args:
        stage: What is being done, see `ProgressEvent.stage`.
        on_event: Told of the progress.
    """

    def __init__(self, stage: str, on_event: Callable[[AnyEvent], None]) -> None:
        self._stage, self._on_event = stage, on_event
        self._told_at = 0.0

    def __call__(self, step: int, num_steps: int) -> None:
        """Say that `step` of `num_steps` steps are done."""
        now = time.monotonic()
        if 1 < step < num_steps and now - self._told_at < TELL_EVERY_S:
            return
        self._told_at = now
        self._on_event(ProgressEvent(stage=self._stage, step=step, num_steps=num_steps))
