"""Where a job stands, in one vocabulary; what others call it is translated here."""

from __future__ import annotations

from enum import StrEnum

from rle.errors import UnknownNameError

_OTHER_NAMES = {
    # Ray Jobs
    "PENDING": "QUEUED",
    "STOPPED": "CANCELED",
    "SUCCEEDED": "COMPLETED",
    # other spellings, and what warehouses and autopilots say
    "CANCELLED": "CANCELED",
    "DONE": "COMPLETED",
    "FINISHED": "COMPLETED",
    "KILLED": "CANCELED",
    "INTERNAL_ERROR": "FAILED",
    "INPROGRESS": "RUNNING",
    "CANCELLING": "RUNNING",
    "STOPPING": "RUNNING",
}
_STEP = {"CREATED": 0, "QUEUED": 1, "RUNNING": 2, "COMPLETED": 3, "FAILED": 3, "CANCELED": 3}


class JobStatus(StrEnum):
    """Where a job stands. Transitions only go forward; the last three never change."""

    CREATED = "CREATED"
    """Made on the laptop; the engine has not yet said that it has it."""
    QUEUED = "QUEUED"
    """The engine has it, and others come first."""
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows."""
        return _STEP[self.value] == _STEP["COMPLETED"]

    def may_become(self, other: JobStatus) -> bool:
        """Whether `other` may follow this status."""
        return _STEP[self.value] < _STEP[other.value]

    @classmethod
    def parse(cls, text: str) -> JobStatus:
        """Return the status that `text` means, in any case, in our words or in another system's.

        Raises:
            UnknownNameError: It means none.
        """
        name = text.strip().upper().replace(" ", "").replace("-", "_")
        name = _OTHER_NAMES.get(name, name)
        if name not in cls.__members__:
            raise UnknownNameError("job status", text, cls.__members__)
        return cls[name]
