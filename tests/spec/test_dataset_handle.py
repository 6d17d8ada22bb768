from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from rle.errors import DataError, UnknownNameError, ValidationError
from rle.spec.dataset import DatasetSpec
from rle.spec.dataset_handle import Dataset
from rle.spec.metric import EvaluationMetric
from rle.spec.table import ForeignKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rle.connectors.duckdb import DuckDBConnector
    from rle.spec.gnn_table import GNNTable
    from rle.spec.task_handle import NodeTask

# Stands in for Graphviz: writes which format it was asked for, then what it was given.
FAKE_DOT = """#!/bin/sh
for argument in "$@"; do case "$argument" in -T*) echo "drawn as ${argument#-T}";; esac; done
cat
"""


@pytest.fixture
def dataset(
    school: DuckDBConnector, tables: list[GNNTable], task: Callable[..., NodeTask]
) -> Dataset:
    return Dataset(connector=school, dataset_name="school", tables=tables, task_description=task())


def test_the_experiment_is_named_after_dataset_type_and_task(dataset: Dataset) -> None:
    assert dataset.experiment_name == "school/binary_classification/pass"
    assert "students, classes, takes" in repr(dataset)


def test_the_spec_equals_its_json_and_follows_the_handles(dataset: Dataset) -> None:
    spec = dataset.spec
    assert DatasetSpec.from_json(spec.to_json()) == spec
    dataset.task.set_evaluation_metric(EvaluationMetric("f1"))
    dataset.tables[0].remove_column("colour")
    assert dataset.spec.task.metric.name == "f1"
    assert "colour" not in {c.name for c in dataset.spec.table("students").columns}


