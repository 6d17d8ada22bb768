"""What warehouses and tracking servers say when they refuse, what it means and what helps."""

from __future__ import annotations

from rle.connectors.snowflake.failures import FAILURES, Failure
from rle.connectors.snowflake.remedies import Where
from rle.jobs.diagnosis import EXACT, USUAL, Symptom

MLFLOW = (
    Symptom(
        "tracking_credentials",
        means="The MLflow server refuses the user name and password, or the token, it was given.",
        advice="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN, where the engine is started, not on the laptop alone, and start "
        "the engine again.",
        pattern=r"(?s)API request to (?:endpoint )?\S+ failed with error code 40[13]\b",
        rank=EXACT,
    ),
    Symptom(
        "tracking_server",
        means="The MLflow server does not answer.",
        advice="See that it runs and that the head of the engine can reach it (curl its address "
        "there), and that MLFLOW_TRACKING_URI is right where the engine is started. Without that "
        "variable runs are kept in a file of the engine.",
        pattern=r"(?s)API request to \S+ failed with (?:exception|timeout exception)"
        r"|API request to \S+ failed with error code 5\d\d|MLflow could not do it: .*"
        r"(?:Max retries exceeded|could not connect to server|Connection refused)",
        rank=EXACT,
    ),
    Symptom(
        "tracking_file",
        means="The file that MLflow keeps runs in is in use by somebody else.",
        advice="Submit again. If many jobs write at the same time, run an MLflow server and set "
        "MLFLOW_TRACKING_URI to its address.",
        pattern=r"sqlite3\.OperationalError\) database is locked",
        rank=EXACT,
    ),
)

_SNOWFLAKE_CLASSES = tuple(
    f"snowflake.connector.errors.{name}"
    for name in ("Error", "DatabaseError", "OperationalError", "ProgrammingError", "InternalError")
)


def _symptom(failure: Failure) -> Symptom:
    return Symptom(
        failure.name,
        means=failure.means,
        advice=lambda case: failure.advise(case.found, Where()),
        pattern=failure.pattern,
        classes=_SNOWFLAKE_CLASSES if failure.is_vague else (),
        rank=(USUAL if failure.is_vague else EXACT) + failure.rank,
    )


SNOWFLAKE = tuple(map(_symptom, FAILURES))
"""What `rle.connectors.snowflake.failures` knows, for errors that did not pass through it."""
