"""What a laptop asks of an engine: a kind of work and validated JSON. No pickle, no secret."""

from __future__ import annotations

import platform
import re
import socket
import uuid
from datetime import UTC, datetime
from importlib import metadata
from typing import Annotated, Literal

from pydantic import Field, StrictBool, field_validator

from rle.engines.record import user_name
from rle.errors import ValidationError
from rle.spec.config import TrainerConfig
from rle.spec.dataset import DatasetSpec
from rle.spec.predict_request import OutputRequest, PredictRequest
from rle.values import Value
from rle.version import VERSION

_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_job_id() -> str:
    """Return an id that no other job has: a random UUID as text."""
    return str(uuid.uuid4())


def check_job_id(job_id: object) -> str:
    """Return `job_id` if it has the form of one, so that it is safe in a path or an address.

    Raises:
        ValidationError: It has not.
    """
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise ValidationError(
            f"{job_id!r:.100} is no job id; one looks like 3f2c9b1e-5a74-4d0c-9a53-0d9c1f6e2b7a. "
            "`rle jobs list` and JobManager.show_jobs() list them."
        )
    return job_id


class Versions(Value):
    """What runs at one place."""

    rle: str
    python: str
    """Major and minor, such as "3.11"."""
    ray: str | None
    """None where Ray is not installed; a laptop does not need it."""

    @classmethod
    def here(cls) -> Versions:
        """Return the versions of this process. Imports nothing."""
        try:
            ray = metadata.version("ray")
        except metadata.PackageNotFoundError:
            ray = None
        major, minor, _ = platform.python_version_tuple()
        return cls(rle=VERSION, python=f"{major}.{minor}", ray=ray)


class TrainWork(Value):
    """`rle.pipeline.fit`."""

    kind: Literal["train"] = "train"
    dataset: DatasetSpec
    config: TrainerConfig
    baseline: StrictBool = False
    stack: StrictBool = False

    @property
    def experiment_name(self) -> str:
        """Experiment that the job belongs to."""
        return self.dataset.experiment_name


class PredictWork(Value):
    """`rle.pipeline.predict`."""

    kind: Literal["predict"] = "predict"
    request: PredictRequest
    materialize: StrictBool = True
    """Whether the tables are made by this job; False: kept as files until a job of kind
    "materialize" makes them."""

    @property
    def experiment_name(self) -> str:
        """Experiment that the job belongs to."""
        return self.request.experiment


class TrainInferenceWork(Value):
    """`rle.pipeline.fit_predict`."""

    kind: Literal["train_inference"] = "train_inference"
    dataset: DatasetSpec
    config: TrainerConfig
    output: OutputRequest
    baseline: StrictBool = False
    stack: StrictBool = False
    materialize: StrictBool = True
    """As in `PredictWork`."""

    @property
    def experiment_name(self) -> str:
        """Experiment that the job belongs to."""
        return self.dataset.experiment_name


class MaterializeWork(Value):
    """Make the tables of a job that kept its predictions as files."""

    kind: Literal["materialize"] = "materialize"
    source_job_id: str
    """The job that predicted, on the same engine."""
    experiment_name: str
    """Experiment that the job belongs to."""

    @field_validator("source_job_id")
    @classmethod
    def _check_source(cls, job_id: str) -> str:
        return check_job_id(job_id)


Work = Annotated[
    TrainWork | PredictWork | TrainInferenceWork | MaterializeWork, Field(discriminator="kind")
]


class JobRequest(Value):
    """One job, as it travels to the engine and as the engine keeps it."""

    format: Literal[1] = 1
    """Of the request; an engine that knows another one refuses it."""
    job_id: str
    work: Work
    versions: Versions
    """Of the place that submits."""
    has_code: StrictBool = False
    """Whether the laptop's own package travels beside; else the engine's installed one runs."""
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """By the laptop's clock, UTC. The queue goes by the engine's clock alone."""
    created_by: str = Field(default_factory=user_name)
    """User name on the laptop."""
    created_on: str = Field(default_factory=socket.gethostname)
    """Host name of the laptop."""

    @field_validator("job_id")
    @classmethod
    def _check_id(cls, job_id: str) -> str:
        return check_job_id(job_id)

    @property
    def kind(self) -> str:
        """Kind of the work: "train", "predict", "train_inference", "materialize"."""
        return self.work.kind


JOB_TYPES = {"predict": "inference"}
"""What `get_status` calls a kind, where it has another name there."""


def job_type(kind: str) -> str:
    """Return what `get_status` calls this kind of work."""
    return JOB_TYPES.get(kind, kind)
