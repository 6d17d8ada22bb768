"""What a job prints: its driver's log as it grows, and its workers' logs node by node."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from rle.errors import JobMonitorError
from rle.jobs.layout import LOG
from rle.jobs.whole_lines import TAIL_BYTES, WholeLines
from rle.runs.clean_stream import clean_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rle.engines.ray_api import RayApi, RayNode
    from rle.jobs.served import JobFiles
    from rle.jobs.state import JobState

_ASK_S = 1.0
"""How often the job's state is asked for while it prints nothing."""
_HEAD = "head"


class JobLogs:
    """The logs of one engine's jobs.

    Args:
        files: Its jobs' files.
        api: Returns its dashboard; ConnectionError where it is not READY.
        state: Returns where a job stands; JobManagerError where there is no such job.
    """

    def __init__(
        self, files: JobFiles, api: Callable[[], RayApi], state: Callable[[str], JobState]
    ) -> None:
        self._files, self._api, self._state = files, api, state

    def follow(self, job_id: str, *, offset: int) -> Iterator[bytes]:
        """Yield the driver's log; see `JobClient.follow_log`."""
        has_ended = self._state(job_id).status.is_terminal
        if has_ended and self._files.read(job_id, LOG, lines=1) is None:
            yield from filter(None, [self._before_driver(job_id)[offset:]])
            return
        lines = WholeLines(offset)
        asked_at = time.monotonic()
        with closing(self._files.follow(job_id, LOG)) as blocks:
            for block in blocks:
                if block:
                    if whole := lines.add(block):
                        yield whole
                    continue
                if has_ended and self._is_all(job_id, lines):
                    break
                if not has_ended and time.monotonic() - asked_at >= _ASK_S:
                    has_ended = self._state(job_id).status.is_terminal
                    asked_at = time.monotonic()
                    if not has_ended:
                        yield b""  # so that the reader can look up
        rest = lines.rest() if lines.tail else self._before_driver(job_id)[offset:]
        if rest:
            yield rest

    def _is_all(self, job_id: str, lines: WholeLines) -> bool:
        """Return whether nothing of an ended job's log is on its way: a busy head may be late."""
        last = self._files.read(job_id, LOG, lines=1)
        return last is None or lines.tail.endswith(last[-TAIL_BYTES:])

    def log(self, job_id: str, *, node: str | None, lines: int | None) -> str:
        """Return the driver's log, or a node's; see `JobClient.log`."""
        if node is not None:
            return self._node_log(job_id, node, lines)
        data = self._files.read(job_id, LOG, lines=lines)
        if data is None:
            self._state(job_id)
            data = b"".join(self._before_driver(job_id).splitlines(keepends=True)[-(lines or 0) :])
        return clean_log(data.decode("utf-8", "replace"))

    def nodes(self, job_id: str) -> list[str]:
        """Return the ids of the nodes with workers of the job; see `JobClient.nodes`."""
        return [node.id for node, _ in self._worker_files(job_id)]

    def _before_driver(self, job_id: str) -> bytes:
        """Return what Ray says of a driver that has not come to write its own log."""
        from rle.errors import ConnectionError

        try:
            return self._api().read_file(f"job-driver-{job_id}.log") or b""
        except ConnectionError:
            return b""  # the engine is suspended, and its session's logs are gone

    def _node_log(self, job_id: str, node: str, lines: int | None) -> str:
        self._state(job_id)
        found = self._worker_files(job_id)
        matching = [one for one in found if _is_meant(one[0], node)]
        if len(matching) != 1:
            there = ", ".join(f"{one.id} ({one.ip})" for one, _ in found) or "none"
            what = "no worker" if not matching else "several nodes with workers"
            raise JobMonitorError(
                f"Job {job_id} has {what} on node {node!r:.80}. It has workers on: {there}.",
                "no_such_node",
            )
        one, names = matching[0]
        parts = []
        for name in names:
            data = self._api().read_file(name, node=one.id, lines=lines)
            if data:
                parts.append(f"==> {name} <==\n{clean_log(data.decode('utf-8', 'replace'))}")
        return "\n".join(parts)

    def _worker_files(self, job_id: str) -> list[tuple[RayNode, list[str]]]:
        """Return each node that has logs of the job's workers, the head first, and their names."""
        api = self._api()
        job = api.job(job_id)
        if job is None:
            self._state(job_id)
        if job is None or job.ray_job_id is None:
            return []
        alive = sorted(
            (node for node in api.nodes() if node.is_alive),
            key=lambda node: (not node.is_head, node.id),
        )
        pattern = f"worker-*-{job.ray_job_id}-*"
        found = ((node, api.files(pattern, node=node.id)) for node in alive)
        return [(node, names) for node, names in found if names]


def _is_meant(node: RayNode, name: str) -> bool:
    return node.id.startswith(name) or node.ip == name or (node.is_head and name == _HEAD)
