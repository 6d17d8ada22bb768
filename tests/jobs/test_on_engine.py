"""Jobs on a real engine: each kind, their order, and what is left of one that is stopped."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.engines.lookup import open_engine
from rle.jobs.client import JobClient
from rle.jobs.layout import QUEUE
from rle.jobs.request import MaterializeWork, PredictWork, TrainInferenceWork, TrainWork, new_job_id
from rle.pipeline import fit
from rle.runs.events import ProgressEvent
from rle.runs.job_records import find_job
from rle.runs.job_status import JobStatus
from rle.spec.config import TrainerConfig
from rle.spec.output import OutputConfig
from rle.spec.predict_request import OutputRequest, PredictRequest
from rle.testing.shop import make_shop
from rle.testing.shop_dataset import shop_dataset

if TYPE_CHECKING:
    from rle.spec.dataset import DatasetSpec

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("on_engine")]

OUTPUT = OutputConfig.warehouse(database_name="shop", schema_name="main")
FOR_EVER = {"n_epochs": 1_000_000, "patience": 1_000_000}
TIMEOUT_S = 180.0
LOOPBACK = {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


@dataclass
class Laptop:
    """What submits jobs and watches them."""

    client: JobClient
    spec: DatasetSpec

    def config(self, **changes):
        settings = {"n_epochs": 1, "fanouts": (4,), "channels": 8, "num_workers": 0}
        return TrainerConfig(connector=self.spec.connector, device="cpu", **settings | changes)

    def train(self, **changes):
        work = TrainWork(dataset=self.spec, config=self.config(**changes))
        return self.client.submit(work).job_id

    def nothing(self):
        """Submit a job that is over as soon as it runs."""
        work = MaterializeWork(
            source_job_id=new_job_id(), experiment_name=self.spec.experiment_name
        )
        return self.client.submit(work).job_id

    def wait(self, job_id):
        """Return the state of a job that has ended."""
        until(lambda: self.client.state(job_id).status.is_terminal)
        return self.client.state(job_id)

    def completed(self, work):
        """Carry out some work; return its job and its result."""
        job_id = self.client.submit(work).job_id
        state = self.wait(job_id)
        assert state.status is JobStatus.COMPLETED, state
        return job_id, state.result

    def wait_until_it_trains(self, job_id):
        def trains():
            state = self.client.state(job_id)
            assert not state.status.is_terminal, state
            progress = state.progress
            return isinstance(progress, ProgressEvent) and progress.stage in ("train", "validate")

        until(trains)


def until(is_so, timeout_s=TIMEOUT_S):
    """Wait until something is so; how long is taken for never is generous."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def processes(name):
    """Return the processes of this engine whose command line has `name`."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("RLE_ENGINE_FOLDER", "").startswith(os.environ["RLE_HOME"])
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if ours and name in line and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def listening(process):
    """Return the addresses at which a process listens; there are some."""
    found = {
        connection.laddr.ip
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert found
    return found


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    shop = make_shop(num_customers=80, num_articles=10, num_transactions=600)
    path = shop.write_duckdb(tmp_path_factory.mktemp("jobs") / "shop.duckdb")
    connector = DuckDBConnector(database=str(path))
    return shop_dataset(connector, tables=("customers", "transactions")).spec


@pytest.fixture
def laptop(on_engine, spec):
    with JobClient(open_engine(on_engine.name)) as client:
        yield Laptop(client, spec)


def test_each_kind_of_work_is_done(laptop, on_engine, spec):
    output = OutputRequest(output_alias="later", output_config=OUTPUT, compute_test_metrics=True)
    work = TrainInferenceWork(
        dataset=spec, config=laptop.config(), output=output, materialize=False
    )
    both, result = laptop.completed(work)
    assert (result["materialized"], result["export_paths"]) == (False, None)
    connector = spec.connector
    assert not connector.exists("shop.main.PREDICTIONS_LATER")

    asked = PredictRequest(
        dataset=spec,
        model_run_id=result["model_run_id"],
        output_alias="now",
        output_config=OUTPUT,
        extract_embeddings=True,
    )
    predicted, told = laptop.completed(PredictWork(request=asked))
    assert told["export_paths"]["embeddings"] == {
        "customer_id": "shop.main.EMBEDDINGS_CUSTOMER_ID_NOW"
    }
    made, told = laptop.completed(
        MaterializeWork(source_job_id=both, experiment_name=spec.experiment_name)
    )
    assert told["export_paths"]["predictions"] == "shop.main.PREDICTIONS_LATER"
    tables = [
        connector.sample(f"shop.main.PREDICTIONS_{alias}", max_rows=10**6)
        for alias in ("LATER", "NOW")
    ]
    assert tables[0].equals(tables[1])

    # The same seed gives the same model, on an engine or here.
    alone = fit(spec, laptop.config())
    assert result["validation"] == alone.validation

    records = {job: find_job(job) for job in (both, predicted, made)}
    assert [record.kind for record in records.values()] == [
        "train_inference",
        "predict",
        "materialize",
    ]
    assert {record.engine for record in records.values()} == {on_engine.name}
    assert {record.status for record in records.values()} == {JobStatus.COMPLETED}
    assert records[both].model_run_id == result["model_run_id"]
    assert laptop.client.state(both).model_run_id == result["model_run_id"]


def test_ten_jobs_at_once_run_one_at_a_time_in_the_order_in_which_the_head_got_them(
    laptop, on_engine
):
    ids = []
    threads = [threading.Thread(target=lambda: ids.append(laptop.nothing())) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    states = [laptop.wait(job_id) for job_id in ids]
    assert {state.error.error for state in states} == {"JobHandlerError"}
    journal = (on_engine.folder / "jobs" / QUEUE).read_text().splitlines()
    entries = [entry for entry in map(json.loads, journal) if entry["job_id"] in ids]
    order = sorted(states, key=lambda state: state.started_at)
    submitted = {entry["job_id"]: (entry["submitted_at"], entry["job_id"]) for entry in entries}
    assert [state.job_id for state in order] == sorted(ids, key=submitted.__getitem__)
    for one, next_one in itertools.pairwise(order):
        assert one.finished_at <= next_one.started_at


def test_a_canceled_training_leaves_no_worker_and_no_lock_and_the_next_job_runs(laptop):
    job_id = laptop.train(num_workers=2, **FOR_EVER)
    laptop.wait_until_it_trains(job_id)
    workers = processes("RayTrainWorker")
    assert len(workers) == 2
    assert {ip for worker in workers for ip in listening(worker)} <= LOOPBACK
    drivers = processes(job_id)
    assert drivers
    laptop.client.cancel(job_id)
    asked_at = time.monotonic()
    _, alive = psutil.wait_procs([*workers, *drivers], timeout=60)
    assert not alive
    assert time.monotonic() - asked_at < 30  # 10 are promised on a machine of one's own
    assert laptop.wait(job_id).status is JobStatus.CANCELED
    laptop.wait(laptop.nothing())
    until(lambda: find_job(job_id).status is JobStatus.CANCELED)


def test_a_killed_driver_is_a_failure_with_its_reason_and_the_next_job_runs(laptop):
    job_id = laptop.train(**FOR_EVER)
    waiting = laptop.nothing()
    laptop.wait_until_it_trains(job_id)
    (driver,) = (process for process in processes(job_id) if process.cmdline()[1] == "-m")
    driver.send_signal(signal.SIGKILL)
    state = laptop.wait(job_id)
    assert state.status is JobStatus.FAILED
    assert state.error.message
    assert laptop.wait(waiting).error.error == "JobHandlerError"
    until(lambda: find_job(job_id).status is JobStatus.FAILED)
