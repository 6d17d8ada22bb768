"""What an engine knows already and a job would stumble over later: said before it is submitted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import quote

from rle.errors import JobManagerError, OutputExistsError, UnknownNameError, ValidationError
from rle.inference.export import PREDICTIONS, identity
from rle.jobs.request import PredictWork, TrainInferenceWork
from rle.runs.trained import check_run_id

if TYPE_CHECKING:
    from pathlib import Path

    from rle.connectors.base import Connector
    from rle.jobs.request import Work
    from rle.sdk.engine_jobs import Jobs
    from rle.spec.predict_request import OutputRequest

_PREDICT = {"predict", "train_inference"}
_PATIENCE_S = 1.0
_KNOWN = 1000
_NOT_THE_PLACE = {
    *("engine_name", "read_at", "query_tag", "role", "warehouse"),
    *("login_timeout_s", "network_timeout_s", "statement_timeout_s"),
}
_RUNS = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active'"
_NEWEST = f"{_RUNS} ORDER BY start_time DESC LIMIT {_KNOWN}"
_MODELS = "SELECT name FROM registered_models"
_VERSIONS = (
    "SELECT CAST(version AS TEXT) FROM model_versions "
    "WHERE name = ? AND current_stage IS NOT 'Deleted_Internal'"
)


def check_unclaimed(work: Work, jobs: Jobs, connector: Connector | None) -> None:
    """Check that no job that waits or runs will make the tables that `work` is to make.

    Two that are submitted in the same instant can still meet; then the later one finds out.

    Args:
        work: What is to be done; what replaces older tables is never in the way.
        jobs: Those of the engine.
        connector: Where the tables go, where the work does not say.

    Raises:
        OutputExistsError: One will; names it and its status.
    """
    output = _output_of(work)
    if output is None or output.overwrite_results:
        return
    wanted = _table_of(work, connector)
    for job in jobs.states():
        if job.status.is_terminal or job.kind not in _PREDICT:
            continue
        try:
            other = jobs.request(job.job_id).work
        except (JobManagerError, ValidationError):  # its sender alone has it, or can read it
            continue
        if wanted is not None and _table_of(other, None) == wanted:
            raise OutputExistsError(
                f"Output alias {output.output_alias!r} is that of job {job.job_id}, which is "
                f"{job.status} and is to make the same tables. Choose another alias, cancel that "
                "job, or pass overwrite_results=True to replace what it makes."
            )


def check_model(work: Work, database: Path | None) -> None:
    """Check that the model that a prediction names is there.

    Args:
        work: What is to be done. The best model of an experiment may be one that is trained by
            then, so it is not looked for.
        database: MLflow's sqlite file, if that is all there is of it; None: only the engine can
            ask. A file that says nothing is left to the engine, too.

    Raises:
        UnknownNameError: There is no such run, registered model or version; names the nearest.
        ValidationError: No run can have this id.
    """
    if not isinstance(work, PredictWork) or database is None or work.request.is_best:
        return
    run_id = work.request.model_run_id
    if run_id is not None:
        check_run_id(run_id)
        if (database.parent / "runs" / run_id).is_dir():
            return  # its folder keeps the model, whatever became of the run
    address = f"file:{quote(str(database))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE_S)) as connection:
            missing = _missing(work, connection, f"sqlite:///{database}")
    except sqlite3.Error:
        return
    if missing is not None:
        raise missing


def _missing(
    work: PredictWork, connection: sqlite3.Connection, place: str
) -> UnknownNameError | None:
    def ask(query: str, *given: str) -> list[str]:
        return [row[0] for row in connection.execute(query, given)]

    run_id, name = work.request.model_run_id, work.request.registered_model_name
    if run_id is not None:
        if ask(f"{_RUNS} AND run_uuid = ?", run_id):
            return None
        return UnknownNameError(f"run in {place}", run_id, ask(_NEWEST))
    names, version = ask(_MODELS), str(work.request.version)
    if name not in names:
        return UnknownNameError(f"registered model in {place}", str(name), names)
    versions = ask(_VERSIONS, name)
    if version in versions:
        return None
    return UnknownNameError(f"version of registered model {name!r}", version, versions)


def _output_of(work: Work) -> OutputRequest | None:
    if isinstance(work, PredictWork):
        return work.request
    return work.output if isinstance(work, TrainInferenceWork) else None


def _table_of(work: Work, connector: Connector | None) -> tuple[object, ...] | None:
    """Return what tells a job's prediction table from all others; None where it is not known."""
    output = _output_of(work)
    if output is None:
        return None
    table = identity(output.output_config.table(f"{PREDICTIONS}_{output.output_alias.upper()}"))
    if output.output_config.artifacts_dir is not None:
        return (None, table)
    if isinstance(work, TrainInferenceWork):
        connector = work.config.connector
    elif isinstance(work, PredictWork) and work.request.dataset is not None:
        connector = work.request.dataset.connector
    return None if connector is None else (_warehouse(connector), table)


def _warehouse(connector: Connector) -> str:
    """Return what is the same for all connectors to one place, however they read there."""
    return connector.model_dump_json(exclude=_NOT_THE_PLACE)
