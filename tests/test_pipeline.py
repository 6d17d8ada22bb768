"""From tables to a prediction table, in this process, on the fake shop."""

from __future__ import annotations

import json

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import safetensors

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import (
    DataError,
    DeviceError,
    OutputExistsError,
    UnknownNameError,
    ValidationError,
)
from rle.inference.model_folder import load_model
from rle.pipeline import fit, fit_predict, predict
from rle.runs.events import RunStatus, StatusEvent, WarningEvent, read_events
from rle.runs.folders import home
from rle.runs.tracking import default_uri
from rle.spec.config import TrainerConfig
from rle.spec.output import OutputConfig
from rle.testing.shop_dataset import shop_dataset

OUTPUT = OutputConfig.warehouse(database_name="shop", schema_name="main")


def make_config(connector, **changes):
    settings = {
        "device": "cpu",
        "n_epochs": 2,
        "fanouts": (6, 3),
        "channels": 16,
        "lr": 0.01,
        "num_workers": 0,
    }
    return TrainerConfig(connector=connector, **settings | changes)


def make_dataset(connector, task="churn", **sources):
    """The shop without free text, which would need an embedder."""
    dataset = shop_dataset(connector, task)
    for table in dataset.tables:
        if table.name == "articles":
            table.update_column_dtype(col_name="description", dtype="category")
    spec = dataset.spec
    return spec.replace(task=spec.task.replace(sources=dict(spec.task.sources) | sources))


@pytest.fixture(scope="module")
def place(shop, tmp_path_factory, copy_mlflow):
    """A home and a database for the whole file: a run costs seconds."""
    folder = tmp_path_factory.mktemp("pipeline")
    path = shop.write_duckdb(folder / "shop.duckdb")
    with duckdb.connect(str(path)) as connection:
        # Two customers that are in no table, one of them NULL, in the middle of the test rows.
        connection.execute("""
            CREATE TABLE churn_strangers AS
            FROM (FROM churn_test LIMIT 5) UNION ALL
            VALUES (999999, TIMESTAMP '2023-10-01', 1), (NULL, TIMESTAMP '2023-10-01', 0) UNION ALL
            FROM (FROM churn_test LIMIT 5 OFFSET 5)
        """)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(folder / "home"))
        copy_mlflow(folder / "home")
        yield folder, DuckDBConnector(database=str(path))


@pytest.fixture(autouse=True)
def _same_home(place, monkeypatch):
    monkeypatch.setenv("RLE_HOME", str(place[0] / "home"))


@pytest.fixture(scope="module")
def trained(place):
    """One run that trains, predicts and embeds, and the events it told."""
    _, connector = place
    events = []
    result = fit_predict(
        make_dataset(connector),
        make_config(connector),
        output_alias="first",
        output_config=OUTPUT,
        extract_embeddings=True,
        compute_test_metrics=True,
        on_event=events.append,
    )
    return result, events


def read(connector, table):
    return connector.sample(table, max_rows=10**6)


def test_there_is_one_prediction_per_test_row_with_its_own_key(place, trained, shop):
    _, connector = place
    result, _ = trained
    table = read(connector, "shop.main.PREDICTIONS_FIRST")
    expected = shop.tasks["churn"]["test"]
    assert result.prediction.export_paths["predictions"] == "shop.main.PREDICTIONS_FIRST"
    assert result.prediction.num_rows == table.num_rows == expected.num_rows
    assert table.select(["customer_id", "timestamp"]).equals(
        expected.select(["customer_id", "timestamp"])
    )
    assert table.schema.field("PREDICTION").type == pa.int64()
    assert set(table["PREDICTION"].to_pylist()) <= {0, 1}
    sums = pc.add(table["PROBABILITY_0"], table["PROBABILITY_1"]).to_pylist()
    assert sums == pytest.approx([1.0] * table.num_rows)


def test_it_learns_and_says_so(trained):
    result, _ = trained
    assert result.fit.metric == "roc_auc"
    assert result.fit.validation > 0.7
    assert result.prediction.test_metrics["roc_auc"] > 0.7


def test_embeddings_stand_beside_with_the_same_keys(place, trained):
    _, connector = place
    result, _ = trained
    name = "shop.main.EMBEDDINGS_CUSTOMER_ID_FIRST"
    assert result.prediction.export_paths["embeddings"] == {"customer_id": name}
    embeddings, predictions = read(connector, name), read(connector, "shop.main.PREDICTIONS_FIRST")
    assert embeddings["customer_id"].equals(predictions["customer_id"])
    assert embeddings.schema.field("EMBEDDING").type.list_size == 16


