"""How a failure is recognised: by the class of an error, by its text, or by both."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rle.spec.config import TrainerConfig

PREDICT_KNOBS = ("test_batch_size",)
"""Knobs of a prediction, which TrainerConfig does not have."""
BY_USER, EXACT, USUAL, VAGUE = 100, 30, 20, 10
"""Ranks: those that others add, one certain cause, the usual cause, a cause among several."""


@dataclass(frozen=True, slots=True)
class Case:
    """One failure, as far as advice needs to know it."""

    found: re.Match[str]
    """Where the text matched; its groups are those of the symptom's pattern."""
    config: TrainerConfig | None = None
    """Of the job, where it is known."""

    def knobs(self, *names: str) -> str:
        """Return settings in the order in which to try them, with their values where known."""
        return ", then ".join(self._knob(name) for name in names)

    def _knob(self, name: str) -> str:
        if name in PREDICT_KNOBS:
            return f"its {name}"
        if self.config is None:
            return f"TrainerConfig.{name}"
        value = getattr(self.config, name)
        return f"TrainerConfig.{name} (now {list(value) if isinstance(value, tuple) else value})"


@dataclass(frozen=True, slots=True)
class Symptom:
    """One cause of failure: how it shows, what it means, what to do."""

    name: str
    """Short and stable, such as "gpu_memory"."""
    means: str
    """What happened and what it means, one or two sentences."""
    advice: str | Callable[[Case], str]
    """What to do: a setting to turn, a statement to run."""
    pattern: str = ""
    """Regular expression, looked for anywhere in the error's text. Empty: any text."""
    classes: tuple[str, ...] = ()
    """Full names of error classes, of which the error or a base of it must be one. Empty: any."""
    rank: int = USUAL
    compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.pattern and not self.classes:
            raise ValueError(f"Symptom {self.name!r} would match every error.")
        object.__setattr__(self, "compiled", re.compile(self.pattern))

    def find(self, classes: frozenset[str], text: str) -> re.Match[str] | None:
        """Return where an error of these classes and this text shows it; None if it does not."""
        if self.classes and classes.isdisjoint(self.classes):
            return None
        return self.compiled.search(text)
