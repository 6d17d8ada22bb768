"""A small school in a DuckDB file, and handles over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.spec.gnn_table import GNNTable
from rle.spec.table import ForeignKey
from rle.spec.task_handle import NodeTask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLES = """
    CREATE TABLE students AS SELECT range AS student_id, 'S' || range AS code,
        20.5::DOUBLE + range AS age, ['a', 'b'] AS tags, NULL::INTEGER AS nothing,
        '\\xAA'::BLOB AS photo, CASE WHEN range % 2 = 0 THEN 'red' ELSE 'blue' END AS colour
        FROM range(40);
    CREATE TABLE classes AS SELECT range AS class_id, 'a description of ' || range AS about,
        4 AS credits FROM range(30);
    CREATE TABLE takes AS SELECT range AS take_id, range AS student_id, range % 5 AS class_id,
        TIMESTAMP '2020-01-01' + to_days(range::INTEGER) AS at, range % 3 AS grade FROM range(40);
    CREATE TABLE friends AS SELECT range AS a, range + 1 AS b FROM range(39);
    CREATE TABLE islands AS SELECT range AS island_id FROM range(3);
    CREATE TABLE nobody AS SELECT range AS id FROM range(0);
    CREATE TABLE train AS SELECT range AS who, TIMESTAMP '2020-02-01' AS moment,
        range % 2 AS label, range * 1.5 AS amount, ['x'] AS labels, 'S' || range AS code,
        [range] AS picks FROM range(20);
    CREATE TABLE valid AS SELECT * FROM train;
    CREATE TABLE test AS SELECT who, moment, code FROM train;
    CREATE TABLE odd AS SELECT who, moment, 'yes' AS label, code, label AS amount FROM train;
"""
SPLITS = {
    "train": "school.main.train",
    "validation": "school.main.valid",
    "test": "school.main.test",
}


@pytest.fixture(scope="session")
def school_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("school") / "school.duckdb"
    with duckdb.connect(str(path)) as con:
        for statement in TABLES.split(";\n"):
            if statement.strip():
                con.execute(statement).fetchall()
    return path


@pytest.fixture(scope="session")
def school(school_file: Path) -> DuckDBConnector:
    return DuckDBConnector(database=str(school_file))


@pytest.fixture
def table(school: DuckDBConnector) -> Callable[..., GNNTable]:
    """Makes a GNNTable; roles are given as to GNNTable."""

    def make(name: str, **roles: object) -> GNNTable:
        return GNNTable(school, name, f"school.main.{name}", **roles)

    return make


@pytest.fixture
def tables(table: Callable[..., GNNTable]) -> list[GNNTable]:
    """Students, classes and who takes what, with a time column."""
    links = [
        ForeignKey("student_id", "students.student_id"),
        ForeignKey("class_id", "classes.class_id"),
    ]
    return [
        table("students", primary_key="student_id"),
        table("classes", primary_key="class_id"),
        table("takes", primary_key="take_id", foreign_keys=links, time_column="at"),
    ]


@pytest.fixture
def task(school: DuckDBConnector) -> Callable[..., NodeTask]:
    """Makes a NodeTask about students; arguments replace the defaults."""

    def make(**changes: object) -> NodeTask:
        arguments: dict[str, object] = {
            "name": "pass",
            "task_data_source": SPLITS,
            "source_entity_column": "who",
            "source_entity_table": "students",
            "target_column": "label",
            "task_type": "binary_classification",
            "time_column": "moment",
        }
        return NodeTask(school, **(arguments | changes))

    return make
