"""How soon does a job begin, and what does it cost to watch one? Against Ray's own job client.

Starts an engine of this machine in a home of its own and deletes it at the end; run it where only
loopback exists (`.ci/offline`), as `make bench` does. All is done from a second home that knows the
engine by address and token alone, so over HTTP, as from a laptop. Ours and Ray's are measured in
turns on the same engine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.harness import arguments, record
from benchmarks.laptop import ray_client, read_config_for
from rle import DuckDBConnector, JobManager, JobMonitor, Provider, Trainer
from rle.engines.lookup import open_engine
from rle.jobs import client as job_client
from rle.jobs.layout import QUEUE, jobs_folder
from rle.jobs.queue import Entry
from rle.runs.events import ProgressEvent
from rle.runs.job_status import JobStatus
from rle.testing.shop import make_shop
from rle.testing.shop_dataset import shop_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ray.job_submission import JobSubmissionClient

    from rle.spec.dataset import DatasetSpec

NAME = "jobs"
ENGINE, FAR = "bench", "far"
"""The engine's name where it runs, and as the laptop knows it."""
TOKEN = "RLE_BENCH_TOKEN"
ROOT = Path(__file__).parents[1]
PYTHON = sys.executable


@contextmanager
def engine() -> Iterator[Path]:
    """Start an engine with 2 CPUs and go over to the laptop's home; yields the engine's folder."""
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as folder:
        head, laptop = f"{folder}/head", f"{folder}/laptop"
        os.environ["RLE_HOME"] = head
        Provider().create_gnn(ENGINE, settings={"num_cpus": 2, "auto_suspend_mins": 0})
        try:
            access = open_engine(ENGINE).access()
            assert access.token is not None
            os.environ |= {"RLE_HOME": laptop, TOKEN: access.token.get_secret_value()}
            Provider().create_gnn(FAR, address=access.address, token_variable=TOKEN)
            yield Path(head) / "engines" / ENGINE
        finally:
            os.environ["RLE_HOME"] = head
            Provider().delete_gnn(ENGINE)


