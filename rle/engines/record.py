"""What is known of an engine: its name, its size, its settings. Never a secret, only its place."""

from __future__ import annotations

import getpass
import os
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator

from rle.errors import ValidationError
from rle.values import Value

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")


def check_engine_name(name: object) -> str:
    """Return `name` if an engine may have it: a letter, then letters, digits, _ and -.

    Raises:
        ValidationError: It may not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValidationError(
            f"An engine's name is a letter, then at most 62 letters, digits, _ or -, "
            f"not {name!r:.100}."
        )
    return name


def user_name() -> str:
    """Return who runs this process; a container's user may have no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


class EngineState(StrEnum):
    """Where an engine stands."""

    PENDING = "PENDING"
    """It starts, or does not answer yet."""
    READY = "READY"
    """It takes jobs."""
    SUSPENDED = "SUSPENDED"
    """It does not run; its jobs and settings are kept, and it can be resumed."""


class EngineSettings(Value):
    """How an engine behaves. Everything has a default."""

    auto_suspend_mins: NonNegativeFloat = 15.0
    """Minutes without a job after which it is suspended; 0: never."""
    max_running_jobs: PositiveInt = 1
    """Jobs that run at the same time; others wait, first come, first served."""
    num_workers: NonNegativeInt = 0
    """Worker nodes beside the head; local engines start them on this machine."""
    num_cpus: PositiveInt | None = None
    """CPUs that each node counts; None: those of the machine."""
    num_gpus: NonNegativeInt | None = None
    """GPUs that the head counts; None: what its size says."""
    object_store_mb: PositiveInt = 512
    """Shared memory of each node, in MiB. Graphs are memory-mapped files and need none of it."""
    dashboard_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port of the dashboard and its API on loopback; None: a free one."""


class TokenSource(Value):
    """Where an engine's token is found; never the token itself."""

    variable: str | None = None
    """Name of an environment variable that holds it."""
    path: str | None = None
    """File that holds it."""


class EngineRecord(Value):
    """One engine. Equal to its engine.json."""

    name: str
    id: str
    """Eight hexadecimal digits, never used again."""
    backend: str
    """Name in `rle.engines.registry`: "local", "address"."""
    size: str
    settings: EngineSettings = EngineSettings()
    address: str | None = None
    """URL of the dashboard; None where the backend knows by itself."""
    token: TokenSource = TokenSource()
    created_by: str
    created_on: datetime
    updated_on: datetime

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_engine_name(name)


class EngineStatus(Value):
    """Where an engine stands now."""

    state: EngineState
    message: str = ""
    """Why, in one line, where it is not READY."""

    def not_ready(self, name: str) -> str:
        """Return what to tell who needs the engine `name` READY: its state and the way out."""
        why = f" {self.message}" if self.message else ""
        if self.state is EngineState.SUSPENDED:
            return f"Engine {name!r} is SUSPENDED.{why} Resume it with `rle engine resume {name}`."
        ask = f"`rle engine status {name}` says how it goes on."
        return f"Engine {name!r} is {self.state}.{why} {ask}"