def test_metadata_is_json_and_is_printed(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    dataset.print_data_config()
    printed = json.loads(capsys.readouterr().out)
    assert printed == dataset.metadata_dict
    assert [table["name"] for table in printed["tables"]] == ["students", "classes", "takes"]
    assert printed["task"]["entity_table"] == "students"
    assert printed["connector"]["kind"] == "duckdb"


def test_a_missing_link_target_is_told_with_the_nearest(
    school: DuckDBConnector,
    tables: list[GNNTable],
    table: Callable[..., GNNTable],
    task: Callable[..., NodeTask],
) -> None:
    for link, message in (
        ("student.student_id", "Did you mean 'students'"),
        ("students.student_ID", "Did you mean 'student_id'"),
        ("students.age", r"not one of its keys \['student_id'\]"),
        ("classes.class_id", "'friends.a' is integer but .* 'classes.class_id', is text"),
    ):
        tables[1] = table("classes", primary_key="class_id", column_dtypes={"class_id": "text"})
        friends = table("friends", foreign_keys=[ForeignKey("a", link)])
        with pytest.raises(ValidationError, match=message):
            Dataset(school, "school", [tables[0], tables[1], friends], task(time_column=None))


def test_a_link_to_an_edge_table_is_refused(
    school: DuckDBConnector,
    tables: list[GNNTable],
    table: Callable[..., GNNTable],
    task: Callable[..., NodeTask],
) -> None:
    links = [ForeignKey("a", "students.student_id"), ForeignKey("b", "students.student_id")]
    edges = table("friends", foreign_keys=links, type="edge")
    Dataset(school, "school", [*tables, edges], task())
    islands = table("islands", foreign_keys=[ForeignKey("island_id", "friends.a")])
    with pytest.raises(ValidationError, match="rows are edges"):
        Dataset(school, "school", [*tables, edges, islands], task())
    with pytest.raises(ValidationError, match="rows are edges"):
        Dataset(school, "school", [*tables, edges], task(source_entity_table="friends"))


def test_disconnected_tables_are_listed(
    school: DuckDBConnector,
    tables: list[GNNTable],
    table: Callable[..., GNNTable],
    task: Callable[..., NodeTask],
) -> None:
    islands = table("islands", primary_key="island_id")
    with pytest.raises(ValidationError, match=r"table 'students' to 'islands'\."):
        Dataset(school, "school", [*tables, islands], task())


def test_edge_tables_connect_but_are_no_vertices(
    school: DuckDBConnector,
    tables: list[GNNTable],
    table: Callable[..., GNNTable],
    task: Callable[..., NodeTask],
) -> None:
    links = [ForeignKey("a", "students.student_id"), ForeignKey("b", "classes.class_id")]
    edges = table("friends", foreign_keys=links, type="edge")
    Dataset(school, "school", [*tables[:2], edges], task(time_column=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_entity_table": "pupils"}, "no table named 'pupils'"),
        ({"source_entity_column": "code"}, r"'pass.code' is text but .* 'students.student_id'"),
        ({"time_column": None}, r"Tables \['takes'\] have a time column but task"),
        (
            {
                "source_entity_column": ForeignKey("who", "students.age"),
                "source_entity_table": None,
            },
            "key of table 'students' named 'age'",
        ),
    ],
)
def test_the_task_must_fit_the_tables(
    school: DuckDBConnector,
    tables: list[GNNTable],
    task: Callable[..., NodeTask],
    changes: dict[str, object],
    message: str,
) -> None:
    with pytest.raises(ValidationError, match=message):
        Dataset(school, "school", tables, task(**changes))


def test_a_timed_task_needs_a_timed_table(
    school: DuckDBConnector, tables: list[GNNTable], task: Callable[..., NodeTask]
) -> None:
    tables[2].unset_time_column("at")
    with pytest.raises(ValidationError, match="no table has one"):
        Dataset(school, "school", tables, task())


def test_every_table_is_validated(
    school: DuckDBConnector, tables: list[GNNTable], task: Callable[..., NodeTask]
) -> None:
    tables[1].unset_primary_key("class_id")
    with pytest.raises(ValidationError, match="needs at least one primary key or foreign key"):
        Dataset(school, "school", tables, task())


def test_an_entity_table_without_rows_is_refused_and_another_is_not(
    school: DuckDBConnector, table: Callable[..., GNNTable], task: Callable[..., NodeTask]
) -> None:
    friends = [ForeignKey("a", "students.student_id"), ForeignKey("b", "nobody.id")]
    tables = [
        table("students", primary_key="student_id"),
        table("nobody", primary_key="id"),
        table("friends", foreign_keys=friends),
    ]
    timeless = {"time_column": None}
    assert Dataset(school, "school", tables, task(**timeless)).spec.tables[1].name == "nobody"
    with pytest.raises(DataError, match=r"'nobody' \(school.main.nobody\) has no rows"):
        Dataset(school, "school", tables, task(source_entity_table="nobody", **timeless))


@pytest.mark.parametrize(
    ("name", "num_tables", "message"),
    [
        ("a/b", 3, "must not be empty or hold '/'"),
        ("a", 0, "has no tables"),
        ("a", 4, "two tables"),
    ],
)
def test_names_must_be_whole_and_unique(
    school: DuckDBConnector,
    tables: list[GNNTable],
    task: Callable[..., NodeTask],
    name: str,
    num_tables: int,
    message: str,
) -> None:
    with pytest.raises(ValidationError, match=message):
        Dataset(school, name, (tables * 2)[:num_tables], task())


def test_all_parts_come_from_one_place(
    school: DuckDBConnector, tables: list[GNNTable], task: Callable[..., NodeTask]
) -> None:
    with pytest.raises(ValidationError, match="another connector"):
        Dataset(school.replace(lock_timeout_s=1), "school", tables, task())
    with pytest.raises(ValidationError, match="must be GNNTable"):
        Dataset(school, "school", ["students"], task())
    with pytest.raises(ValidationError, match="must be a NodeTask"):
        Dataset(school, "school", tables, "pass")


def test_the_diagram_shows_tables_links_and_task(dataset: Dataset) -> None:
    diagram = dataset.visualize_dataset()
    assert diagram.get_nodes() == ["students", "classes", "takes", "pass"]
    assert str(diagram) == diagram.source == diagram.to_string()
    assert '"takes" -> "students" [label="student_id"];' in diagram.source
    assert '"task:" -> "students" [label="who", style=dashed];' in diagram.source
    assert "colour" not in diagram.source
    assert "colour: category" in dataset.visualize_dataset(show_dtypes=True).source


def test_graphviz_is_looked_up_when_drawing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diagram = dataset.visualize_dataset()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValidationError, match="no 'dot' on the PATH"):
        diagram.create_png()
    (tmp_path / "dot").write_text(FAKE_DOT)
    (tmp_path / "dot").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), "/usr/bin", "/bin"]))
    assert diagram.create_png().startswith(b"drawn as png\ndigraph")
    for ending in ("svg", "png", "pdf"):
        saved = diagram.save(tmp_path / "new" / f"schema.{ending}")
        assert saved.read_text().startswith(f"drawn as {ending}\n")
    with pytest.raises(UnknownNameError, match="diagram format"):
        diagram.save(tmp_path / "schema.gif")


def test_display_prints_the_text_outside_a_notebook(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    dataset.visualize_dataset().display()
    assert capsys.readouterr().out.startswith("digraph dataset")
