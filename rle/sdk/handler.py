"""JobHandler: hands work to an engine. What Trainer does once it has checked everything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rle.connectors.base import Connector
from rle.errors import ValidationError
from rle.jobs.request import MaterializeWork, PredictWork, TrainInferenceWork, TrainWork
from rle.sdk.engine_jobs import EngineJobs, jobs_on
from rle.sdk.monitor import JobMonitor
from rle.sdk.submission import check_model, check_unclaimed

if TYPE_CHECKING:
    from rle.jobs.request import Work

WORKS = (TrainWork, PredictWork, TrainInferenceWork, MaterializeWork)


class JobHandler:
    """Submits work as it stands, such as the work of an earlier job: `job.request.work`.

    Args:
        connector: Whose engine is meant, where `engine` names none.
        engine: Name of the engine; None: the connector's, $RLE_ENGINE, or the only engine there is.
        upload_code: Whether this machine's own `rle` package travels with each job, instead of the
            engine's installed one; or the folder of another one.

    Raises:
        ConnectionError: There is no such engine, or it is not READY; says how it stands.
        ValidationError: `upload_code` names no folder.
    """

    def __init__(
        self,
        connector: Connector | None = None,
        engine: str | EngineJobs | None = None,
        *,
        upload_code: bool | str | Path = False,
    ) -> None:
        self._upload_code = code_of(upload_code)
        self._connector = connector
        self._on = jobs_on(named_engine(connector, engine), must_run=True)

    @property
    def engine(self) -> str:
        """Name of the engine."""
        return self._on.name

    @property
    def shares_files(self) -> bool:
        """Whether the engine's files are this machine's."""
        return self._on.shares_files

    def submit(self, work: Work) -> JobMonitor:
        """Queue a job and return its monitor at once.

        Raises:
            ConnectionError: The engine does not answer.
            ValidationError: `work` is none, or the code that is to travel is too large.
            UnknownNameError: It predicts with a model that is not there, as far as is known here.
            OutputExistsError: It predicts under an alias of a job that waits or runs.
        """
        if not isinstance(work, WORKS):
            raise ValidationError(
                f"work must be one of {', '.join(cls.__name__ for cls in WORKS)}, not "
                f"{type(work).__name__}."
            )
        check_model(work, self._on.models)
        check_unclaimed(work, self._on.jobs, self._connector)
        request = self._on.jobs.submit(work, upload_code=self._upload_code)
        return JobMonitor(request.job_id, self._on)

    def __repr__(self) -> str:
        return f"<JobHandler of engine {self.engine!r}>"


def code_of(upload_code: object) -> bool | Path:
    """Return what `upload_code` means: whether, or the folder of which code.

    Raises:
        ValidationError: It is neither a bool nor a folder.
    """
    if isinstance(upload_code, bool):
        return upload_code
    if not isinstance(upload_code, str | Path) or not Path(upload_code).expanduser().is_dir():
        raise ValidationError(
            f"upload_code must be True, False or the folder of a package, not {upload_code!r:.200}."
        )
    return Path(upload_code)


def named_engine(
    connector: Connector | None, engine: str | EngineJobs | None
) -> str | EngineJobs | None:
    """Return the engine that is meant: the one named, or the connector's.

    Raises:
        ValidationError: `connector` is no connector.
    """
    if connector is not None and not isinstance(connector, Connector):
        raise ValidationError(
            f"connector must be a connector, not {connector!r:.100}. The name of an engine goes "
            "into engine=."
        )
    if engine is not None or connector is None:
        return engine
    return connector.engine_name