def test_events_tell_the_run_from_start_to_end(trained):
    result, events = trained
    kept = list(read_events(home() / "runs" / result.fit.model_run_id / "events.jsonl"))
    assert kept == events
    assert [e.status for e in events if isinstance(e, StatusEvent)] == [
        RunStatus.RUNNING,
        RunStatus.COMPLETED,
    ]
    stages = {e.stage for e in events if e.type == "progress"}
    assert {"read", "build", "train", "validate", "predict"} <= stages
    assert {e.name for e in events if e.type == "artifact"} == {
        "model",
        "training_curve",
        "predictions",
        "embeddings",
    }


def test_mlflow_has_params_metrics_and_artifacts(trained):
    from mlflow import MlflowClient

    result, _ = trained
    client = MlflowClient(default_uri())
    run = client.get_run(result.fit.model_run_id)
    assert run.info.status == "FINISHED"
    assert set(TrainerConfig.model_fields) <= set(run.data.params)
    assert {
        "training_loss",
        "validation_loss",
        "learning_rate",
        "validation_roc_auc",
        "test_roc_auc",
    } <= set(run.data.metrics)
    assert {a.path for a in client.list_artifacts(run.info.run_id)} == {
        "dataset_config.yaml",
        "model",
        "system_config.yaml",
        "training_curve.png",
    }


def test_the_model_folder_is_json_and_safetensors_alone(trained):
    result, _ = trained
    files = sorted(path.name for path in result.fit.model_folder.iterdir())
    assert files == ["model.json", "weights.safetensors"]
    manifest = json.loads((result.fit.model_folder / "model.json").read_text())
    assert manifest["model_run_id"] == result.fit.model_run_id
    with safetensors.safe_open(result.fit.model_folder / "weights.safetensors", "np") as weights:
        assert weights.keys()


def test_the_saved_model_predicts_the_same_whatever_the_batch_size(place, trained):
    _, connector = place
    result, _ = trained
    again = predict(
        make_dataset(connector),
        model_run_id=result.fit.model_run_id,
        output_alias="again",
        output_config=OUTPUT,
        test_batch_size=7,
        compute_test_metrics=True,
    )
    assert again.test_metrics == pytest.approx(result.prediction.test_metrics, abs=1e-6)
    first = read(connector, "shop.main.PREDICTIONS_FIRST")["PROBABILITY_1"].to_pylist()
    second = read(connector, "shop.main.PREDICTIONS_AGAIN")["PROBABILITY_1"].to_pylist()
    assert second == pytest.approx(first, abs=1e-5)


def test_unknown_entities_get_a_row_with_a_null_prediction(place, trained):
    folder, connector = place
    result, _ = trained
    events = []
    found = predict(
        make_dataset(connector, test="shop.main.churn_strangers"),
        model_run_id=result.fit.model_run_id,
        output_alias="strangers",
        output_config=OutputConfig.local(artifacts_dir=folder / "files"),
        extract_embeddings=True,
        on_event=events.append,
    )
    assert (found.num_rows, found.num_unknown) == (12, 2)
    table = read(connector_of(folder), "PREDICTIONS_STRANGERS.parquet")
    assert table["customer_id"].to_pylist()[5:7] == [999999, None]
    is_null = [False] * 5 + [True] * 2 + [False] * 5
    for column in ("PREDICTION", "PROBABILITY_0", "PROBABILITY_1"):
        assert [v is None for v in table[column].to_pylist()] == is_null
    vectors = read(connector_of(folder), "EMBEDDINGS_CUSTOMER_ID_STRANGERS.parquet")
    assert [v is None for v in vectors["EMBEDDING"].to_pylist()] == is_null
    assert any(isinstance(e, WarningEvent) and "2 of 12 test rows" in e.message for e in events)


def connector_of(folder):
    from rle.connectors.local import LocalConnector

    return LocalConnector(connector_type="parquet", url=str(folder / "files"))


def runs():
    folder = home() / "runs"
    return set(folder.iterdir()) if folder.exists() else set()


def refuse(error, match, function, *args, **kwargs):
    """Expect an error before a run was even begun."""
    before = runs()
    with pytest.raises(error, match=match):
        function(*args, **kwargs)
    assert runs() == before


