"""Jobs on an engine that read from Snowflake and write to it, and what they say where they fail."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import rle
from rle.connectors.snowflake.driver import generation
from rle.connectors.snowflake.session import close_sessions
from rle.engines.keeper_state import read_state
from rle.errors import ConnectionError, OutputExistsError, PermissionError, UnknownNameError
from rle.pipeline import fit
from rle.testing.engine import start_engine, stop_engine
from tests.snowflake.job_shop import Engine, JobShop, ended, shop_rows, until
from tests.snowflake.warehouse import PASSWORD

pytestmark = [pytest.mark.ray, pytest.mark.slow]

WRONG = "RLE_TEST_SNOWFLAKE_WRONG_PASSWORD"


@pytest.fixture(scope="module")
def local_engine(snowflake_session_server, copy_mlflow):
    """An engine like the session's, whose environment has passwords."""
    home = Path(tempfile.mkdtemp(prefix="rs", dir="/tmp"))
    copy_mlflow(home)
    secrets = {
        "password": snowflake_session_server.password,
        "wrong password": "canary-wrong-4711",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv(PASSWORD, secrets["password"])
        patch.setenv(WRONG, secrets["wrong password"])
        record = start_engine(home, "snow", num_cpus=2, auto_suspend_mins=0)
    yield Engine(home, record, secrets)
    stop_engine(home, record)
    shutil.rmtree(home)


@pytest.fixture
def on_engine(_home, local_engine, snowflake_server, monkeypatch):
    monkeypatch.setenv("RLE_HOME", str(local_engine.home))
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    yield local_engine
    close_sessions()


@pytest.fixture(scope="module")
def long_shop(local_engine, snowflake_session_server):
    """So many transactions that their chunks are batches of one query's result."""
    return JobShop(snowflake_session_server, local_engine, shop_rows(300_000), "long")


@pytest.fixture(scope="module")
def few_rows():
    return shop_rows(600)


@pytest.fixture
def shop(on_engine, few_rows, snowflake_server, request):
    return JobShop(snowflake_server, on_engine, few_rows, request.node.name)


def cut_results(server):
    server.settings(rows_per_chunk=50_000, first_rows=1_000)


@pytest.fixture(scope="module")
def trained(local_engine, long_shop):
    """The id of a job that has read batches in its own process, one of them twice, and trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(local_engine.home))
        patch.setenv(PASSWORD, local_engine.secrets["password"])
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        server = long_shop.server
        cut_results(server)
        connector = long_shop.connector()
        trainer, dataset = long_shop.trainer(connector), long_shop.dataset(connector)
        server.fault("/results/", "cut", skip=2)
        job = ended(trainer.fit(dataset), "COMPLETED")
        assert server.state()["faults"] == 0
        server.reset()
        return job.job_id


@pytest.fixture
def model(on_engine, trained):
    """The job that has trained a model."""
    return rle.JobMonitor.from_id(trained)


def content(job):
    """What a graph is made of, by file; and what the model reached on it."""
    folder = Path(job["snapshot"])
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {key: manifest[key] for key in ("graph", "num_rows", "relations", "keys")}
    hashes = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in manifest["files"]
    }
    return kept, hashes


def num_jobs(engine):
    return len(rle.JobManager(engine=engine.name).list_jobs())


# Reading


def test_the_graph_is_the_same_whichever_processes_read_it(model, long_shop, monkeypatch, tmp_path):
    cut_results(long_shop.server)
    spread = JobShop.like(long_shop, tag="spread")  # another tag: nothing is reused
    connector = spread.connector()
    trainer, dataset = spread.trainer(connector, num_workers=2), spread.dataset(connector)
    spread.server.fault("/results/", "drop", skip=2)
    job = ended(trainer.fit(dataset), "COMPLETED")
    assert spread.state()["faults"] == 0
    # Beside this process's session and the driver's, those of the processes that read.
    assert spread.sessions("login_tags") > 2
    close_sessions()
    until(lambda: spread.sessions() == 0)

    monkeypatch.setenv("RLE_HOME", str(tmp_path / "here"))
    alone = fit(long_shop.dataset(long_shop.connector()), long_shop.config(long_shop.connector()))
    here = content({"snapshot": alone.snapshot})
    assert content(model.result) == here
    assert content(job.result) == here
    assert here[0]["num_rows"] == {"customers": 80, "transactions": 300_000}
    for found in (model.result, job.result):
        assert found["validation"] == alone.validation
        assert found["validation_loss"] == pytest.approx(alone.validation_loss, rel=1e-5)


def by_token(shop, tmp_path, token):
    """A connector by a token in a file."""
    shop.engine.secrets[f"token {token}"] = token
    file = tmp_path / "token"
    file.write_text(token)
    connector = shop.connector(
        user="ROBOT",
        role="TRAINER",
        password_variable=None,
        auth_method="oauth",
        oauth_token_path=str(file),
    )
    return connector, file


@pytest.mark.parametrize("is_rotated", [True, False])
def test_a_token_that_expires_while_a_job_reads(shop, tmp_path, is_rotated):
    old, new = f"canary-old-{is_rotated}-81", f"canary-new-{is_rotated}-82"
    server = shop.server
    server.add_user("ROBOT", oauth_tokens={old: True}, roles=["TRAINER"])
    connector, file = by_token(shop, tmp_path, old)
    trainer, dataset = shop.trainer(connector), shop.dataset(connector)
    server.fault("/queries", "slow", seconds=5, contains="HAPPENED_AT")
    job = trainer.fit(dataset)
    shop.wait_for_fault()
    server.add_user("ROBOT", oauth_tokens={old: False, new: True}, roles=["TRAINER"])
    if is_rotated:
        shop.engine.secrets["new token"] = new
        file.write_text(new)
    server.expire(session=True, master=True)
    before = shop.sessions("login_tags")
    if is_rotated:
        ended(job, "COMPLETED")
        assert shop.sessions("login_tags") > before
        return
    error = ended(job, "FAILED").error
    assert "refuses the token" in error.message
    assert "Get a new one, put it where the connector reads it" in error.message
    assert old not in job.get_logs() + error.to_json()


# What has changed since


@pytest.mark.either_driver
def test_a_column_of_another_type_is_told_by_the_job(shop, model):
    rows = shop.rows["TRANSACTIONS"]
    at = rows.column_names.index("AMOUNT")
    texts = pc.binary_join_element_wise("about", rows["AMOUNT"].cast(pa.string()), " ")
    shop.put("TRANSACTIONS", rows.set_column(at, "AMOUNT", texts))
    connector = shop.connector()
    declared = {"transactions": {"AMOUNT": "category"}}
    job = shop.trainer(connector).predict(
        "typed",
        shop.output,
        dataset=shop.dataset(connector, declared),
        model_run_id=model.model_run_id,
    )
    error = ended(job, "FAILED").error
    assert error.error == "DatasetMismatchError"
    assert "column 'AMOUNT' of table 'transactions' was float and is category" in error.message
    assert shop.leftovers() == set()


@pytest.mark.either_driver
def test_a_column_of_another_type_than_declared_is_told_by_the_job(shop):
    connector = shop.connector()
    trainer, dataset = shop.trainer(connector), shop.dataset(connector)
    rows = shop.rows["TRANSACTIONS"]
    at = rows.column_names.index("AMOUNT")
    texts = pc.binary_join_element_wise("about", rows["AMOUNT"].cast(pa.string()), " ")
    shop.put("TRANSACTIONS", rows.set_column(at, "AMOUNT", texts))
    error = ended(trainer.fit(dataset), "FAILED").error
    assert "AMOUNT" in error.message


@pytest.mark.either_driver
def test_a_column_that_was_dropped_is_told_by_the_job(shop, model):
    connector = shop.connector()
    trainer, dataset = shop.trainer(connector), shop.dataset(connector)
    shop.put("TRANSACTIONS", shop.rows["TRANSACTIONS"].drop_columns(["AMOUNT"]))
    job = trainer.predict("dropped", shop.output, dataset=dataset, model_run_id=model.model_run_id)
    error = ended(job, "FAILED").error
    assert (error.error, "AMOUNT" in error.message) == ("UnknownNameError", True)
    assert shop.source("transactions") in error.message
    assert shop.leftovers() == set()


@pytest.mark.either_driver
def test_a_table_that_was_dropped_is_found_before_a_job_is_made(shop, on_engine):
    connector = shop.connector()
    trainer, dataset = shop.trainer(connector), shop.dataset(connector)
    shop.run(f"DROP TABLE {shop.source('transactions')}")
    before = num_jobs(on_engine)
    with pytest.raises(UnknownNameError, match=shop.source("transactions")):
        trainer.fit(dataset)
    assert num_jobs(on_engine) == before


@pytest.mark.either_driver
def test_a_grant_that_is_missing_is_named_before_a_job_is_made(shop, on_engine):
    connector = shop.connector()
    trainer, dataset = shop.trainer(connector), shop.dataset(connector)
    shop.server.revoke("SELECT", "TABLE", shop.source("churn_validation"))
    before = num_jobs(on_engine)
    table = f'"SHOP"."{shop.schema}"."CHURN_VALIDATION"'
    with pytest.raises(PermissionError, match=f'GRANT SELECT ON TABLE {table} TO ROLE "TRAINER"'):
        trainer.fit(dataset)
    assert num_jobs(on_engine) == before


@pytest.mark.either_driver
@pytest.mark.parametrize("what", ["table", "grant"])
def test_what_goes_while_a_job_begins_is_told_in_words(shop, what):
    connector = shop.connector()
    trainer, dataset = shop.trainer(connector), shop.dataset(connector)
    server, source = shop.server, shop.source("transactions")
    server.fault("/session/v1/login-request", "slow", seconds=4)
    job = trainer.fit(dataset)
    shop.wait_for_fault()  # by now the job signs in
    if what == "table":
        shop.run(f"DROP TABLE {source}")
    else:
        server.revoke("SELECT", "TABLE", source)
    error = ended(job, "FAILED").error
    assert source in error.message
    assert f"GRANT SELECT ON TABLE {source} TO ROLE TRAINER" in error.message


# Writing


def test_predictions_and_embeddings_are_replaced_when_asked_and_never_else(shop, model, on_engine):
    connector = shop.connector()
    trainer, dataset = shop.trainer(connector), shop.dataset(connector)
    asked = {"dataset": dataset, "model_run_id": model.model_run_id}
    job = ended(trainer.predict("may", shop.output, extract_embeddings=True, **asked), "COMPLETED")
    made = {"PREDICTIONS_MAY", "EMBEDDINGS_CUSTOMER_ID_MAY"}
    assert shop.leftovers() == made
    tables = [job.export_paths["predictions"], *job.export_paths["embeddings"].values()]
    assert {name.rpartition(".")[2] for name in tables} == made
    test = shop.rows["CHURN_TEST"]
    for table in tables:
        rows = connector.sample(table, max_rows=10**6)
        assert (
            rows.select(["CUSTOMER_ID", "TIMESTAMP"])
            .sort_by("CUSTOMER_ID")
            .equals(test.select(["CUSTOMER_ID", "TIMESTAMP"]).sort_by("CUSTOMER_ID"))
        )
    assert all(len(vector) == 8 for vector in rows["EMBEDDING"].to_pylist())

    with pytest.raises(OutputExistsError, match="PREDICTIONS_MAY"):
        trainer.predict("may", shop.output, **asked)
    shop.put("CHURN_TEST", test.slice(0, 7))
    again = trainer.predict("may", shop.output, overwrite_results=True, **asked)
    ended(again, "COMPLETED")
    assert connector.num_rows(tables[0]) == 7
    # Embeddings of the older predictions would belong to nothing.
    assert shop.leftovers() == {"PREDICTIONS_MAY"}


# Secrets and ends


@pytest.mark.either_driver
def test_a_wrong_password_on_the_engine_is_told_by_the_job(shop, monkeypatch):
    monkeypatch.setenv(WRONG, shop.engine.secrets["wrong password"])
    connector = shop.connector(password_variable=WRONG)
    with pytest.raises(ConnectionError, match="refuses the user name or the password"):
        shop.trainer(connector)
    monkeypatch.setenv(WRONG, shop.engine.secrets["password"])  # right here, wrong there
    job = shop.trainer(connector).fit(shop.dataset(connector))
    error = ended(job, "FAILED").error
    assert "refuses the user name or the password" in error.message
    assert "machine where the engine was started" in error.message
    # Where a secret would be, if it were not kept out; the last test looks for those.
    told = {p.name for p in files(shop.engine.home) if b"refuses the user name" in p.read_bytes()}
    assert told >= {"events.jsonl", "state.json", "log.txt", "queue.jsonl", "mlflow.db"}


@pytest.mark.parametrize(
    ("doing", "workers"), [("query", 0), ("fetch", 0), ("fetch", 2), ("write", 0)]
)
def test_a_canceled_job_closes_its_sessions_and_leaves_no_table(
    on_engine, long_shop, doing, workers
):
    server = long_shop.server
    cut_results(server)
    shop = JobShop.like(long_shop, tag=f"cancel {doing} {workers}")
    connector = shop.connector()
    config = {"num_workers": workers}
    trainer, dataset = shop.trainer(connector, **config), shop.dataset(connector)
    close_sessions()
    slow = {
        "query": {"path": "/queries", "contains": "HAPPENED_AT"},
        "fetch": {"path": "/results/"},
        "write": {"path": "/queries", "contains": "COPY INTO"},
    }[doing]
    server.fault(kind="slow", seconds=20, **slow)
    job = trainer.fit_predict("gone", dataset, shop.output, extract_embeddings=True)
    shop.wait_for_fault()
    job.cancel()
    ended(job, "CANCELED")
    if not workers:  # Ray kills processes that read for a job when it is canceled
        close_sessions()
        until(lambda: shop.sessions() == 0)
    left = shop.leftovers()
    if doing == "write" and generation() == 5:
        # No signal reaches this driver: it is killed, and the next write removes hidden tables.
        left = {name for name in left if not name.startswith("RLE_TMP_")}
    assert left == set()


def test_no_secret_is_in_any_file_of_the_engine(on_engine):
    """Comes last: looks at what the jobs before have left."""
    ray_folder = read_state(on_engine.home / "engines" / on_engine.name).ray_folder
    texts = {path: path.read_bytes() for path in files(on_engine.home, Path(ray_folder))}
    assert not [
        (what, str(path))
        for what, secret in on_engine.secrets.items()
        for path, text in texts.items()
        if secret.encode() in text
    ]


def files(*folders):
    for folder in folders:
        yield from (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