def make_dataset(folder: Path) -> tuple[DatasetSpec, Path]:
    """Return a small dataset and the file it is kept in."""
    path = make_shop(num_customers=60).write_duckdb(folder / "shop.duckdb")
    connector = DuckDBConnector(database=str(path))
    handle = shop_dataset(connector, tables=("customers", "transactions"))
    return handle.spec, handle.save(folder / "shop.yaml")


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long `run` took, and what it returned."""
    begun = time.perf_counter()
    result = run()
    return time.perf_counter() - begun, result


def wait_for(is_so: Callable[[], bool], timeout_s: float = 600.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(is_so)
        time.sleep(0.02)


def submissions(trainer: Trainer, spec: DatasetSpec, ray: JobSubmissionClient, num: int) -> None:
    """Measure how long a submission takes on a warm engine."""
    ours, theirs = [], []
    for _ in range(num + 1):  # the first is not counted
        spent, job = seconds(lambda: trainer.fit(spec))
        ours.append(spent)
        job.cancel()
        job.wait()
        spent, _ = seconds(lambda: ray.submit_job(entrypoint="true"))
        theirs.append(spent)
    record(
        NAME, case="submit a training job, checks included", value=median(ours[1:]), unit="s",
        higher_is_better=False, baseline="Ray's submit_job of a command that does nothing",
        baseline_value=median(theirs[1:]), wall_s=sum(ours),
    )  # fmt: skip


def first_steps(trainer: Trainer, spec: DatasetSpec, ray: JobSubmissionClient, num: int) -> None:
    """Measure the time from submission to the first training step, on one Ray Train worker."""
    ours, theirs = [], []
    for _ in range(num):
        begun = time.time()
        job_id = ray.submit_job(entrypoint=f"{PYTHON} {ROOT}/benchmarks/bare_ray.py --train")
        wait_for(lambda job_id=job_id: ray.get_job_status(job_id).is_terminal())
        said = [line.split() for line in ray.get_job_logs(job_id).splitlines()]
        theirs.append(
            {w[0]: float(w[1]) - begun for w in said if w[:1] in (["running"], ["training"])}
        )
        begun = time.time()
        job = trainer.fit(spec)
        assert job.wait() is JobStatus.COMPLETED, job.get_status()
        steps = (e for e in job.events() if isinstance(e, ProgressEvent) and e.stage == "train")
        ours.append(next(e for e in steps if e.step > 0).time.timestamp() - begun)
    bare = median(times["training"] for times in theirs)
    for case, baseline, value in (
        ("from submission to the first training step, one worker", bare, median(ours)),
        ("the same, beyond Ray's own job and Train start-up", None, median(ours) - bare),
    ):
        record(
            NAME, case=case, value=value, unit="s", higher_is_better=False,
            baseline="a bare Ray job whose Ray Train worker begins" if baseline else "",
            baseline_value=baseline, wall_s=median(ours),
        )  # fmt: skip
    record(
        NAME, case="Ray's own: from submission to a job's first line", unit="s",
        value=median(times["running"] for times in theirs), higher_is_better=False,
    )  # fmt: skip


def start_chatty(trainer: Trainer, spec: DatasetSpec, num_lines: int) -> JobMonitor:
    """Submit a job whose real driver prints so many lines; 0: it waits until it is canceled."""
    usual = job_client.entrypoint
    job_client.entrypoint = lambda request: (
        f"CHATTY_LINES={num_lines} PYTHONPATH={ROOT} "
        f"python -m benchmarks.chatty_driver {request.job_id}"
    )
    try:
        return trainer.fit(spec)
    finally:
        job_client.entrypoint = usual


def status_calls(trainer: Trainer, spec: DatasetSpec, ray: JobSubmissionClient, num: int) -> None:
    """Measure the CPU of a status call, of a running job and of one that has ended."""
    job = start_chatty(trainer, spec, 0)
    wait_for(lambda: job.status is JobStatus.RUNNING)
    for case in ("a job that runs", "a job that has ended"):
        ours = cpu_per_call(job.get_status, num)
        theirs = cpu_per_call(lambda: ray.get_job_status(job.job_id), num)
        record(
            NAME, case=f"client CPU of a status call, {case}", value=ours * 1e3, unit="ms",
            higher_is_better=False, cpu_s=ours * num,
            baseline="Ray's get_job_status, which knows less", baseline_value=theirs * 1e3,
        )  # fmt: skip
        if not job.status.is_terminal:
            job.cancel()
            job.wait()


def cpu_per_call(call: Callable[[], Any], num: int) -> float:
    """Return the CPU seconds of this process for one call, after one that is not counted."""
    call()
    begun = time.process_time()
    for _ in range(num):
        call()
    return (time.process_time() - begun) / num


def listing(folder: Path, ray: JobSubmissionClient, num_jobs: int = 1000) -> None:
    """Measure how long it takes to list a thousand finished jobs beside the real ones."""
    journal = jobs_folder(folder) / QUEUE
    with journal.open("a", encoding="utf-8") as file:
        for i in range(num_jobs):
            began = datetime.now(UTC) - timedelta(days=1, seconds=i)
            for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.COMPLETED):
                entry = Entry(
                    job_id=str(uuid.UUID(int=i + 1)), status=status, submitted_at=began, at=began,
                    kind="train", experiment_name="shop/regression/spend", created_by="ann",
                )  # fmt: skip
                file.write(entry.to_json() + "\n")
    manager = JobManager(engine=FAR)
    runs = [seconds(manager.list_jobs) for _ in range(5)]
    assert len(runs[0][1]) > num_jobs
    theirs, known = seconds(ray.list_jobs)
    record(
        NAME, case=f"list {num_jobs} finished jobs and {len(runs[0][1]) - num_jobs} real ones",
        value=min(spent for spent, _ in runs), unit="s", higher_is_better=False,
        baseline=f"Ray's list_jobs of its {len(known)} jobs", baseline_value=theirs,
    )  # fmt: skip


def streaming(trainer: Trainer, spec: DatasetSpec, file: Path, num_lines: int) -> None:
    """Measure how fast a growing log is streamed, and the memory of a process that does it all."""
    peaks, rates = {}, {}
    for way in ("ray", "rle"):
        job = start_chatty(trainer, spec, num_lines)
        wait_for(lambda job=job: job.status is not JobStatus.QUEUED)
        done = subprocess.run(
            [PYTHON, "-m", "benchmarks.laptop", way, FAR, job.job_id, str(file)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        said = json.loads(done.stderr.splitlines()[-1])
        peaks[way], rates[way] = said["peak_mb"], num_lines / said["seconds"]
        assert job.wait() is JobStatus.COMPLETED, job.get_status()
    record(
        NAME, case=f"stream a log of {num_lines} lines", value=rates["rle"], unit="lines/s",
        baseline="Ray's tail_job_logs", baseline_value=rates["ray"],
    )  # fmt: skip
    record(
        NAME, case="peak memory of a process that submits, asks and streams", value=peaks["rle"],
        unit="MB", higher_is_better=False, baseline="the same with Ray's job client",
        baseline_value=peaks["ray"],
    )  # fmt: skip


def main() -> None:
    """Measure everything on one engine."""
    options = arguments(__doc__ or "")
    with engine() as folder:
        spec, file = make_dataset(folder)
        quick = options.quick
        trainer = Trainer(spec.connector, read_config_for(spec), engine=FAR)
        ray = ray_client(FAR)
        submissions(trainer, spec, ray, 2 if quick else 7)
        first_steps(trainer, spec, ray, 1 if quick else 2)
        status_calls(trainer, spec, ray, 20 if quick else 200)
        streaming(trainer, spec, file, 100_000 if quick else 1_000_000)
        listing(folder, ray)


if __name__ == "__main__":
    main()
