from __future__ import annotations

import csv
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.connectors.local import LocalConnector
from rle.errors import DataError, FixedRoleError, UnknownNameError, ValidationError
from rle.spec.metric import METRICS, EvaluationMetric
from rle.spec.table import ForeignKey
from rle.spec.task import LinkTaskSpec, NodeTaskSpec
from rle.spec.task_handle import LinkTask, NodeTask
from rle.values import TaskType
from tests.spec.conftest import SPLITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rle.connectors.duckdb import DuckDBConnector

    Make = Callable[..., NodeTask]

MAIN = "school.main"


@pytest.mark.parametrize(
    ("task_type", "column"),
    [
        ("binary_classification", "label"),
        ("MULTICLASS_CLASSIFICATION", "label"),
        (TaskType.MULTILABEL_CLASSIFICATION, "labels"),
        (TaskType.REGRESSION, "amount"),
        (TaskType.REGRESSION, "label"),
    ],
)
def test_each_type_has_its_default_metric(task: Make, task_type: str, column: str) -> None:
    made = task(task_type=task_type, target_column=column)
    assert made.evaluation_metric.name == METRICS[made.task_type][0]
    assert NodeTaskSpec.from_json(made.spec.to_json()) == made.spec


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_type": "regression", "target_column": "code"}, "must hold numbers"),
        ({"task_type": "multilabel_classification"}, "must hold lists of classes"),
        ({"target_column": "labels"}, "must hold one class per row"),
        ({"time_column": "who"}, "cannot be entity column and time column at once"),
        ({"time_column": "code"}, "must be datetime"),
        ({"source_entity_column": "moment", "time_column": None}, "must hold integers"),
        ({"task_type": TaskType.LINK_PREDICTION}, "belongs to LinkTask"),
        ({"task_type": "regresion"}, "Did you mean 'regression'"),
        ({"task_type": None}, "needs task_type"),
        ({"target_column": "lable"}, "Did you mean 'label'"),
        ({"source_entity_column": "wo"}, "Did you mean 'who'"),
        ({"time_column": "momento"}, "Did you mean 'moment'"),
        ({"name": "a/b"}, "must not be empty or hold '/'"),
        ({"source_entity_table": None}, "source_entity_column and source_entity_table"),
        ({"label_column": "label"}, "another word"),
        ({"target_column": None}, "needs target_column"),
        ({"evaluation_metric": EvaluationMetric("rmse")}, "does not fit"),
    ],
)
def test_bad_arguments_are_told(task: Make, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**changes)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"train": "train"}, "train table but no validation"),
        ({"validation": "valid"}, "validation table but no train"),
        ({}, "has no tables"),
        ({"trian": "train"}, "Did you mean 'train'"),
        ({"test": "tset"}, r"Did you mean 'school\.main\.test'"),
        ({"train": "train", "validation": "odd"}, "is integer in the train table but category"),
        ({"train": "train", "validation": "test"}, "label column in the validation table"),
    ],
)
def test_bad_sources_are_told(task: Make, sources: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(task_data_source={split: f"{MAIN}.{name}" for split, name in sources.items()})


def test_an_empty_split_is_told(task: Make) -> None:
    with pytest.raises(DataError, match=r"The test table .* has no rows"):
        task(task_data_source={"test": f"{MAIN}.nobody"}, source_entity_column="id")


def test_a_test_table_alone_may_lack_the_label(task: Make) -> None:
    made = task(task_data_source={"test": f"{MAIN}.test"})
    assert dict(made.task_data_source) == {"test": f"{MAIN}.test"}


def test_an_entity_can_be_given_as_foreign_key(task: Make) -> None:
    made = task(
        source_entity_column=ForeignKey("code", "students.code"),
        source_entity_table=None,
        target_column=None,
        label_column="label",
    )
    assert (made.spec.entity_table, made.spec.entity_key) == ("students", "code")
    assert made.spec.entity_dtype == "text"
    with pytest.raises(ValidationError, match="leave source_entity_table out"):
        task(source_entity_column=ForeignKey("code", "students.code"))


@pytest.mark.parametrize(
    "attribute",
    ["source_entity_column", "source_entity_table", "target_column", "current_time", "task_type"],
)
def test_what_the_task_is_about_is_read_only(task: Make, attribute: str) -> None:
    with pytest.raises(AttributeError):
        setattr(task(), attribute, "other")


def test_metric_and_time_column_can_be_set(task: Make) -> None:
    made = task(time_column=None)
    made.set_evaluation_metric(EvaluationMetric(name="accuracy"))
    made.set_time_column(col_name="moment")
    assert (made.spec.metric.name, made.spec.time_column) == ("accuracy", "moment")
    with pytest.raises(ValidationError, match="does not fit"):
        made.set_evaluation_metric(EvaluationMetric(name="rmse"))
    made.unset_time_column("moment")
    with pytest.raises(ValidationError, match="is not the time column"):
        made.unset_time_column("moment")


def test_show_task_names_sources_and_roles(task: Make, capsys: pytest.CaptureFixture[str]) -> None:
    task(current_time=False).show_task()
    printed = capsys.readouterr().out
    for text in (
        "roc_auc (max)",
        "time < moment",
        f"{MAIN}.valid",
        "entity column",
        "label column",
    ):
        assert text in printed


def test_a_link_task_is_a_spec_too(school: DuckDBConnector) -> None:
    made = LinkTask(
        connector=school,
        name="next",
        task_data_source={"train": f"{MAIN}.train", "validation": f"{MAIN}.valid"},
        source_entity_column="who",
        source_entity_table="students",
        target_entity_column="picks",
        target_entity_table="classes",
        task_type=TaskType.LINK_PREDICTION,
    )
    made.set_time_column(col_name="moment")
    assert made.evaluation_metric == EvaluationMetric("link_prediction_map", 12)
    assert made.spec.target_entity_dtype == "integer"
    assert LinkTaskSpec.from_json(made.spec.to_json()) == made.spec
    assert "target entity" in repr(made) or "classes" in repr(made)


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["[1, 2]", "[]", ""], "integer"),
        (['["a"]', "[]", '["b", "c"]'], "text"),
        (["[0.5]", "[2]", "[]"], "float"),
        (["a", "[b]", "c"], "text"),
        (["[]", "[]", "[]"], None),
    ],
)
def test_lists_of_targets_in_csv_have_the_dtype_of_their_items(
    tmp_path: Path, cells: list[str], dtype: str | None
) -> None:
    for split in ("train", "validation"):
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            rows = [(i, "2020-01-01", cell) for i, cell in enumerate(cells)]
            csv.writer(file).writerows([("who", "moment", "picks"), *rows])
    made = LinkTask(
        connector=LocalConnector(connector_type="csv", url=str(tmp_path)),
        name="next",
        task_data_source={"train": "train.csv", "validation": "validation.csv"},
        source_entity_column="who",
        source_entity_table="students",
        target_entity_column="picks",
        target_entity_table="classes",
        task_type=TaskType.LINK_PREDICTION,
        time_column="moment",
    )
    assert made.spec.target_entity_dtype == dtype


