"""What the queue asks of Ray: `rle.engines.ray_api.RayApi` can do it, and so can a test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from rle.runs.job_status import JobStatus


class RayJobLike(Protocol):
    """A submitted job as Ray tells of it."""

    @property
    def submission_id(self) -> str:
        """The job id."""

    @property
    def status(self) -> JobStatus:
        """Where Ray says that it stands; RUNNING as soon as its driver was started."""

    @property
    def message(self) -> str:
        """Ray's own; that of a failed job ends with its log."""

    @property
    def submitted_at(self) -> datetime | None:
        """By the head's clock, UTC."""

    @property
    def exit_code(self) -> int | None:
        """Of the driver."""

    @property
    def is_rle(self) -> bool:
        """Whether it is a job of ours."""


class JobsApi(Protocol):
    """The jobs of a cluster. All methods raise ConnectionError where it does not answer."""

    def session(self) -> str:
        """Return the name of the head's session: another one whenever the head was started."""

    def job(self, job_id: str) -> RayJobLike | None:
        """Return what Ray knows of a submitted job; None where it knows nothing."""

    def jobs(self) -> Sequence[RayJobLike]:
        """Return all submitted jobs that Ray knows, in no order."""

    def submit(
        self,
        job_id: str,
        *,
        entrypoint: str,
        package: bytes | None,
        metadata: Mapping[str, str],
        env_vars: Mapping[str, str],
    ) -> None:
        """Hand a job over; JobExistsError where Ray has one of this id."""
