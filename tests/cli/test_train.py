"""`rle train` and `rle predict`: what reaches the SDK, what is printed, what is refused."""

from __future__ import annotations

import json

import pytest
import typer

from rle import DuckDBConnector
from rle.cli.terminal import errors_as_lines
from rle.errors import ValidationError
from rle.testing.shop_dataset import shop_dataset
from tests.cli.fakes import JOB, FakeJob, FakeTrainer
from tests.cli.running import run

SET = ("--set", "device=cpu", "--set", "n_epochs=2")


@pytest.fixture(autouse=True)
def _fake(monkeypatch):
    FakeTrainer.job = FakeJob()
    monkeypatch.setattr("rle.sdk.trainer.Trainer", FakeTrainer)


@pytest.fixture
def dataset(shop_db, tmp_path):
    connector = DuckDBConnector(database=str(shop_db))
    handle = shop_dataset(connector, tables=("customers", "transactions"))
    return str(handle.save(tmp_path / "shop.yaml"))


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("device: cpu\nn_epochs: 3\nlr: 0.1\n")
    return str(file)


def test_standard_output_is_the_job_id_alone(dataset):
    done = run("train", dataset, *SET)
    assert (done.exit_code, done.stdout) == (0, f"{JOB}\n")
    assert "warning: said by the SDK" in done.stderr
    assert FakeTrainer.job.calls == []


def test_settings_win_over_the_file(dataset, config):
    run("train", dataset, "--config", config, "--set", "lr=0.5", "--engine", "e1", "--upload-code")
    trainer = FakeTrainer.last
    assert (trainer.config.n_epochs, trainer.config.lr) == (3, 0.5)
    assert (trainer.engine, trainer.upload_code) == ("e1", True)
    assert trainer.config.connector == trainer.connector
    name, arguments = trainer.call
    assert name == "fit"
    assert arguments.pop("dataset").experiment_name.startswith("shop/")
    assert arguments == {"baseline": False, "stack": False}


def test_training_can_go_on_to_predictions(dataset):
    run("train", dataset, *SET, "--predict", "A1", "--output", 'shop."my.schema"', "--stack")
    name, arguments = FakeTrainer.last.call
    output = arguments["output_config"]
    assert name == "fit_predict"
    assert (output.place, output.full_schema) == ("warehouse", 'shop."my.schema"')
    assert (arguments["output_alias"], arguments["stack"]) == ("A1", True)
    assert (arguments["test_batch_size"], arguments["overwrite_results"]) == (128, False)


