"""Tables of another job's kept files: once, whole, and a clear word where there is nothing."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pyarrow as pa
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import JobHandlerError, OutputExistsError
from rle.inference.export import export, plan_outputs
from rle.inference.keep import kept_plan
from rle.jobs.layout import REQUEST, RESULTS, STATE, job_folder
from rle.jobs.materialize import materialize
from rle.jobs.request import (
    JobRequest,
    MaterializeWork,
    PredictWork,
    TrainWork,
    Versions,
    new_job_id,
)
from rle.jobs.state import JobState
from rle.runs.events import ErrorEvent
from rle.runs.job_records import find_job
from rle.runs.job_status import JobStatus
from rle.spec.config import TrainerConfig
from rle.spec.output import OutputConfig
from rle.spec.predict_request import PredictRequest
from rle.testing.shop_dataset import shop_dataset

OUTPUT = OutputConfig.warehouse(database_name="out", schema_name="main")
SCHEMA = pa.schema([("customer_id", pa.int64()), ("PREDICTION", pa.float64())])
EXPERIMENT = "shop/binary_classification/churn"

pytestmark = pytest.mark.usefixtures("mlflow_there")


@pytest.fixture(scope="module")
def dataset(shop_db):
    connector = DuckDBConnector(database=str(shop_db))
    return shop_dataset(connector, tables=("customers", "transactions")).spec


@pytest.fixture
def jobs(tmp_path):
    return tmp_path / "jobs"


@pytest.fixture
def connector(tmp_path):
    return DuckDBConnector.create(tmp_path / "out.duckdb")


def ask(work):
    return JobRequest(job_id=new_job_id(), work=work, versions=Versions.here())


def source(jobs, dataset, *, status=JobStatus.COMPLETED, error=None, work=None, **given):
    """A job as it looks to others once it has ended so."""
    asked = PredictRequest(
        dataset=dataset, model_run_id="x", output_alias="may", output_config=OUTPUT
    )
    request = ask(work or PredictWork(request=asked, **{"materialize": False} | given))
    folder = job_folder(jobs, request.job_id)
    folder.mkdir(parents=True)
    (folder / REQUEST).write_text(request.to_json())
    state = JobState(
        job_id=request.job_id,
        kind=request.kind,
        experiment_name=EXPERIMENT,
        created_by="ada",
        status=status,
        error=error,
    )
    (folder / STATE).write_text(state.to_json())
    return folder


def keep(folder, connector):
    plan = plan_outputs(OUTPUT, connector, alias="may", entity_columns=["customer_id"])
    rows = pa.RecordBatch.from_pydict(
        {"customer_id": [1, 2, 3], "PREDICTION": [0.5, None, 1.0]}, schema=SCHEMA
    )
    export(kept_plan(plan, OUTPUT, connector, folder / RESULTS), [SCHEMA], [(0, rows)])


def make(jobs, folder):
    request = ask(MaterializeWork(source_job_id=folder.name, experiment_name=EXPERIMENT))
    mine = job_folder(jobs, request.job_id)
    mine.mkdir(parents=True)
    events = []
    return SimpleNamespace(
        request=request, events=events, run=lambda: materialize(request, mine, events.append)
    )


def test_the_table_is_made_once_and_its_files_go(jobs, dataset, connector):
    folder = source(jobs, dataset)
    keep(folder, connector)
    job = make(jobs, folder)
    result = job.run()
    assert result["export_paths"] == {"predictions": "out.main.PREDICTIONS_MAY", "embeddings": {}}
    assert connector.num_rows("out.main.PREDICTIONS_MAY") == result["num_rows"] == 3
    assert [event.location for event in job.events] == ["out.main.PREDICTIONS_MAY"]
    assert not list((folder / RESULTS).glob("*.parquet"))
    assert json.loads((folder / RESULTS / "made.json").read_text())["job_id"] == job.request.job_id
    record = find_job(job.request.job_id)
    assert (record.kind, record.status) == ("materialize", JobStatus.COMPLETED)
    with pytest.raises(JobHandlerError, match=f"made already, by job {job.request.job_id}"):
        make(jobs, folder).run()
    assert connector.num_rows("out.main.PREDICTIONS_MAY") == 3


def test_of_two_at_once_one_makes_it_and_one_says_so(jobs, dataset, connector):
    folder = source(jobs, dataset)
    keep(folder, connector)
    outcomes = []

    def run():
        try:
            outcomes.append(make(jobs, folder).run()["num_rows"])
        except JobHandlerError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["3", "materialized"]


def test_a_table_that_came_meanwhile_is_left_alone_and_the_files_stay(jobs, dataset, connector):
    folder = source(jobs, dataset)
    keep(folder, connector)
    connector.write("out.main.PREDICTIONS_MAY", [], schema=SCHEMA)
    job = make(jobs, folder)
    with pytest.raises(OutputExistsError, match="never overwritten"):
        job.run()
    assert connector.num_rows("out.main.PREDICTIONS_MAY") == 0
    assert find_job(job.request.job_id).status is JobStatus.FAILED
    assert list((folder / RESULTS).glob("*.parquet"))


@pytest.mark.parametrize(
    ("given", "words", "code"),
    [
        (
            {"status": JobStatus.FAILED, "error": ErrorEvent(error="DataError", message="row 7")},
            r"is FAILED \(DataError: row 7\)",
            "not_completed",
        ),
        ({"status": JobStatus.CANCELED}, "is CANCELED", "not_completed"),
        ({"status": JobStatus.RUNNING}, "is RUNNING", "not_completed"),
        ({}, "files that job .* kept are gone", "not_completed"),
        ({"materialize": True}, "makes its tables itself", "materialized"),
    ],
)
def test_a_source_without_kept_predictions_is_named(jobs, dataset, given, words, code):
    with pytest.raises(JobHandlerError, match=words) as caught:
        make(jobs, source(jobs, dataset, **given)).run()
    assert caught.value.code == code


def test_a_job_that_predicts_nothing_is_no_source(jobs, dataset):
    config = TrainerConfig(connector=dataset.connector, device="cpu", n_epochs=1)
    folder = source(jobs, dataset, work=TrainWork(dataset=dataset, config=config))
    with pytest.raises(JobHandlerError, match="of kind 'train', predicts nothing"):
        make(jobs, folder).run()


def test_a_job_of_another_engine_is_not_found(jobs):
    with pytest.raises(JobHandlerError, match="on this engine") as caught:
        make(jobs, job_folder(jobs, new_job_id())).run()
    assert caught.value.code == "unknown_job"
