"""The command line on a real engine: submit, follow, list, show, read the log, cancel."""

from __future__ import annotations

import json

import duckdb
import pytest

from rle import DuckDBConnector
from rle.testing.shop import make_shop
from rle.testing.shop_dataset import shop_dataset
from tests.cli.running import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("on_engine")]


@pytest.fixture
def arguments(tmp_path):
    """Of a training job that takes seconds."""
    path = make_shop(num_customers=60).write_duckdb(tmp_path / "shop.duckdb")
    dataset = shop_dataset(
        DuckDBConnector(database=str(path)), tables=("customers", "transactions")
    )
    file = dataset.save(tmp_path / "shop.yaml")
    config = tmp_path / "config.yaml"
    config.write_text("device: cpu\nn_epochs: 2\nchannels: 8\nfanouts: [4]\nnum_workers: 0\n")
    return (str(file), "--config", str(config), "--engine", "local")


def shown(job_id, *options):
    done = run("jobs", "show", job_id, "--engine", "local", "--json", *options)
    assert done.exit_code != 2, done.stderr
    return done.exit_code, json.loads(done.stdout)


def test_a_training_job_from_submission_to_its_log(arguments):
    done = run("train", *arguments, "--follow")
    job_id = done.stdout.strip()
    assert done.exit_code == 0, done.stderr
    assert "train epoch 2/2" in done.stderr
    assert f"job {job_id} COMPLETED" in done.stderr

    listed = run("jobs", "list", "--engine", "local", "--json")
    assert listed.exit_code == 0, listed.stderr
    (row,) = (row for row in json.loads(listed.stdout) if row["job_id"] == job_id)
    assert (row["status"], row["job_type"], row["engine"]) == ("COMPLETED", "train", "local")
    table = run("jobs", "list", "--engine", "local", "--status", "completed")
    assert job_id in table.stdout

    code, status = shown(job_id, "--events")
    assert (code, status["status"], status["error"]) == (0, "COMPLETED", None)
    assert status["model_run_id"] == status["result"]["model_run_id"]
    assert [e["status"] for e in status["events"] if e["type"] == "job"][-1] == "COMPLETED"

    log = run("jobs", "logs", job_id, "--engine", "local", "--no-follow").stdout
    assert "result: best validation roc auc" in log
    last = run("jobs", "logs", job_id, "--engine", "local", "--lines", "1").stdout
    assert log.endswith(last)
    again = run("jobs", "logs", job_id, "--engine", "local")
    assert (again.exit_code, "train epoch 2/2" in again.stdout) == (0, True)

    ended = run("jobs", "cancel", job_id, "--engine", "local")
    assert ended.exit_code == 2
    assert "COMPLETED" in ended.stderr


def test_a_canceled_job_ends_with_code_3(arguments):
    done = run("train", *arguments, "--set", "n_epochs=100000")
    job_id = done.stdout.strip()
    assert (done.exit_code, shown(job_id)[0]) == (0, 0)
    canceled = run("jobs", "cancel", job_id, "--engine", "local", "--json")
    assert json.loads(canceled.stdout) == {"job_id": job_id, "canceled": True}
    code, status = shown(job_id, "--wait")
    assert (code, status["status"]) == (3, "CANCELED")
    assert run("jobs", "cancel", job_id, "--engine", "local").exit_code == 0


def test_a_failed_job_ends_with_code_1_and_says_why(arguments, tmp_path):
    with duckdb.connect(str(tmp_path / "shop.duckdb")) as database:
        database.execute("DELETE FROM churn_train")
    done = run("train", *arguments, "--wait")
    job_id = done.stdout.strip()
    assert done.exit_code == 1
    assert f"job {job_id}: FAILED" in done.stderr
    code, status = shown(job_id, "--traceback")
    assert (code, status["status"]) == (1, "FAILED")
    assert "churn_train" in status["error"]
    assert "Traceback" in status["traceback"]
    assert "Traceback" not in run("jobs", "show", job_id, "--engine", "local").stdout
