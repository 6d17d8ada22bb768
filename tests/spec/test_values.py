"""The frozen specs: metrics, links, table and task rules, outputs, configuration."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.connectors.local import LocalConnector
from rle.errors import UnknownNameError, ValidationError
from rle.spec.config import TrainerConfig
from rle.spec.dataset import DatasetSpec
from rle.spec.experiment import ExperimentConfig
from rle.spec.metric import METRICS, EvaluationMetric
from rle.spec.output import OutputConfig
from rle.spec.table import CandidateKey, ColumnSpec, ForeignKey, TableSpec
from rle.spec.task import NodeTaskSpec
from rle.values import TaskType

if TYPE_CHECKING:
    from pathlib import Path

WAREHOUSE = DuckDBConnector(database="/data/shop.duckdb")


def config(**changes: object) -> TrainerConfig:
    arguments: dict[str, object] = {"connector": WAREHOUSE, "device": "cpu", "n_epochs": 3}
    return TrainerConfig(**(arguments | changes))


@pytest.mark.parametrize("task_type", TaskType)
def test_each_task_type_has_a_default_metric_that_fits(task_type: TaskType) -> None:
    metric = EvaluationMetric.default_for(task_type)
    metric.check(task_type)
    assert metric.eval_at_k == (12 if task_type.is_link else None)


@pytest.mark.parametrize("name", sorted({n for names in METRICS.values() for n in names}))
def test_a_metric_knows_which_way_is_better(name: str) -> None:
    metric = EvaluationMetric(name=name)
    lower = name in {"rmse", "mae", "mape"}
    assert metric.direction == ("min" if lower else "max")
    assert metric.is_better(1.0, 2.0) == lower
    assert metric.is_better(1.0, float("nan"))
    assert not metric.is_better(float("nan"), 1.0)
    assert EvaluationMetric.from_json(metric.to_json()) == metric


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "roc_auk"}, "Did you mean 'roc_auc'"),
        ({"name": "rmse", "eval_at_k": 3}, "eval_at_k is for link metrics"),
        ({"name": "link_prediction_map", "eval_at_k": 0}, "greater than or equal to 1"),
        ({}, "name: Field required"),
    ],
)
def test_bad_metrics_are_told(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluationMetric(**arguments)


def test_foreign_keys_are_equal_by_column_alone() -> None:
    one, two = ForeignKey("a", "t.x"), ForeignKey(column_name="a", link_to="u.y", is_feature=True)
    assert one == two
    assert len({one, two, ForeignKey("b", "t.x")}) == 2
    assert pickle.loads(pickle.dumps(two)).link_to == "u.y"


@pytest.mark.parametrize(
    ("link_to", "target"),
    [
        ("Table.column", ("Table", "column")),
        ("köln.straße_1", ("köln", "straße_1")),
        ('t."odd ""col"".x"', ("t", 'odd "col".x')),
    ],
)
def test_links_name_table_and_column(link_to: str, target: tuple[str, str]) -> None:
    assert ForeignKey("a", link_to).target == target


@pytest.mark.parametrize("link_to", ["", "t", "t.", ".c", "1t.c", "t.1c", "a.b.c", "t.c d", 't."c'])
def test_malformed_links_show_the_form(link_to: str) -> None:
    with pytest.raises(ValidationError, match=r"must look like 'Table\.column'"):
        ForeignKey("a", link_to)


def orders(**changes: object) -> TableSpec:
    columns = {
        "id": "integer",
        "who": "integer",
        "at": "datetime",
        "price": "float",
        "tag": "category",
    }
    arguments: dict[str, object] = {
        "name": "orders",
        "source": "shop.main.orders",
        "columns": [ColumnSpec(name=n, dtype=d) for n, d in columns.items()],
        "candidate_keys": [CandidateKey("id")],
        "foreign_keys": [ForeignKey("who", "people.id")],
        "time_column": "at",
    }
    return TableSpec(**(arguments | changes))


def test_features_are_what_is_neither_key_nor_time() -> None:
    assert [c.name for c in orders().feature_columns] == ["price", "tag"]
    with_keys = orders(
        candidate_keys=[CandidateKey("id", is_feature=True)],
        foreign_keys=[ForeignKey("who", "people.id", is_feature=True)],
    )
    assert [c.name for c in with_keys.feature_columns] == ["id", "who", "price", "tag"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "my orders"}, "must start with a letter"),
        ({"time_column": "att"}, "Did you mean 'at'"),
        ({"time_column": "price"}, "must be of dtype datetime, not float"),
        ({"time_column": "who"}, "time column and key at once"),
        ({"candidate_keys": [], "foreign_keys": []}, "at least one primary key or foreign key"),
        ({"candidate_keys": [CandidateKey("tag")]}, "not category"),
        ({"candidate_keys": [CandidateKey("id")] * 2}, "candidate key 'id' twice"),
        ({"foreign_keys": [ForeignKey("id", "orders.id")]}, "links to itself"),
        ({"type": "edge"}, "exactly two foreign keys"),
        ({"columns": [ColumnSpec(name="id", dtype="integer")] * 2}, "columns twice"),
        ({"time_colum": "at"}, "Did you mean 'time_column'"),
    ],
)
def test_bad_tables_are_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        orders(**changes)


def people() -> TableSpec:
    return TableSpec(
        name="people",
        source="shop.main.people",
        columns=[ColumnSpec(name="id", dtype="integer")],
        candidate_keys=[CandidateKey("id")],
    )


def shop(**changes: object) -> DatasetSpec:
    task = NodeTaskSpec(
        name="churn",
        task_type="binary_classification",
        sources={"test": "shop.main.test"},
        entity_table="people",
        entity_column="who",
        target_column="label",
        time_column="at",
        metric=EvaluationMetric("roc_auc"),
    )
    arguments = {
        "name": "shop",
        "connector": WAREHOUSE,
        "tables": [people(), orders()],
        "task": task,
    }
    return DatasetSpec(**(arguments | changes))


def test_a_dataset_equals_its_json_and_is_checked_when_read() -> None:
    spec = shop()
    assert DatasetSpec.from_json(spec.to_json()) == spec
    assert spec.entities == (("people", "id", "who", None),)
    broken = json.loads(spec.to_json())
    broken["tables"][1]["foreign_keys"][0]["link_to"] = "persons.id"
    with pytest.raises(ValidationError, match="no table, which foreign key 'who'"):
        DatasetSpec.from_json(json.dumps(broken))


def test_a_task_about_a_table_without_key_is_told() -> None:
    keyless = orders(candidate_keys=[])
    task = shop().task.replace(entity_table="orders")
    with pytest.raises(ValidationError, match="'orders' has no primary key"):
        shop(tables=[people(), keyless], task=task)


def test_outputs_name_their_tables(tmp_path: Path) -> None:
    warehouse = OutputConfig.warehouse(database_name="SHOP", schema_name="MAIN")
    assert warehouse.table("PREDICTIONS_A") == "SHOP.MAIN.PREDICTIONS_A"
    assert warehouse.writer(WAREHOUSE) is WAREHOUSE
    odd = OutputConfig.warehouse(database_name="v1.2", schema_name="main")
    assert odd.table("P") == '"v1.2".main.P'
    quoted = OutputConfig.warehouse(database_name='"v1.2"', schema_name='"a ""b"""')
    assert quoted.table("my P") == '"v1.2"."a ""b"""."my P"'
    assert quoted.full_schema == '"v1.2"."a ""b"""'
    local = OutputConfig.local(artifacts_dir=tmp_path, extension="csv")
    assert local.table("P") == str(tmp_path / "P.csv")
    with pytest.raises(ValidationError, match="no schema"):
        _ = local.full_schema
    assert local.writer(WAREHOUSE) == LocalConnector(connector_type="csv", url=str(tmp_path))
    for output in (warehouse, local):
        assert OutputConfig.from_json(output.to_json()) == output


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OutputConfig.local(artifacts_dir=""), "needs artifacts_dir"),
        (
            lambda: OutputConfig.local(artifacts_dir="x", extension="xls"),
            "'parquet', 'csv' or 'pkl'",
        ),
        (lambda: OutputConfig.snowflake(database_name="D", schema_name=""), "schema_name"),
        (
            lambda: OutputConfig.snowflake(database_name="D", schema_name="S").writer(WAREHOUSE),
            "needs a Snowflake connector",
        ),
    ],
)
def test_bad_outputs_are_told(make: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make()


def test_the_configuration_has_the_documented_defaults() -> None:
    documented = {
        "seed": 42,
        "max_iters": None,
        "train_batch_size": 128,
        "val_batch_size": 128,
        "eval_every": 1,
        "patience": 5,
        "lr": 0.001,
        "T_max": None,
        "eta_min": 1e-8,
        "label_smoothing": False,
        "label_smoothing_alpha": 0.1,
        "clamp_min": 0,
        "clamp_max": 100,
        "channels": 128,
        "gnn_layers": None,
        "fanouts": (128, 64),
        "conv_aggregation": "mean",
        "hetero_conv_aggregation": "sum",
        "gnn_norm": "layer_norm",
        "head_layers": 1,
        "head_norm": "batch_norm",
        "use_temporal_encoder": True,
        "temporal_strategy": "uniform",
        "num_negative": 10,
        "negative_sampling_strategy": "random",
        "text_embedder": "model2vec-potion-base-4M",
        "id_awareness": False,
        "shallow_embeddings_list": (),
        "num_workers": 1,
    }
    made = config()
    assert {name: getattr(made, name) for name in documented} == documented
    assert made.num_layers == 2
    assert TrainerConfig.from_json(made.to_json()) == made
    assert config(device="CUDA", fanouts=[8, 4, 2]).num_layers == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "tpu"}, "device: Input should be 'cuda' or 'cpu'"),
        ({"n_epochs": 0}, "n_epochs"),
        ({"n_epoch": 3}, "Did you mean 'n_epochs'"),
        ({"connector": "shop.duckdb"}, "must be a connector"),
        ({"lr": 0}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"fanouts": []}, "fanouts is empty"),
        ({"fanouts": [8, 0]}, r"fanouts\.1"),
        ({"gnn_layers": 3}, "gnn_layers is 3 but fanouts has 2 hops"),
        ({"clamp_min": 5, "clamp_max": 5}, "must be below clamp_max"),
        ({"count_windows_h": [24, 6]}, "count_windows_h is .*ascending"),
        ({"count_windows_h": [24, 24]}, "count_windows_h is .*ascending"),
        ({"count_windows_h": [0, 24]}, r"count_windows_h\.0"),
        ({"label_smoothing_alpha": 1}, "label_smoothing_alpha"),
        ({"conv_aggregation": "median"}, "'mean', 'max' or 'sum'"),
        ({"gnn_norm": "group_norm"}, "gnn_norm"),
        ({"head_norm": "instance_norm"}, "head_norm"),
        ({"temporal_strategy": "newest"}, "'uniform' or 'last'"),
        ({"num_workers": 129}, r"num_workers \(129\) exceeds train_batch_size"),
    ],
)
def test_bad_settings_are_told_when_built(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_windows_are_whole_nanoseconds_and_off_with_the_counts() -> None:
    assert config(count_windows_h=[0.5, 24]).windows == (1_800 * 10**9, 86_400 * 10**9)
    assert config(count_windows_h=[1e-15]).windows == (1,)
    assert config(count_windows_h=[]).windows == config(count_features=False).windows == ()


def test_tables_with_learnt_vectors_must_be_there() -> None:
    config(shallow_embeddings_list=["orders"]).check_against(shop())
    with pytest.raises(UnknownNameError, match="Did you mean 'orders'"):
        config(shallow_embeddings_list=["order"]).check_against(shop())


def test_an_experiment_config_is_given_as_schema() -> None:
    made = ExperimentConfig(database="DB", schema="S")
    assert json.loads(made.to_json()) == {"database": "DB", "schema": "S"}
    assert ExperimentConfig.from_json(made.to_json()) == made
    with pytest.raises(ValidationError, match="database"):
        ExperimentConfig(database="", schema="S")


def test_specs_load_no_heavy_package() -> None:
    heavy = "{'ray', 'torch', 'numba', 'mlflow', 'duckdb', 'pandas'}"
    script = (
        "import sys, rle.spec.dataset_handle, rle.spec.config, rle.spec.output; "
        f"assert not {heavy} & {{*sys.modules}}"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("given", "nanoseconds"),
    [
        ("P30D", 30 * 86_400 * 10**9),
        ("PT6H", 6 * 3600 * 10**9),
        ("30 days", 30 * 86_400 * 10**9),
        (timedelta(microseconds=1), 1000),
        (None, None),
    ],
)
def test_a_time_window_is_a_duration(given: object, nanoseconds: int | None) -> None:
    found = config(time_window=given)
    assert found.time_window_ns == nanoseconds
    assert TrainerConfig.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_window": 30}, "unit is not known"),
        ({"time_window": "0 days"}, "greater than 0"),
        ({"time_window": "-P1D"}, "greater than 0"),
        ({"time_window": timedelta(days=200_000)}, "less than or equal to 106751 days"),
        ({"clamp": "outo"}, "'auto'"),
        ({"clamp": "auto", "clamp_min": 3}, "clamp_min is 3.0; give one or the other"),
        ({"clamp": "auto", "clamp_max": 7}, "clamp_max is 7.0"),
        ({"class_weights": "balance"}, "Did you mean 'balanced'"),
        ({"class_weights": {"a": 0}}, "class 'a' the weight 0"),
        ({"class_weights": {"a": "heavy"}}, "a number above 0"),
        ({"class_weights": {"a": float("inf")}}, "a number above 0"),
    ],
)
def test_bad_windows_clamps_and_weights_are_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**changes)


