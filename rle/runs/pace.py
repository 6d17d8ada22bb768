"""How far a stage is and how long it will take, by the times at which its progress was told.

Not by the watcher's clock: whoever comes late sees an hour's events in a second, and the clock of
an engine may differ from that of a laptop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from rle.runs.events import ProgressEvent


_LONGEST_S = 1e9
"""Thirty years; what would take longer has not begun in earnest."""


def fraction_done(progress: ProgressEvent) -> float:
    """Return which part of its stage is done, from 0 to 1; of all epochs in training.

    Training may stop early, so the part is what it is at least.
    """
    if progress.num_steps <= 0:
        return 0.0
    part = progress.step / progress.num_steps
    if progress.epoch is not None and progress.num_epochs:
        part = (progress.epoch - 1 + part) / progress.num_epochs
    return min(1.0, max(0.0, part))


def seconds_left(progress: ProgressEvent, *, since: datetime) -> float | None:
    """Return how long the stage still takes at its pace so far; None before that can be told.

    Args:
        progress: The newest.
        since: When the stage began.
    """
    done = fraction_done(progress)
    gone = (progress.time - since).total_seconds()
    if done <= 0.0 or gone <= 0.0:
        return None
    left = gone / done * (1.0 - done)
    return left if left <= _LONGEST_S else None