def test_a_link_task_refuses_node_types(school: DuckDBConnector) -> None:
    with pytest.raises(ValidationError, match="belongs to NodeTask"):
        LinkTask(
            school, "next", {"test": f"{MAIN}.test"}, "who", "students", task_type="regression"
        )


@pytest.mark.parametrize(("column", "role"), [("who", "entity column"), ("label", "label column")])
def test_entity_and_label_cannot_be_removed(task: Make, column: str, role: str) -> None:
    made = task()
    with pytest.raises(AttributeError, match=f"is the {role} of task"):
        made.remove_column(column)
    assert made.spec == task().spec


def test_entities_of_a_link_task_cannot_be_removed(school: DuckDBConnector) -> None:
    made = LinkTask(
        school, "next", SPLITS, "who", "students", "picks", "students", "link_prediction"
    )
    for column, role in (("who", "source"), ("picks", "target")):
        with pytest.raises(FixedRoleError, match=f"is the {role} entity column"):
            made.remove_column(col_name=column)


def test_other_columns_can_be_removed_and_the_time_loses_its_role(
    task: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = task(time_column="moment")
    made.remove_column("moment")
    made.remove_column("amount")
    assert made.spec.time_column is None
    made.show_task()
    shown = capsys.readouterr().out
    assert "label" in shown
    assert "amount" not in shown
    with pytest.raises(UnknownNameError, match="Did you mean 'code'"):
        made.remove_column("cod")
    with pytest.raises(UnknownNameError):
        made.remove_column("amount")


@pytest.mark.parametrize(
    ("drop", "changes", "words"),
    [
        ("who", {}, "entity column"),
        ("label", {}, "label column"),
        ("moment", {"time_column": "moment"}, "time column"),
    ],
)
def test_a_validation_table_without_a_column_of_train_names_it_and_its_role(
    tmp_path: Path, drop: str, changes: dict[str, object], words: str
) -> None:
    connector = LocalConnector(connector_type="parquet", url=str(tmp_path))
    columns = {"who": [1, 2], "label": [0, 1], "moment": [datetime(2020, 1, 1)] * 2}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    pq.write_table(pa.table(columns).drop_columns([drop]), tmp_path / "valid.parquet")
    with pytest.raises(ValidationError) as caught:
        NodeTask(
            connector,
            "grade",
            {"train": "train.parquet", "validation": "valid.parquet"},
            "who",
            "students",
            "label",
            "binary_classification",
            **changes,
        )
    assert f"{words} in the validation table" in str(caught.value)
    assert repr(drop) in str(caught.value)
