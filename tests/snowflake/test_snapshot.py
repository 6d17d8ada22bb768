"""A graph's snapshot out of Snowflake: the same as out of files, and all of one moment."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from rle.connectors.snowflake import moment as snowflake_moment
from rle.connectors.snowflake.names import TableName
from rle.connectors.snowflake.session import session
from rle.errors import DataError
from tests.graph.tiny import build, dataset, table_spec
from tests.snowflake.warehouse import PASSWORD, connector_to, new_schema

if TYPE_CHECKING:
    from pathlib import Path

    from rle.spec.dataset import DatasetSpec
    from rle.testing.fake_snowflake import FakeSnowflake

START = dt.datetime(2020, 1, 1)
USERS = pa.table({"id": range(50), "age": [float(i) for i in range(50)]})
ORDERS = pa.table(
    {
        "user_id": [None if i % 11 == 0 else i % 50 for i in range(900)],
        "t": [START + dt.timedelta(hours=(i * 37) % 900) for i in range(900)],
        "price": [i / 4 for i in range(900)],
    }
)


@pytest.fixture
def specs(
    snowflake_server: FakeSnowflake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[DatasetSpec, DatasetSpec]:
    """The same tables in files and in Snowflake."""
    monkeypatch.setenv(PASSWORD, snowflake_server.password)
    monkeypatch.setattr(snowflake_moment, "_warned", set())
    users = table_spec(tmp_path, "users", USERS, keys=("id",))
    orders = table_spec(tmp_path, "orders", ORDERS, links={"user_id": "users.id"}, time="t")
    files = dataset(tmp_path, users, orders)
    schema = new_schema(snowflake_server)
    tables = []
    for spec, rows in ((users, USERS), (orders, ORDERS)):
        name = TableName("SHOP", schema, spec.name)
        snowflake_server.put(tuple(name), rows)
        tables.append(spec.model_copy(update={"source": str(name)}))
    connector = connector_to(snowflake_server)
    changes = {"connector": connector, "tables": tuple(tables)}
    return files, files.model_copy(update=changes)


def manifest(folder: Path) -> dict[str, object]:
    (path,) = (folder / "snapshots").glob("*/manifest.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("rows_per_chunk", [100, 10**6])
def test_a_snapshot_is_that_of_files_with_the_same_rows(
    specs: tuple[DatasetSpec, DatasetSpec],
    snowflake_server: FakeSnowflake,
    tmp_path: Path,
    rows_per_chunk: int,
) -> None:
    snowflake_server.settings(rows_per_chunk=rows_per_chunk, first_rows=10)
    (tmp_path / "files").mkdir()
    (tmp_path / "snowflake").mkdir()
    for spec, folder in zip(specs, ("files", "snowflake"), strict=True):
        build(spec, tmp_path / folder)
    here, there = manifest(tmp_path / "files"), manifest(tmp_path / "snowflake")
    for key in ("graph", "num_rows", "relations", "files"):
        assert there[key] == here[key]
    moment = dt.datetime.fromisoformat(str(there["read_at"]))
    assert abs(dt.datetime.now(dt.UTC) - moment) < dt.timedelta(minutes=5)
    assert here["read_at"] is None


def test_without_time_travel_a_change_meanwhile_is_noticed(
    specs: tuple[DatasetSpec, DatasetSpec],
    snowflake_server: FakeSnowflake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snowflake_server.settings(time_travels=False)
    _, spec = specs
    from rle.graph.construct import Construction

    run = Construction.run

    def run_and_change(self: Construction, *args: object, **options: object) -> object:
        done = run(self, *args, **options)
        with session(connector_to(snowflake_server)) as opened:
            opened.execute(f'UPDATE {spec.tables[0].source} SET "age" = 1 WHERE "id" = 3')
        return done

    monkeypatch.setattr(Construction, "run", run_and_change)
    with pytest.raises(DataError, match="changed while they were read"):
        build(spec, tmp_path)
