"""What handlers do and return, in this process: the engine's queue and driver are elsewhere."""

from __future__ import annotations

import json
import pkgutil

import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import JobHandlerError, UnknownNameError, ValidationError
from rle.jobs.layout import ENGINE_FOLDER, REQUEST, STATE, job_folder
from rle.jobs.request import (
    JobRequest,
    MaterializeWork,
    PredictWork,
    TrainInferenceWork,
    TrainWork,
    Versions,
    new_job_id,
)
from rle.jobs.state import JobState
from rle.jobs.work import HANDLERS, plain
from rle.pipeline import fit
from rle.runs.events import RunEvent, WarningEvent
from rle.runs.folders import home
from rle.runs.job_records import find_job, job_records
from rle.runs.job_status import JobStatus
from rle.runs.registry import Registry
from rle.spec.config import TrainerConfig
from rle.spec.output import OutputConfig
from rle.spec.predict_request import OutputRequest, PredictRequest
from rle.testing.shop import make_shop
from rle.testing.shop_dataset import shop_dataset

OUTPUT = OutputConfig.warehouse(database_name="shop", schema_name="main")
EXPERIMENT = "shop/binary_classification/churn"


class Engine:
    """A folder of jobs, and what carries out a request as a driver would."""

    def __init__(self, folder, connector):
        self.folder, self.connector = folder, connector
        dataset = shop_dataset(connector, tables=("customers", "transactions"))
        self.spec = dataset.spec
        self.config = TrainerConfig(
            connector=connector, device="cpu", n_epochs=1, fanouts=(4,), channels=8, num_workers=0
        )

    def request(self, work):
        return JobRequest(job_id=new_job_id(), work=work, versions=Versions.here())

    def run(self, work):
        """Carry out some work; return its request, result and events."""
        request, events = self.request(work), []
        folder = job_folder(self.folder / "jobs", request.job_id)
        folder.mkdir(parents=True)
        (folder / REQUEST).write_text(request.to_json())
        state = JobState(
            job_id=request.job_id,
            kind=request.kind,
            experiment_name=work.experiment_name,
            created_by="ada",
        )
        status = JobStatus.FAILED
        try:
            result = pkgutil.resolve_name(HANDLERS[work.kind])(request, folder, events.append)
            status = JobStatus.COMPLETED
        finally:
            state = state.after(*events).model_copy(update={"status": status})
            (folder / STATE).write_text(state.to_json())
        json.dumps(result, allow_nan=False)
        return request, result, events

    def predict(self, run_id, alias, *, materialize=True, **given):
        asked = PredictRequest(
            dataset=self.spec,
            model_run_id=run_id,
            output_alias=alias,
            output_config=OUTPUT,
            extract_embeddings=True,
            **given,
        )
        return self.run(PredictWork(request=asked, materialize=materialize))


@pytest.fixture(scope="module")
def engine(tmp_path_factory, copy_mlflow):
    folder = tmp_path_factory.mktemp("work")
    shop = make_shop(num_customers=80, num_articles=10, num_transactions=600)
    connector = DuckDBConnector(database=str(shop.write_duckdb(folder / "shop.duckdb")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(folder / "home"))
        copy_mlflow(folder / "home")
        yield Engine(folder / "first", connector)


@pytest.fixture(autouse=True)
def _same_home(engine, monkeypatch):
    monkeypatch.setenv("RLE_HOME", str(engine.folder.parent / "home"))
    monkeypatch.setenv(ENGINE_FOLDER, str(engine.folder))


@pytest.fixture(scope="module")
def trained(engine):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(engine.folder.parent / "home"))
        patch.setenv(ENGINE_FOLDER, str(engine.folder))
        return engine.run(TrainWork(dataset=engine.spec, config=engine.config))


@pytest.fixture(scope="module")
def kept(engine):
    """A job that trained, and predicted without making tables."""
    output = OutputRequest(
        output_alias="later",
        output_config=OUTPUT,
        extract_embeddings=True,
        compute_test_metrics=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(engine.folder.parent / "home"))
        patch.setenv(ENGINE_FOLDER, str(engine.folder))
        work = TrainInferenceWork(
            dataset=engine.spec, config=engine.config, output=output, materialize=False
        )
        return engine.run(work)


def test_training_gives_what_the_pipeline_gives_with_the_same_seed(engine, trained):
    _, result, _ = trained
    alone = fit(engine.spec, engine.config)
    assert result["validation"] == alone.validation
    assert result["validation_loss"] == alone.validation_loss
    assert result["metrics"] == {
        "best_validation_roc_auc": alone.validation,
        "validation_loss": alone.validation_loss,
    }


def test_a_training_result_says_all_a_laptop_wants(trained):
    _, result, _ = trained
    assert result["experiment_name"] == EXPERIMENT
    assert (result["metric"], result["best_epoch"]) == ("roc_auc", 1)
    assert result["stopped_early"] is False
    assert result["training_seconds"] > 0
    assert result["baseline"] is None
    assert result["engine"]["name"] == "first"
    assert result["engine"]["rle_home"] == str(home())
    assert result["engine"]["versions"] == Versions.here().model_dump()
    assert result["tracking"]["uri"].endswith("mlflow.db")


