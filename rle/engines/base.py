"""What every place that runs engines can do. Assumes no machine, no cloud, no file system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import SecretStr

    from rle.engines.record import EngineRecord, EngineStatus


@dataclass(frozen=True, slots=True)
class EngineAccess:
    """How a running engine is reached."""

    name: str
    """Of the engine, for messages."""
    address: str
    """URL of Ray's dashboard, which serves the Jobs API, without a trailing slash."""
    token: SecretStr | None = field(repr=False)
    """Sent with every request; None where the cluster asks for none."""


class EngineBackend(ABC):
    """Starts, stops and reaches engines of one kind. Stateless: all it knows is in the record.

    `create` and `resume` only begin; `status` says when it is done.
    """

    @abstractmethod
    def check(self, record: EngineRecord) -> None:
        """Check, before anything is made, that such an engine is possible here.

        Raises:
            ValidationError: A size, a setting or an address is impossible, a port is taken.
            DeviceError: The size asks for a GPU that is not there.
        """

    @abstractmethod
    def create(self, record: EngineRecord, folder: Path) -> None:
        """Begin to start a new engine, whose own folder is `folder`."""

    @abstractmethod
    def status(self, record: EngineRecord, folder: Path) -> EngineStatus:
        """Return where it stands; quick, and never an error."""

    @abstractmethod
    def resume(self, record: EngineRecord, folder: Path) -> None:
        """Begin to start a suspended engine. One that runs is left alone."""

    @abstractmethod
    def suspend(self, record: EngineRecord, folder: Path) -> None:
        """Stop it and keep its jobs. Returns when it has stopped; one that is stopped is left."""

    @abstractmethod
    def delete(self, record: EngineRecord, folder: Path) -> None:
        """Stop it for good. `folder` is removed by the caller afterwards."""

    @abstractmethod
    def access(self, record: EngineRecord, folder: Path) -> EngineAccess:
        """Return how to reach a READY engine.

        Raises:
            ConnectionError: It is not READY; names it, its state and the way out.
        """

    @abstractmethod
    def jobs_folder(self, record: EngineRecord, folder: Path) -> Path | None:
        """Return where its jobs' files can be read while it is suspended; None: nowhere here."""
