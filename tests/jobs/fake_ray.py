"""A Ray whose jobs are files: whatever process looks sees the same, and drivers are real ones."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rle.engines.ray_api import JobExistsError
from rle.jobs.layout import ENGINE_FOLDER, REQUEST, job_folder, jobs_folder
from rle.jobs.lines import write_whole
from rle.jobs.queue import Queue
from rle.jobs.request import JobRequest, MaterializeWork, Versions, new_job_id
from rle.jobs.state import JobState
from rle.runs.job_status import JobStatus


@dataclass(frozen=True)
class FakeJob:
    submission_id: str
    status: JobStatus
    message: str = ""
    submitted_at: datetime | None = None
    exit_code: int | None = None
    is_rle: bool = True


class FakeRay:
    """What a driver asks of Ray, answered from a folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self.folder / "jobs").mkdir(parents=True, exist_ok=True)

    def session(self):
        path = self.folder / "session"
        return path.read_text() if path.exists() else "session_0"

    def job(self, job_id):
        return {job.submission_id: job for job in self.jobs()}.get(job_id)

    def jobs(self):
        return [_job(path) for path in (self.folder / "jobs").glob("[!.]*.json")]

    def submit(self, job_id, *, entrypoint, package, metadata, env_vars):
        path = self.folder / "jobs" / f"{job_id}.json"
        if path.exists():
            raise JobExistsError(f"has {job_id}")
        put(path, status="PENDING", submitted_at=time.time(), entrypoint=entrypoint)


def put(path, **fields):
    write_whole(path, json.dumps(fields).encode(), is_durable=False)


def _job(path):
    raw = json.loads(path.read_text())
    return FakeJob(
        path.stem,
        JobStatus.parse(raw["status"]),
        raw.get("message", ""),
        datetime.fromtimestamp(raw["submitted_at"], UTC),
        raw.get("exit_code"),
    )


class FakeHead:
    """Starts a driver for each job that is submitted, as the head does, and tells how it ended."""

    def __init__(self, folder, *, breath_limit_s=300.0):
        self.folder = Path(folder)
        self.engine = self.folder / "engine"
        self.jobs = jobs_folder(self.engine)
        self.ray = FakeRay(self.folder / "ray")
        self.drivers = {}
        self._breath_limit_s = breath_limit_s
        self._num_submitted = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="fake-head")
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        self.kill_all()

    def request(self, do="sleep 0"):
        """Keep a request, and what its work is to do: see drive.py."""
        source = new_job_id()
        work = MaterializeWork(source_job_id=source, experiment_name=do)
        request = JobRequest(job_id=new_job_id(), work=work, versions=Versions.here())
        folder = job_folder(self.jobs, request.job_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REQUEST).write_text(request.to_json())
        return request.job_id

    def submit(self, do="sleep 0", *, submitted_at=None):
        job_id = self.request(do)
        self._num_submitted += 1
        moment = submitted_at or time.time()
        put(self.ray.folder / "jobs" / f"{job_id}.json", status="PENDING", submitted_at=moment)
        return job_id

    def stop(self, job_id, *, kill_after_s=6.0):
        """Stop a job as Ray does: SIGTERM, later SIGKILL."""
        with self._lock:
            driver = self.drivers[job_id]
            driver.stopped = True
        driver.process.send_signal(signal.SIGTERM)
        if driver.process.wait(kill_after_s) is None:
            driver.process.kill()

    def kill(self, job_id):
        self.drivers[job_id].process.kill()

    def restart(self):
        """Kill all drivers and forget all jobs, as a head does that is restarted."""
        with self._lock:
            self.kill_all()
            for path in (self.ray.folder / "jobs").glob("*.json"):
                path.unlink()
            (self.ray.folder / "session").write_text(f"session_{time.time()}")
            self.drivers.clear()

    def kill_all(self):
        for driver in self.drivers.values():
            driver.process.kill()
            driver.process.wait()

    def state(self, job_id):
        return JobState.from_json((job_folder(self.jobs, job_id) / "state.json").read_bytes())

    def ticket(self, job_id):
        return Queue(self.jobs).ticket(job_id)

    def wait_for(self, *job_ids, status=None, timeout_s=120.0):
        """Wait until the queue has all jobs at `status`, or ended."""
        self.wait_until(
            lambda: all(
                (ticket := self.ticket(job_id)) is not None
                and (ticket.status is status if status else ticket.status.is_terminal)
                for job_id in job_ids
            ),
            timeout_s=timeout_s,
        )

    def wait_until(self, is_so, *, timeout_s=120.0):
        until = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < until, self.story()
            time.sleep(0.02)

    def wait_gone(self, *job_ids):
        self.wait_until(lambda: all(self.ray.job(job).status.is_terminal for job in job_ids))

    def trace(self):
        """Return what the work of all jobs did, in order: [("start", job id), ("end", job id)]."""
        path = self.engine / "trace"
        return [tuple(line.split()) for line in path.read_text().splitlines()]

    def order(self):
        return [job_id for what, job_id in self.trace() if what == "start"]

    def story(self):
        logs = "\n".join(path.read_text() for path in self.ray.folder.glob("*.log"))
        return f"{Queue(self.jobs).tickets()}\n{self.ray.jobs()}\n{logs}"

    def _keep(self):
        while not self._ended.wait(0.02):
            with self._lock:
                for path in sorted((self.ray.folder / "jobs").glob("[!.]*.json")):
                    self._look_at(path)

    def _look_at(self, path):
        raw = json.loads(path.read_text())
        if raw["status"] == "PENDING":
            self.drivers[path.stem] = self._start(path.stem)
            put(path, **raw | {"status": "RUNNING"})
        elif raw["status"] == "RUNNING" and path.stem in self.drivers:
            driver = self.drivers[path.stem]
            code = driver.process.poll()
            if code is None:
                return
            ended = "STOPPED" if driver.stopped else "FAILED" if code else "SUCCEEDED"
            said = f"Job entrypoint command failed with exit code {code}" if code else ""
            put(path, **raw | {"status": ended, "exit_code": code, "message": said})

    def go(self):
        """Let the work that is to wait for it go on."""
        (self.engine / "go").touch()

    def _start(self, job_id):
        environment = {ENGINE_FOLDER: str(self.engine), "RLE_HOME": str(self.folder / "home")}
        log = self.ray.folder / f"{job_id}.log"
        args = (job_id, str(self.ray.folder), self._breath_limit_s, environment, str(log))
        return FakeDriver(Started(FORKS.Process(target=drive, args=args)))


FORKS = multiprocessing.get_context("forkserver")
# A driver takes a second to import what it needs; this way, one for all.
FORKS.set_forkserver_preload(["rle.jobs.driver", "rle.engines.ray_api", "tests.jobs.drive"])


def drive(*args):
    """Be a driver. Imported here only: the tests' own process needs nothing of it."""
    from tests.jobs.drive import main

    main(*args)


class Started:
    """A process that runs, with the names that `subprocess` has for everything."""

    def __init__(self, process):
        self._process = process
        process.start()
        self.pid = process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, timeout_s=120.0):
        self._process.join(timeout_s)
        return self._process.exitcode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


@dataclass
class FakeDriver:
    process: Started
    stopped: bool = False
