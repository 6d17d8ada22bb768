"""Trainer: what it refuses before anything is submitted, and what it submits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rle import EvaluationMetric, LinkTask, OutputConfig, TaskType
from rle.errors import (
    ConnectionError,
    OutputExistsError,
    PermissionError,
    UnknownNameError,
    ValidationError,
)
from rle.jobs.request import PredictWork, TrainInferenceWork, TrainWork
from rle.runs.job_status import JobStatus
from rle.sdk.engine_jobs import EngineJobs
from rle.sdk.trainer import Trainer
from tests.sdk.fake_jobs import RUN_ID, FakeJobs
from tests.small_db import SmallDatabase

EXPERIMENT = "small/binary_classification/churn"


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    return SmallDatabase.create(tmp_path_factory.mktemp("trainer"))


@pytest.fixture(scope="module")
def dataset(db):
    return db.dataset()


@pytest.fixture
def jobs():
    return FakeJobs()


@pytest.fixture
def trainer(db, jobs):
    return Trainer(connector=db.connector, config=db.config(), engine=jobs.engine)


def submitted(jobs):
    (request,) = jobs.requests.values()
    return request.work


def without(db, split):
    sources = {s: f"small.main.churn_{s}" for s in ("train", "validation", "test") if s != split}
    return db.dataset(task=db.task(task_data_source=sources))


def test_fit_submits_the_dataset_and_the_config(trainer, dataset, jobs, db):
    job = trainer.fit(dataset=dataset)
    assert job.request.work == TrainWork(dataset=dataset.spec, config=db.config())
    assert job.status is JobStatus.QUEUED
    assert (job.engine, trainer.engine) == ("lab", "lab")
    trainer.fit(dataset, baseline=True, stack=True)
    assert [r.work.stack for r in jobs.requests.values()] == [False, True]


def test_fit_needs_train_and_validation(trainer, jobs, db):
    for split in ("train", "validation"):
        with pytest.raises(ValidationError, match=f"no {split} table"):
            trainer.fit(without(db, split))
    trainer.fit(without(db, "test"))
    with pytest.raises(ValidationError, match="no test table"):
        trainer.fit_predict("may", without(db, "test"), db.output)
    assert len(jobs.requests) == 1


def test_arguments_of_the_wrong_kind_are_refused(trainer, dataset, jobs, db):
    with pytest.raises(ValidationError, match=r"dataset must be an rle\.Dataset, not str"):
        trainer.fit("shop")
    with pytest.raises(ValidationError, match="baseline must be True or False"):
        trainer.fit(dataset, baseline="yes")
    with pytest.raises(ValidationError, match="materialize"):
        trainer.fit_predict("may", dataset, db.output, materialize_results="yes")
    with pytest.raises(ValidationError, match="config must be a TrainerConfig, not dict"):
        Trainer(db.connector, {"n_epochs": 3}, engine=jobs.engine)
    with pytest.raises(ValidationError, match="connector must be a connector"):
        Trainer("shop.duckdb", engine=jobs.engine)
    with pytest.raises(ValidationError, match="Trainer needs a connector"):
        Trainer(None)
    assert not jobs.requests


def test_without_a_config_there_is_prediction_alone(dataset, jobs, db):
    trainer = Trainer(db.connector, engine=jobs.engine)
    with pytest.raises(ValidationError, match="fit needs a TrainerConfig"):
        trainer.fit(dataset)
    with pytest.raises(ValidationError, match="fit_predict needs a TrainerConfig"):
        trainer.fit_predict("may", dataset, db.output)
    trainer.predict("may", db.output, dataset=dataset, model_run_id=RUN_ID)
    assert isinstance(submitted(jobs), PredictWork)


def test_an_engine_that_is_not_there_is_said_at_once(db):
    with pytest.raises(ConnectionError, match="no engine"):
        Trainer(db.connector, db.config())
    with pytest.raises(ConnectionError, match="named 'lab'"):
        Trainer(db.connector, db.config(), engine="lab")


def test_what_access_cannot_be_verified_is_a_warning(jobs, db, monkeypatch, capsys):
    monkeypatch.setattr(type(db.connector), "check_access", lambda self: ("grants are unknown",))
    Trainer(db.connector, engine=jobs.engine)
    assert capsys.readouterr().out == "warning: grants are unknown\n"


def test_closed_access_is_an_error_when_the_trainer_is_made(jobs, db, monkeypatch):
    def closed(self):
        raise PermissionError("GRANT USAGE ON WAREHOUSE W TO ROLE R")

    monkeypatch.setattr(type(db.connector), "check_access", closed)
    with pytest.raises(PermissionError, match="GRANT USAGE"):
        Trainer(db.connector, engine=jobs.engine)


def test_each_table_is_probed_once_before_a_job_is_made(trainer, dataset, jobs, monkeypatch):
    probed, connector = [], type(dataset.connector)
    monkeypatch.setattr(connector, "probe", lambda self, source: probed.append(source))
    trainer.fit(dataset)
    assert probed == [
        "small.main.customers",
        "small.main.orders",
        "small.main.churn_train",
        "small.main.churn_validation",
    ]

    def closed(self, source):
        raise PermissionError("GRANT SELECT")

    monkeypatch.setattr(connector, "probe", closed)
    with pytest.raises(PermissionError, match=r"Table 'small\.main\.customers'.*GRANT SELECT"):
        trainer.fit(dataset)
    assert len(jobs.requests) == 1


def test_a_link_task_is_not_stacked(db, jobs):
    task = LinkTask(
        connector=db.connector,
        name="next",
        task_data_source={s: f"small.main.churn_{s}" for s in ("train", "validation")},
        source_entity_column="customer_id",
        source_entity_table="customers",
        target_entity_column="label",
        target_entity_table="customers",
        task_type=TaskType.REPEATED_LINK_PREDICTION,
        time_column="at",
    )
    dataset = db.dataset(task=task)
    with pytest.raises(ValidationError, match="stack=True is for node tasks"):
        Trainer(db.connector, db.config(), engine=jobs.engine).fit(dataset, stack=True)
    assert not jobs.requests


def test_predict_takes_what_the_pipeline_takes(trainer, dataset, jobs, db):
    trainer.predict(
        "may",
        db.output,
        dataset=dataset,
        model_selection_strategy="best",
        evaluation_metric=EvaluationMetric(name="roc_auc"),
        test_batch_size=7,
        extract_embeddings=True,
        compute_test_metrics=True,
        align_dtypes=True,
        materialize_results=False,
    )
    work = submitted(jobs)
    assert work.materialize is False
    request = work.request
    assert (request.output_alias, request.test_batch_size, request.is_best) == ("may", 7, True)
    assert request.extract_embeddings
    assert request.compute_test_metrics
    assert request.align_dtypes


def test_arguments_of_trainer_and_pipeline_are_the_same():
    import inspect

    from rle import pipeline

    for name in ("fit", "predict", "fit_predict"):
        ours = inspect.signature(getattr(Trainer, name)).parameters
        theirs = inspect.signature(getattr(pipeline, name)).parameters
        own = {"self", "materialize_results"}
        inner = {"on_event", "config", "keep_in", "job"}
        assert ours.keys() - own == theirs.keys() - inner, name
        shared = (ours.keys() & theirs.keys()) - {"dataset"}
        assert {n: ours[n].default for n in shared} == {n: theirs[n].default for n in shared}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model_run_id": RUN_ID, "select_best_model": True}, "each name a model"),
        ({"version": "1"}, "needs registered_model_name"),
        ({"registered_model_name": "m", "version": "Version 1"}, "the number alone, such as '1'"),
        ({"model_run_id": RUN_ID, "evaluation_metric": EvaluationMetric(name="f1")}, "chooses"),
        ({}, "Which model"),
        ({"model_run_id": RUN_ID, "test_table": "small.main.churn_test"}, "goes with experiment"),
    ],
)
def test_contradictions_are_refused_before_anything_is_submitted(
    trainer, dataset, jobs, db, given, message
):
    with pytest.raises(ValidationError, match=message):
        trainer.predict("may", db.output, dataset=dataset, **given)
    assert not jobs.requests


def test_an_experiment_needs_a_test_table_that_is_there(trainer, jobs, db):
    given = {"experiment_name": EXPERIMENT, "model_run_id": RUN_ID}
    with pytest.raises(ValidationError, match="needs test_table"):
        trainer.predict("may", db.output, **given)
    with pytest.raises(UnknownNameError, match="churn_test"):
        trainer.predict("may", db.output, test_table="small.main.churn_tset", **given)
    with pytest.raises(ValidationError, match="flatten_output=True is for"):
        trainer.predict(
            "may", db.output, test_table="small.main.churn_test", flatten_output=True, **given
        )
    trainer.predict("may", db.output, test_table="small.main.churn_test", **given)
    assert submitted(jobs).request.experiment_name == EXPERIMENT


def test_a_prediction_without_a_test_split_is_refused(trainer, db):
    with pytest.raises(ValidationError, match="no test table"):
        trainer.predict("may", db.output, dataset=without(db, "test"), model_run_id=RUN_ID)


def test_an_alias_that_is_taken_or_impossible_is_refused(tmp_path, jobs):
    db = SmallDatabase.create(tmp_path, "CREATE TABLE PREDICTIONS_MAY AS SELECT 1 AS x")
    trainer = Trainer(db.connector, db.config(), engine=jobs.engine)
    by_name = {"experiment_name": EXPERIMENT, "test_table": "small.main.churn_test"}
    for given in ({"dataset": db.dataset()}, by_name):
        with pytest.raises(OutputExistsError, match="PREDICTIONS_MAY"):
            trainer.predict("may", db.output, model_run_id=RUN_ID, **given)
        with pytest.raises(ValidationError, match="Output alias"):
            trainer.predict("in may", db.output, model_run_id=RUN_ID, **given)
    with pytest.raises(OutputExistsError, match="PREDICTIONS_MAY"):
        trainer.fit_predict("may", db.dataset(), db.output)
    assert not jobs.requests
    trainer.fit_predict("may", db.dataset(), db.output, overwrite_results=True)
    assert isinstance(submitted(jobs), TrainInferenceWork)


def test_a_relative_folder_means_that_of_this_process(
    trainer, dataset, jobs, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    trainer.fit_predict("may", dataset, OutputConfig.local(artifacts_dir="out"))
    assert submitted(jobs).output.output_config.artifacts_dir == str(tmp_path / "out")


def test_a_folder_of_another_machine_is_not_looked_for_here(dataset, jobs, db, tmp_path):
    (tmp_path / "PREDICTIONS_MAY.parquet").touch()
    output = OutputConfig.local(artifacts_dir=tmp_path)
    far = EngineJobs("far", jobs, shares_files=False, ask_state=lambda: jobs.engine_state)
    Trainer(db.connector, engine=far).predict("may", output, dataset=dataset, model_run_id=RUN_ID)
    assert len(jobs.requests) == 1
    near = Trainer(db.connector, engine=jobs.engine)
    with pytest.raises(OutputExistsError):
        near.predict("may", output, dataset=dataset, model_run_id=RUN_ID)


def test_jobs_are_submitted_without_loading_what_trains(db):
    code = f"""
import sys
from pathlib import Path
from rle import OutputConfig, Trainer
from tests.sdk.fake_jobs import FakeJobs
from tests.small_db import SmallDatabase
db = SmallDatabase(Path({str(db.path)!r}))
trainer = Trainer(db.connector, db.config(), engine=FakeJobs().engine)
trainer.fit(db.dataset(), baseline=True)
trainer.fit_predict("may", db.dataset(), db.output, compute_test_metrics=True)
trainer.predict("june", db.output, dataset=db.dataset(), model_run_id={RUN_ID!r})
heavy = {{"torch", "ray", "numba", "mlflow"}} & {{name.split(".")[0] for name in sys.modules}}
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
