"""What Ray's dashboard can do for us over HTTP: take jobs, tell of them, hand out log files.

Loads neither Ray nor, before the first object is made, `requests`. Nothing else speaks to Ray from
a laptop, and it needs no other port.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from rle.engines.ray_http import AnswerLostError, EngineFaultError, RayHttp
from rle.engines.ray_stream import blocks
from rle.errors import ConnectionError, JobManagerError, ValidationError
from rle.runs.job_status import JobStatus

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import TracebackType

    import requests

    from rle.engines.base import EngineAccess

__all__ = ["AnswerLostError", "EngineFaultError", "JobExistsError", "RayApi", "RayJob", "RayNode"]

RLE_JOB = "rle_job"
"""Key in the metadata of our jobs."""
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_NODE = re.compile(r"[0-9a-f]{8,128}")
_NO_FILE = "A file is not found at"
_ASKS_IF_EMPTY = 3
"""Ray now and then (1 in 600 measured) answers for a missing file as if it were there and empty."""
_POLL_S = 0.2
"""How often the head looks for more of a file that is followed."""


class JobExistsError(JobManagerError):
    """A job of this id was submitted before."""

    def __init__(self, message: str, code: str = "job_exists") -> None:
        super().__init__(message, code)


@dataclass(frozen=True, slots=True)
class RayJob:
    """A submitted job as Ray tells of it."""

    submission_id: str
    status: JobStatus
    ray_status: str
    """In Ray's words."""
    message: str
    """Ray's own; that of a failed job ends with up to 20,000 characters of its log."""
    submitted_at: datetime | None
    """By the head's clock, UTC."""
    ended_at: datetime | None
    """By the head's clock, UTC; None while it has not ended."""
    ray_job_id: str | None
    """Eight hexadecimal digits; None until the driver called `ray.init`."""
    exit_code: int | None
    """Of the driver; None where it has none, as of one that Ray could not start."""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def is_rle(self) -> bool:
        """Whether it is a job of ours."""
        return self.metadata.get(RLE_JOB) == "1"


@dataclass(frozen=True, slots=True)
class RayNode:
    """A node of the cluster."""

    id: str
    ip: str
    is_head: bool
    is_alive: bool
    resources: dict[str, float]