def test_a_taken_alias_is_refused_before_training(place, trained):
    _, connector = place
    dataset, config = make_dataset(connector), make_config(connector)
    refuse(
        OutputExistsError,
        "PREDICTIONS_FIRST",
        fit_predict,
        dataset,
        config,
        output_alias="First",
        output_config=OUTPUT,
    )


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_read(place):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    connector = DuckDBConnector(database=str(place[0] / "shop.duckdb"))
    config = make_config(connector, device="cuda")
    refuse(DeviceError, "no GPU", fit, make_dataset(connector), config)


def test_a_task_table_that_is_gone_is_named(place):
    _, connector = place
    gone = make_dataset(connector, test="shop.main.churn_tset")
    refuse(
        UnknownNameError,
        "churn_test",
        fit_predict,
        gone,
        make_config(connector),
        output_alias="x",
        output_config=OUTPUT,
    )


def test_fit_predict_needs_a_test_table(place):
    _, connector = place
    spec = make_dataset(connector)
    sources = {k: v for k, v in spec.task.sources.items() if k != "test"}
    config = make_config(connector)
    refuse(
        ValidationError,
        "no test table",
        fit_predict,
        spec.replace(task=spec.task.replace(sources=sources)),
        config,
        output_alias="x",
        output_config=OUTPUT,
    )


def test_an_empty_split_and_one_class_are_refused(place):
    _, connector = place
    with duckdb.connect(connector.database) as connection:
        connection.execute("CREATE OR REPLACE TABLE churn_empty AS FROM churn_test LIMIT 0")
        connection.execute("CREATE OR REPLACE TABLE churn_ones AS FROM churn_test WHERE label = 1")
    config = make_config(connector)
    empty = make_dataset(connector, validation="shop.main.churn_empty")
    refuse(DataError, "churn_empty", fit, empty, config)
    ones = make_dataset(connector, validation="shop.main.churn_ones")
    refuse(DataError, "one class only", fit, ones, config)
    ones = make_dataset(connector, train="shop.main.churn_ones")
    refuse(DataError, "one class only", fit, ones, config)


def test_labels_beyond_the_clamp_are_warned_of_and_a_model_that_fails_is_failed(place):
    _, connector = place
    events = []

    def on_event(event):
        events.append(event)
        if event.type == "progress" and event.stage == "train":
            raise RuntimeError("stop here")

    config = make_config(connector, clamp_max=1.0)
    with pytest.raises(RuntimeError, match="stop here"):
        fit(make_dataset(connector, "spend"), config, on_event=on_event)
    assert any(isinstance(e, WarningEvent) and "clamped to 0.0 .. 1.0" in e.message for e in events)
    assert [e.status for e in events if isinstance(e, StatusEvent)][-1] is RunStatus.FAILED
    assert {e.error for e in events if e.type == "error"} == {"RuntimeError"}


def test_a_model_folder_that_is_not_there_or_damaged_is_an_error(place, trained, tmp_path):
    result, _ = trained
    with pytest.raises(ValidationError, match=r"model\.json is missing"):
        load_model(tmp_path)
    other = tmp_path / "model"
    other.mkdir()
    text = (result.fit.model_folder / "model.json").read_text()
    (other / "model.json").write_text(text.replace('"channels": 16', '"channels": 8'))
    (other / "weights.safetensors").write_bytes(
        (result.fit.model_folder / "weights.safetensors").read_bytes()
    )
    with pytest.raises(DataError, match="does not fit"):
        load_model(other)


@pytest.mark.parametrize(
    ("task", "dtype", "probabilities"),
    [
        ("channel", pa.string(), {"PROBABILITY_app", "PROBABILITY_store", "PROBABILITY_web"}),
        ("departments", pa.list_(pa.string()), {"PROBABILITY_hats"}),
        ("spend", pa.float64(), set()),
    ],
)
def test_every_task_type_is_predicted_in_the_labels_own_type(place, task, dtype, probabilities):
    _, connector = place
    dataset = make_dataset(connector, task)
    result = fit_predict(
        dataset,
        make_config(connector, n_epochs=1, clamp_max=None),
        output_alias=task,
        output_config=OUTPUT,
        compute_test_metrics=True,
    )
    table = read(connector, f"shop.main.PREDICTIONS_{task.upper()}")
    assert table.schema.field("PREDICTION").type == dtype
    names = {name for name in table.schema.names if name.startswith("PROBABILITY_")}
    assert probabilities <= names
    assert bool(names) == dataset.task.task_type.is_classification
    assert table["PREDICTION"].null_count == 0
    assert dataset.task.metric.name in result.prediction.test_metrics
