"""A laptop of its own: one process that submits, asks and streams, and says what that took.

`python -m benchmarks.laptop rle|ray ENGINE JOB_TO_STREAM DATASET`. Standard output is the log that
is streamed; the last line of standard error is JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec


def read_config_for(spec: DatasetSpec) -> TrainerConfig:
    """Return the config of a job that trains for a moment, on one worker of Ray Train."""
    from rle.sdk.config_file import read_config

    settings = ["device=cpu", "n_epochs=1", "channels=8", "fanouts=[4]", "num_workers=1"]
    return read_config(settings=settings, connector=spec.connector)


def ray_client(engine: str) -> JobSubmissionClient:
    """Return Ray's own client of an engine."""
    from ray.job_submission import JobSubmissionClient

    from rle.engines.lookup import open_engine

    access = open_engine(engine).access()
    assert access.token is not None
    token = access.token.get_secret_value()
    return JobSubmissionClient(access.address, headers={"Authorization": f"Bearer {token}"})


def watch_with_ray(engine: str, job_id: str) -> float:
    """Submit a trivial job, ask for its status, stream another one; seconds of the stream."""
    client = ray_client(engine)
    client.get_job_status(client.submit_job(entrypoint="true"))

    async def follow() -> None:
        async for lines in client.tail_job_logs(job_id):
            sys.stdout.write(lines)

    begun = time.monotonic()
    asyncio.run(follow())
    return time.monotonic() - begun


def watch(engine: str, job_id: str, dataset: str) -> float:
    """Submit a training job, ask for its status, stream another one; seconds of the stream."""
    from rle import JobMonitor, Trainer
    from rle.sdk.dataset_file import read_dataset

    spec = read_dataset(dataset)
    submitted = Trainer(spec.connector, read_config_for(spec), engine=engine).fit(spec)
    submitted.get_status()
    job = JobMonitor.from_id(job_id, engine)
    begun = time.monotonic()
    job.stream_logs()
    seconds = time.monotonic() - begun
    submitted.cancel()
    return seconds


def main() -> None:
    """Do it, and say what it took."""
    way, engine, job_id, dataset = sys.argv[1:]
    seconds = watch(engine, job_id, dataset) if way == "rle" else watch_with_ray(engine, job_id)
    sys.stdout.flush()
    # Not getrusage: its peak begins at that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    sys.stderr.write("\n" + json.dumps({"seconds": seconds, "peak_mb": peak_mb}) + "\n")


if __name__ == "__main__":
    main()