def test_an_automatic_clamp_stands_beside_the_defaults() -> None:
    found = config().replace(clamp="auto")
    assert TrainerConfig.from_json(found.to_json()) == found
    assert config(clamp="auto", clamp_min=None, clamp_max=None).clamp == "auto"


def test_class_weights_may_be_given_by_value_and_equal_their_json() -> None:
    found = config(class_weights={1: 4, False: 0.5})
    assert found.class_weights == {"1": 4.0, "False": 0.5}
    assert TrainerConfig.from_json(found.to_json()) == found


def test_class_weights_and_a_window_need_classes_and_times() -> None:
    config(class_weights="balanced", time_window="P1D").check_against(shop())
    task = shop().task.replace(task_type="regression", metric=EvaluationMetric("rmse"))
    with pytest.raises(ValidationError, match="regression task has no classes"):
        config(class_weights="balanced").check_against(shop(task=task))
    timeless = shop(
        tables=[people(), orders(time_column=None)], task=shop().task.replace(time_column=None)
    )
    with pytest.raises(ValidationError, match="no table of dataset 'shop' has a time column"):
        config(time_window="P1D").check_against(timeless)


def test_many_known_names_are_cut_short_and_counted() -> None:
    said = str(UnknownNameError("run", "zzz", [f"r{i:02d}" for i in range(23)]))
    assert said.endswith("'r18', 'r19' and 3 more.")
    assert "r20" not in said


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("SHOP.PUBLIC.CUSTOMERS", None),
        ("shop.public.ordres", "SHOP.PUBLIC.ORDERS"),
        ("SHOP.PUBLC.ORDERS", "SHOP.PUBLIC.ORDERS"),
        ("ORDERS", None),
    ],
)
def test_a_name_is_not_like_another_for_having_the_same_schema(
    name: str, nearest: str | None
) -> None:
    said = str(UnknownNameError("table", name, ["SHOP.PUBLIC.ORDERS", "SHOP.PUBLIC.ITEMS"]))
    assert said.endswith(f"Did you mean {nearest!r}?" if nearest else "'SHOP.PUBLIC.ORDERS'.")