def test_the_run_in_mlflow_is_told_at_once_and_carries_the_job(engine, trained):
    request, result, events = trained
    told = next(e for e in events if isinstance(e, RunEvent))
    assert told.model_run_id == result["model_run_id"]
    assert events.index(told) <= 1
    found = find_job(request.job_id)
    assert found.model_run_id == found.run_id == told.model_run_id
    assert (found.kind, found.engine, found.status) == ("train", "first", JobStatus.COMPLETED)
    artifacts = {a.path for a in Registry()._client.list_artifacts(found.run_id)}
    assert "request.json" in artifacts


def test_predicting_makes_tables_and_a_record_that_no_model_list_shows(engine, trained):
    before = Registry().models(EXPERIMENT)
    run_id = trained[1]["model_run_id"]
    request, result, events = engine.predict(run_id, "a", compute_test_metrics=True)
    assert result["model_run_id"] == run_id
    assert result["materialized"] is True
    assert result["export_paths"] == {
        "predictions": "shop.main.PREDICTIONS_A",
        "embeddings": {"customer_id": "shop.main.EMBEDDINGS_CUSTOMER_ID_A"},
    }
    assert engine.connector.num_rows("shop.main.PREDICTIONS_A") == result["num_rows"]
    assert result["num_unknown"] == 0
    assert result["metrics"] == {f"test_{k}": v for k, v in result["test_metrics"].items()}
    found = find_job(request.job_id)
    assert (found.kind, found.status, found.model_run_id) == ("predict", JobStatus.COMPLETED, None)
    assert found.export_paths == result["export_paths"]
    run = Registry()._client.get_run(found.run_id)
    assert run.data.metrics == pytest.approx(result["metrics"])
    assert Registry().models(EXPERIMENT) == before
    assert not [e for e in events if isinstance(e, WarningEvent)]


def test_tables_made_later_are_those_made_at_once(engine, kept):
    request, result, _ = kept
    planned = result["planned_paths"]
    assert (result["materialized"], result["export_paths"]) == (False, None)
    assert result["output"]["database_name"] == "shop"
    assert not engine.connector.exists(planned["predictions"])
    assert find_job(request.job_id).export_paths is None
    work = MaterializeWork(source_job_id=request.job_id, experiment_name=EXPERIMENT)
    made, later, _ = engine.run(work)
    assert later["export_paths"] == planned
    assert later["num_rows"] == result["num_rows"]
    assert find_job(made.job_id).export_paths == planned
    engine.predict(result["model_run_id"], "now")
    for table in (planned["predictions"], planned["embeddings"]["customer_id"]):
        direct = table.replace("LATER", "NOW")
        assert engine.connector.arrow_schema(table) == engine.connector.arrow_schema(direct)
        rows = [engine.connector.sample(name, max_rows=10**6) for name in (table, direct)]
        assert rows[0].equals(rows[1])
    with pytest.raises(JobHandlerError, match=f"were made already, by job {made.job_id}"):
        engine.run(work)


def test_training_and_predicting_tell_both_metrics(kept):
    _, result, _ = kept
    assert {"best_validation_roc_auc", "test_roc_auc"} <= set(result["metrics"])
    assert result["test_metrics"]["roc_auc"] == result["metrics"]["test_roc_auc"]


def test_a_job_that_fails_at_once_is_kept_too_and_raises_its_own_error(engine, trained):
    missing = engine.spec.replace(
        task=engine.spec.task.replace(sources={"test": "shop.main.churn_test"})
    )
    with pytest.raises(ValidationError, match="train"):
        engine.run(TrainWork(dataset=missing, config=engine.config))
    with pytest.raises(UnknownNameError):
        engine.predict("0" * 32, "b")
    records = job_records(experiment_name=EXPERIMENT)[:2]
    assert {(r.kind, r.status) for r in records} == {
        ("predict", JobStatus.FAILED),
        ("train", JobStatus.FAILED),
    }


def test_tracking_that_cannot_be_reached_does_not_hide_why_a_job_failed(engine, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////nowhere/at/all.db")
    missing = engine.spec.replace(
        task=engine.spec.task.replace(sources={"test": "shop.main.churn_test"})
    )
    with pytest.raises(ValidationError, match="train"):
        engine.run(TrainWork(dataset=missing, config=engine.config))


def test_a_request_of_another_kind_is_refused(engine):
    request = engine.request(MaterializeWork(source_job_id=new_job_id(), experiment_name="a/b/c"))
    with pytest.raises(JobHandlerError, match="'materialize' is no TrainWork"):
        pkgutil.resolve_name(HANDLERS["train"])(request, engine.folder, print)


def test_results_are_plain_json():
    given = {"a": float("nan"), "b": [float("inf"), (1, -float("inf"))], 3: {"c": None}}
    assert plain(given) == {"a": "NaN", "b": ["Infinity", [1, "-Infinity"]], "3": {"c": None}}