class RayApi:
    """One engine's dashboard. A call costs a few milliseconds of CPU; connections are kept.

    All errors are ConnectionErrors that name the engine and its address, never the token.

    Args:
        access: Where it is, and the token.
        timeout_s: Longest wait for a connection, and for an answer.
    """

    def __init__(self, access: EngineAccess, *, timeout_s: float = 10.0) -> None:
        self._http = RayHttp(access, timeout_s=timeout_s)
        self._head: str | None = None

    def __repr__(self) -> str:
        return f"RayApi({self._http.where!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self._http.close()

    def version(self) -> str:
        """Return Ray's version on the head."""
        return str(self._object("/api/version", "ray_version")["ray_version"])

    def session(self) -> str:
        """Return the name of the head's session: another one whenever the head was started."""
        return str(self._object("/api/version", "session_name")["session_name"])

    def submit(
        self,
        job_id: str,
        *,
        entrypoint: str,
        package: bytes | None,
        metadata: Mapping[str, str],
        env_vars: Mapping[str, str],
    ) -> None:
        """Hand a job over; it starts at once.

        Args:
            job_id: Its submission id.
            entrypoint: Command line, run by a shell on the head.
            package: A zip whose content is the driver's working directory; uploaded unless the
                head has it already.
            metadata: Shown to everyone who may see the dashboard.
            env_vars: Variables of the driver; likewise no place for secrets.

        Raises:
            JobExistsError: A job of this id was submitted before.
            AnswerLostError: Whether it was taken cannot be told.
            ConnectionError: It was not.
        """
        runtime_env: dict[str, Any] = {"env_vars": dict(env_vars)}
        if package is not None:
            runtime_env["working_dir"] = self._uploaded(package)
        body = {
            "entrypoint": entrypoint,
            "submission_id": checked_id(job_id),
            "runtime_env": runtime_env,
            "metadata": dict(metadata),
        }
        try:
            response = self._http.post("/api/jobs/", body)
        except EngineFaultError as error:
            if "already exists" in error.answer and job_id in error.answer:
                raise JobExistsError(f"{self._http.where} has a job {job_id} already.") from None
            raise
        if response.status_code == 404:
            raise self._http.strange(response)

    def _uploaded(self, package: bytes) -> str:
        name = f"_ray_pkg_{hashlib.sha256(package).hexdigest()[:32]}.zip"
        path = f"/api/packages/gcs/{name}"
        if self._http.get(path).status_code == 404:
            response = self._http.put(path, package)
            if response.status_code == 404:
                raise self._http.strange(response)
        return f"gcs://{name}"

    def job(self, job_id: str) -> RayJob | None:
        """Return what Ray knows of a submitted job; None where it knows nothing."""
        response = self._http.get(f"/api/jobs/{quote(checked_id(job_id), safe='')}")
        if response.status_code == 404:
            if "does not exist" not in response.text:
                raise self._http.strange(response)
            return None
        raw = self._http.parsed(response)
        if not isinstance(raw, dict):
            raise self._http.strange(response)
        return self._job(raw, response)

    def jobs(self) -> list[RayJob]:
        """Return all submitted jobs that Ray knows, in no order."""
        response = self._http.get("/api/jobs/")
        raw = None if response.status_code == 404 else self._http.parsed(response)
        if not isinstance(raw, list) or not all(isinstance(job, dict) for job in raw):
            raise self._http.strange(response)
        return [self._job(job, response) for job in raw if job.get("submission_id")]

    def stop(self, job_id: str) -> bool:
        """Ask Ray to stop a job; whether it ran. Returns before it has stopped."""
        response = self._http.post(f"/api/jobs/{quote(checked_id(job_id), safe='')}/stop", {})
        if response.status_code == 404:
            if "does not exist" not in response.text:
                raise self._http.strange(response)
            return False
        return bool(self._http.parsed(response).get("stopped"))

    def nodes(self) -> list[RayNode]:
        """Return the nodes of the cluster, dead ones included."""
        rows = self._object("/api/v0/nodes?limit=1000", "data")["data"]["result"]["result"]
        return [
            RayNode(
                id=str(row["node_id"]),
                ip=str(row.get("node_ip", "")),
                is_head=bool(row.get("is_head_node")),
                is_alive=row.get("state") == "ALIVE",
                resources=dict(row.get("resources_total") or {}),
            )
            for row in rows
        ]

    def read_file(
        self, filename: str, *, node: str | None = None, lines: int | None = None
    ) -> bytes | None:
        """Return a log file of a node.

        Args:
            filename: Relative to the session's logs.
            node: Id of the node; None: the head.
            lines: Only so many, from the end; None: all.

        Returns:
            Its bytes; None where there is no such file.
        """
        if lines is not None and lines < 1:
            raise ValidationError(f"lines must be at least 1, not {lines!r}.")
        query = {"filename": checked_file(filename), "lines": str(lines or -1)}
        for _ in range(_ASKS_IF_EMPTY):
            response = self._file("file", query, node)
            if response is None:
                return None
            if response.content:
                return response.content
        return b""

    def follow_file(
        self, filename: str, *, node: str | None = None, idle_s: float = 0.5
    ) -> Generator[bytes]:
        """Yield a log file block by block from its beginning, and for ever what is added to it.

        Closing the iterator ends it; then the thread that reads has ended, too.

        Args:
            filename: Relative to the session's logs; it may be missing at first.
            node: Id of the node; None: the head.
            idle_s: Yields b"" whenever nothing came for so long, so that the caller can look up.

        Raises:
            ConnectionError: The connection was cut.
        """
        import time

        while not self.read_file(filename, node=node, lines=1):
            # The head would not even answer before the file's first byte.
            time.sleep(idle_s)
            yield b""
        query = {"filename": filename, "lines": "-1", "interval": str(_POLL_S)}
        response = self._file("stream", query, node, stream=True)
        if response is None:
            raise self._http.cut(f"{filename} is gone")
        yield from blocks(response, idle_s=idle_s, cut=self._http.cut)

    def files(self, glob: str, *, node: str) -> list[str]:
        """Return the names of a node's log files that match `glob`, sorted."""
        query = {"node_id": checked_node(node), "glob": checked_file(glob)}
        found = self._object("/api/v0/logs", "data", query)["data"]["result"]
        return sorted({str(name) for names in found.values() for name in names})

    def _file(
        self, media: str, query: dict[str, str], node: str | None, *, stream: bool = False
    ) -> requests.Response | None:
        head = checked_node(node) if node is not None else self._head or self._find_head()
        try:
            return self._file_of(media, query | {"node_id": head}, stream=stream)
        except EngineFaultError:
            # A head that was restarted has another id.
            if node is not None or (found := self._find_head()) == head:
                raise
            return self._file_of(media, query | {"node_id": found}, stream=stream)

    def _file_of(
        self, media: str, query: dict[str, str], *, stream: bool
    ) -> requests.Response | None:
        try:
            response = self._http.get(f"/api/v0/logs/{media}", query, stream=stream)
        except EngineFaultError as error:
            if _NO_FILE in error.answer:
                return None
            raise
        if response.status_code == 404:
            raise self._http.strange(response)
        return response

    def _find_head(self) -> str:
        for node in self.nodes():
            if node.is_head and node.is_alive:
                self._head = node.id
                return node.id
        raise ConnectionError(f"{self._http.where} has no head node that is alive.")

    def _object(self, path: str, key: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        response = self._http.get(path, query)
        raw = None if response.status_code == 404 else self._http.parsed(response)
        if not isinstance(raw, dict) or raw.get(key) is None:
            raise self._http.strange(response)
        return raw

    def _job(self, raw: dict[str, Any], response: requests.Response) -> RayJob:
        try:
            ray_status = str(raw["status"])
            return RayJob(
                submission_id=str(raw["submission_id"]),
                status=JobStatus.parse(ray_status),
                ray_status=ray_status,
                message=str(raw.get("message") or ""),
                submitted_at=_moment(raw.get("start_time")),
                ended_at=_moment(raw.get("end_time")),
                ray_job_id=raw.get("job_id"),
                exit_code=raw.get("driver_exit_code"),
                metadata=dict(raw.get("metadata") or {}),
            )
        except (KeyError, TypeError, ValueError):
            raise self._http.strange(response) from None


def checked_id(job_id: str) -> str:
    """Return `job_id` if it is safe in an address.

    Raises:
        ValidationError: It is not.
    """
    if not isinstance(job_id, str) or not _ID.fullmatch(job_id):
        raise ValidationError(f"{job_id!r:.100} is no id of a submitted job.")
    return job_id


def checked_node(node: str) -> str:
    """Return `node` if it has the form of a node's id.

    Raises:
        ValidationError: It has not.
    """
    if not isinstance(node, str) or not _NODE.fullmatch(node):
        raise ValidationError(f"{node!r:.100} is no node's id, which has hexadecimal digits only.")
    return node


def checked_file(filename: str) -> str:
    """Return `filename` if it names a file below a session's logs.

    Raises:
        ValidationError: It does not.
    """
    parts = filename.split("/")
    if (
        not all(parts)
        or {".", "..", "**"}.intersection(parts)
        or not filename.isprintable()
        or "\\" in filename
        or len(filename) > 1000
    ):
        raise ValidationError(f"{filename!r:.100} is no name of a log file.")
    return filename


def _moment(milliseconds: int | None) -> datetime | None:
    # Whole milliseconds, so that the same job always has the same moment.
    return None if not milliseconds else datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