@pytest.mark.parametrize("way", ["--wait", "--follow"])
@pytest.mark.parametrize(("end", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELED", 3)])
def test_a_job_that_is_waited_for_gives_its_code(dataset, way, end, code):
    FakeTrainer.job = FakeJob(end)
    done = run("train", dataset, *SET, way)
    assert (done.exit_code, done.stdout) == (code, f"{JOB}\n")
    # Who follows has been told by the end of the log.
    assert (f"job {JOB}: {end}" in done.stderr) == (way == "--wait")
    assert ("a line of the log" in done.stderr) == (way == "--follow")
    done = run("train", dataset, *SET, way, "--json")
    assert (done.exit_code, json.loads(done.stdout)["status"]) == (code, end)


def test_json_without_waiting_says_where_the_job_stands(dataset):
    shown = json.loads(run("train", dataset, *SET, "--json").stdout)
    assert (shown["job_id"], shown["status"], shown["ahead"]) == (JOB, "QUEUED", 2)


@pytest.mark.parametrize("way", ["--wait", "--follow"])
def test_ctrl_c_leaves_the_job_alone(dataset, way):
    FakeTrainer.job = FakeJob(interrupted=True)
    done = run("train", dataset, *SET, way)
    assert (done.exit_code, done.stdout) == (130, f"{JOB}\n")
    assert FakeTrainer.job.status == "QUEUED"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--set", "lr"), "name=value"),
        (("--set", "lrr=1"), "Did you mean 'lr'"),
        (("--set", "n_epochs=many"), "n_epochs"),
        (("--config", "none.yaml"), "There is no file none.yaml"),
        (("--output", "a.b"), "--predict"),
        (("--overwrite", "--output-dir", "x"), "--output-dir and --overwrite"),
        (("--predict", "A"), "--output DB.SCHEMA or --output-dir"),
        (("--predict", "A", "--output", "a.b", "--output-dir", "x"), "one of them"),
        (("--predict", "A", "--output", "nodots"), "'nodots'"),
        (("--predict", "A", "--output-dir", "x", "--extension", "xls"), "extension"),
    ],
)
def test_what_cannot_be_is_one_line(dataset, arguments, reason):
    done = run("train", dataset, *SET, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert reason in errors[0]


def test_bad_yaml_and_a_missing_dataset_are_one_line(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [")
    for source, reason in {str(bad): "neither YAML nor JSON", "nope": "neither a dataset"}.items():
        done = run("train", source, *SET)
        assert done.exit_code == 2
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_predict_hands_everything_on(dataset, tmp_path):
    done = run(
        *("predict", "--dataset", dataset, "--model", "m", "--version", "2", "--alias", "A"),
        *("--output-dir", str(tmp_path), "--extension", "csv", "--test-batch-size", "64"),
        *("--extract-embeddings", "--flatten-output", "--test-metrics", "--overwrite"),
        "--align-dtypes",
    )
    assert (done.exit_code, done.stdout) == (0, f"{JOB}\n")
    name, arguments = FakeTrainer.last.call
    assert name == "predict"
    assert FakeTrainer.last.connector == arguments.pop("dataset").connector
    assert arguments.pop("output_config").extension == "csv"
    assert arguments == {
        "output_alias": "A",
        "test_batch_size": 64,
        "experiment_name": None,
        "test_table": None,
        "model_run_id": None,
        "registered_model_name": "m",
        "version": "2",
        "select_best_model": False,
        "evaluation_metric": None,
        "extract_embeddings": True,
        "flatten_output": True,
        "compute_test_metrics": True,
        "overwrite_results": True,
        "align_dtypes": True,
    }


def test_predict_by_experiment_reads_with_the_connector_of_a_file(dataset, tmp_path):
    own = tmp_path / "connector.yaml"
    own.write_text(f"kind: duckdb\ndatabase: {tmp_path / 'other.duckdb'}\n")
    rest = ("--experiment", "shop/regression/spend", "--test-table", "a.b.c", "--best")
    rest = (*rest, "--metric", "mae", "--alias", "A", "--output", "a.b")
    assert run("predict", *rest, "--connector", str(own)).exit_code == 0
    assert FakeTrainer.last.connector.stem == "other"
    _, arguments = FakeTrainer.last.call
    assert arguments["evaluation_metric"].name == "mae"
    assert arguments["dataset"] is None
    assert run("predict", *rest, "--connector", dataset).exit_code == 0
    assert FakeTrainer.last.connector.stem == "shop"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--run", "abc"), "neither a dataset"),
        (("--best",), "--connector FILE"),
        (("--connector", "none.yaml"), "There is no file"),
        (("--dataset", "DATASET", "--connector", "none.yaml"), "leave out --connector"),
        (("--dataset", "DATASET", "--best", "--metric", "auc"), "Did you mean"),
        (("--dataset", "DATASET", "--best", "--eval-at-k", "3"), "--metric"),
    ],
)
def test_a_prediction_that_cannot_be_is_one_line(dataset, arguments, reason):
    given = [dataset if argument == "DATASET" else argument for argument in arguments]
    done = run("predict", "--alias", "A", "--output", "a.b", *given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert reason in done.stderr


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Choose another, or pass overwrite_results=True.", "Choose another, or pass --overwrite."),
        ("model_run_id and registered_model_name each name", "--run and --model each name"),
        (
            "There is no field named 'experiment_name'.",
            "There is no field named 'experiment_name'.",
        ),
        ("There is no table shop.test_table.", "There is no table shop.test_table."),
    ],
)
def test_arguments_in_errors_are_called_what_they_are_here(capsys, said, shown):
    with pytest.raises(typer.Exit), errors_as_lines():
        raise ValidationError(said)
    assert capsys.readouterr().err == f"error: {shown}\n"


def test_a_connector_file_without_a_connector_is_named(tmp_path):
    file = tmp_path / "connector.yaml"
    for text, reason in {"kind: duck": "Did you mean 'duckdb'", "a: 1": "'kind'"}.items():
        file.write_text(text)
        done = run("predict", "--alias", "A", "--output", "a.b", "--connector", str(file))
        assert done.exit_code == 2
        assert str(file) in done.stderr
        assert reason in done.stderr
