"""What is known before a job is made: models that are not there, names that others will take."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest

from rle import OutputConfig, SnowflakeConnector
from rle.engines.keeper_state import KeeperState, write_state
from rle.engines.record import EngineRecord, EngineSettings, EngineState
from rle.engines.store import EngineStore
from rle.errors import JobManagerError, OutputExistsError, UnknownNameError, ValidationError
from rle.runs.folders import home
from rle.runs.tracking import connect
from rle.sdk import submission
from rle.sdk.engine_jobs import jobs_on
from rle.sdk.trainer import Trainer
from tests.sdk.fake_jobs import RUN_ID, FakeJobs, completed
from tests.small_db import SmallDatabase


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    return SmallDatabase.create(tmp_path_factory.mktemp("submission"))


@pytest.fixture
def jobs():
    return FakeJobs()


@pytest.fixture
def trainer(db, jobs):
    return Trainer(connector=db.connector, config=db.config(), engine=jobs.engine)


@pytest.fixture
def local(db, jobs, mlflow_there):
    """A trainer whose engine keeps its models in this home."""
    on = dataclasses.replace(jobs.engine, models=home() / "mlflow.db")
    return Trainer(connector=db.connector, engine=on)


def test_an_alias_that_a_queued_job_will_take_names_that_job(trainer, jobs, db):
    first = trainer.fit_predict("may", db.dataset(), db.output)
    for again in (
        lambda: trainer.fit_predict("MAY", db.dataset(), db.output),
        lambda: trainer.predict("May", db.output, dataset=db.dataset(), model_run_id=RUN_ID),
    ):
        with pytest.raises(OutputExistsError, match=f"{first.job_id}, which is QUEUED"):
            again()
    assert len(jobs.requests) == 1


def test_an_alias_that_nobody_will_take_is_free(trainer, jobs, db, tmp_path):
    jobs.made = [completed("train_inference")]
    trainer.fit_predict("may", db.dataset(), db.output)  # has ended; its tables are looked for
    trainer.fit_predict("may", db.dataset(), db.output)
    trainer.fit_predict("june", db.dataset(), db.output)
    trainer.fit_predict("may", db.dataset(), OutputConfig.local(artifacts_dir=tmp_path))
    trainer.fit_predict("may", db.dataset(), db.output, overwrite_results=True)
    trainer.fit(db.dataset())
    other = SmallDatabase.create(tmp_path)
    Trainer(other.connector, other.config(), engine=jobs.engine).fit_predict(
        "may", other.dataset(), other.output
    )
    assert len(jobs.requests) == 7


@pytest.mark.parametrize(
    "error",
    [
        JobManagerError("The request was not kept.", "no_request"),
        ValidationError("There is no connector of kind 'oracle'."),
    ],
)
def test_a_job_whose_request_is_elsewhere_is_in_nobodys_way(trainer, jobs, db, monkeypatch, error):
    trainer.fit_predict("may", db.dataset(), db.output)

    def elsewhere(job_id):
        raise error

    monkeypatch.setattr(jobs, "request", elsewhere)
    trainer.fit_predict("may", db.dataset(), db.output)
    assert len(jobs.requests) == 2


def test_connectors_that_read_in_other_ways_write_to_the_same_tables():
    def place(**settings):
        connector = SnowflakeConnector(
            account="ACME", user="ANNA", password_variable="PASSWORD_OF_ANNA", **settings
        )
        return submission._warehouse(connector)

    assert place(query_tag="a", statement_timeout_s=5) == place(query_tag="b", read_at=None)
    assert place() != place(host="elsewhere.example")


def test_a_run_that_is_not_there_is_known_where_runs_are_kept_here(local, jobs, db):
    client = connect(f"sqlite:///{home() / 'mlflow.db'}")
    known = client.create_run(client.create_experiment("e")).info.run_id

    def predict(alias, run_id):
        local.predict(alias, db.output, dataset=db.dataset(), model_run_id=run_id)

    with pytest.raises(UnknownNameError, match=rf"no run in sqlite.*Did you mean '{known}'"):
        predict("a", known[:-1])
    with pytest.raises(ValidationError, match="must be the id of a run"):
        predict("a", "../elsewhere")
    predict("a", known)
    client.delete_run(known)
    with pytest.raises(UnknownNameError, match="Known: none"):
        predict("b", known)
    (home() / "runs" / known).mkdir(parents=True)
    predict("b", known)  # the model is in its folder
    assert len(jobs.requests) == 2


def test_a_registered_model_that_is_not_there_is_known_where_models_are_kept_here(local, jobs, db):
    client = connect(f"sqlite:///{home() / 'mlflow.db'}")
    client.create_registered_model("churn")
    for _ in range(2):
        client.create_model_version("churn", source="/model")
    client.delete_model_version("churn", "1")

    def predict(name, version):
        local.predict(
            "a", db.output, dataset=db.dataset(), registered_model_name=name, version=version
        )

    with pytest.raises(UnknownNameError, match=r"no registered model.*Did you mean 'churn'"):
        predict("churm", "2")
    with pytest.raises(UnknownNameError, match="version of registered model 'churn' named '1'"):
        predict("churn", "1")
    predict("churn", "2")
    assert len(jobs.requests) == 1


@pytest.mark.parametrize("spoil", [None, b"no database", b""])
def test_what_cannot_be_read_is_left_to_the_engine(local, jobs, db, spoil):
    (home() / "mlflow.db").unlink()
    if spoil is not None:
        (home() / "mlflow.db").write_bytes(spoil)
    local.predict("a", db.output, dataset=db.dataset(), model_run_id=RUN_ID)
    assert len(jobs.requests) == 1


def test_models_are_looked_for_where_a_local_engine_says_that_it_keeps_them():
    now = datetime.now(UTC)
    record = EngineRecord(
        name="e", id="1", backend="local", size="HIGHMEM_X64_S", settings=EngineSettings(),
        created_by="ann", created_on=now, updated_on=now,
    )  # fmt: skip
    EngineStore().create(record)
    folder = EngineStore().folder("e")
    assert jobs_on("e").models is None
    for keeps, found in ((False, None), (True, home() / "mlflow.db")):
        write_state(folder, KeeperState(state=EngineState.SUSPENDED, keeps_runs_here=keeps))
        assert jobs_on("e").models == found
