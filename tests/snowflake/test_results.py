"""Batches of results: each fetched alone, by whatever process, and again where it breaks off."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from rle.connectors.snowflake import results as snowflake_results
from rle.connectors.snowflake.driver import generation
from rle.errors import ConnectionError
from tests.connectors.warehouse import numbers
from tests.snowflake.cutter import Cutter
from tests.snowflake.sign_in import run
from tests.snowflake.warehouse import PASSWORD, connector_to

if TYPE_CHECKING:
    from rle.connectors.base import Chunk
    from rle.connectors.snowflake.connector import SnowflakeConnector
    from tests.snowflake.world import World


def tries() -> int:
    """How often the driver itself asks for a batch whose answer is cut."""
    return 10 if generation() < 5 else 1


def in_order(connector: SnowflakeConnector, chunks: list[Chunk]) -> list[int]:
    """The ids as they come, chunk by chunk, by a process that goes on."""
    return [i for chunk in chunks for batch in connector.read(chunk) for i in batch["id"].tolist()]


def test_a_network_cut_in_the_third_batch_of_seven(world: World) -> None:
    source = world.put("ORDERS", numbers(7000))
    world.server.settings(rows_per_chunk=1000, first_rows=0)
    with Cutter(world.server.port, path="/2", times=tries()) as proxy:
        connector = connector_to(world.server, port=proxy.port)
        chunks = connector.chunks(source, columns=["id", "name"], max_rows=1000)
        assert [chunk.num_rows for chunk in chunks] == [1000] * 7
        found: list[int] = []
        ran = world.statements(lambda: found.extend(in_order(connector, chunks)))
    assert found == list(range(7000))
    query = chunks[2].token["query_id"]
    asked = Counter(path for path in proxy.paths if path.startswith("/results/"))
    again = {f"/results/{query}/2": tries() + 1}
    assert asked == {f"/results/{query}/{i}": 1 for i in range(7)} | again
    assert not [sql for sql in ran if '"id"' in sql]
    assert proxy.paths.count(f"/queries/{query}/result") == 1


def test_a_network_that_stays_cut_fails_and_names_the_query(world: World) -> None:
    source = world.put("ORDERS", numbers(3000))
    world.server.settings(rows_per_chunk=1000, first_rows=0)
    with Cutter(world.server.port, path="/1", times=1000) as proxy:
        connector = connector_to(world.server, port=proxy.port)
        chunks = connector.chunks(source, columns=["id"], max_rows=1000)
        with pytest.raises(ConnectionError, match=r"Reading batch 1 of") as caught:
            in_order(connector, chunks)
    query = chunks[1].token["query_id"]
    assert f"query {query}, whose result" in str(caught.value)
    assert "signature" not in str(caught.value)
    assert proxy.paths.count(f"/results/{query}/1") == tries() * snowflake_results.ATTEMPTS


def test_a_storage_that_is_out_of_reach_is_no_account_that_is_away(world: World) -> None:
    source = world.put("ORDERS", numbers(300))
    world.server.settings(rows_per_chunk=100, first_rows=0)
    chunks = world.connector.chunks(source, columns=["id"], max_rows=100)
    world.server.fault("/results/", "http", status=403, times=1000)
    with pytest.raises(ConnectionError, match=r"SYSTEM\$ALLOWLIST\(\)") as caught:
        in_order(world.connector, chunks)
    assert str(caught.value).startswith(f"Reading batch 0 of {source} failed: ")
    assert "account's name" not in str(caught.value)
    assert "signature" not in str(caught.value)


def test_a_wrong_password_is_tried_once_for_a_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = world.put("ORDERS", numbers(300))
    world.server.settings(rows_per_chunk=100, first_rows=0)
    chunks = world.connector.chunks(source, columns=["id"], max_rows=100)
    monkeypatch.setenv(PASSWORD, "canary-wrong-9e")
    with Cutter(world.server.port, path="/nothing", times=0) as proxy:
        connector = connector_to(world.server, port=proxy.port)
        with pytest.raises(ConnectionError, match="refuses the user name or the password"):
            in_order(connector, chunks)
    assert proxy.paths.count("/session/v1/login-request") == 1


def test_a_batch_of_a_short_table_is_fetched_again_alone_too(world: World) -> None:
    source = world.put("ORDERS", numbers(7000))
    world.server.settings(rows_per_chunk=1000, first_rows=500)
    with Cutter(world.server.port, path="/2", times=tries()) as proxy:
        connector = connector_to(world.server, port=proxy.port)
        (chunk,) = connector.chunks(source, columns=["id"])
        found: list[int] = []
        ran = world.statements(lambda: found.extend(in_order(connector, [chunk])))
    assert found == list(range(7000))
    assert len([sql for sql in ran if '"id"' in sql]) == 1
    asked = Counter(path for path in proxy.paths if path.startswith("/results/"))
    assert sorted(asked.values()) == [1] * 6 + [tries() + 1]
    assert not {query for _, query in snowflake_results._known} & {
        path.split("/")[2] for path in asked
    }


def test_a_batch_is_fetched_by_a_process_that_knows_its_chunk_alone(world: World) -> None:
    source = world.put("ORDERS", numbers(700))
    world.server.settings(rows_per_chunk=100, first_rows=0)
    chunk = world.connector.chunks(source, columns=["id"], max_rows=100)[3]
    code = f"""
from rle.connectors.base import Chunk
from rle.connectors.snowflake.connector import SnowflakeConnector
connector = SnowflakeConnector.from_json({world.connector.to_json()!r})
chunk = Chunk.from_json({chunk.to_json()!r})
print([i for batch in connector.read(chunk) for i in batch["id"].tolist()])
"""
    spawned: list[str] = []

    def spawn() -> None:
        spawned.append(run(code, **{PASSWORD: world.server.password}).strip())

    ran = world.statements(spawn)
    assert spawned == [str(list(range(300, 400)))]
    assert not [sql for sql in ran if '"id"' in sql]


@pytest.mark.parametrize("has_arrow", [True, False])
def test_a_batch_of_no_row_is_none_of_the_rows(world: World, has_arrow: bool) -> None:
    source = world.put("ORDERS", numbers(300))
    world.server.settings(rows_per_chunk=100, first_rows=0, has_arrow=has_arrow)
    chunks = world.connector.chunks(source, columns=["id"], max_rows=100)
    assert [chunk.num_rows for chunk in chunks] == [100, 100, 100]
    # Positions mean the same to both generations of the driver: one leaves the empty batch out.
    assert [chunk.token["first"] for chunk in chunks] == [0, 1, 2]
    assert in_order(world.connector, chunks) == list(range(300))


@pytest.mark.parametrize("has_arrow", [True, False])
def test_a_query_of_no_row_has_its_columns(world: World, has_arrow: bool) -> None:
    world.server.settings(has_arrow=has_arrow)
    source = world.put("EMPTY", numbers(0))
    (chunk,) = world.connector.chunks(source, columns=["id", "name"])
    assert list(world.connector.read(chunk)) == []
    sample = world.connector.sample(source, columns=["name", "id"], max_rows=5)
    assert sample.schema.equals(pa.schema({"name": pa.string(), "id": pa.int64()}))
    assert sample.num_rows == 0


def test_a_batch_that_is_no_json_is_one_that_broke_off() -> None:
    class JSONResultBatch:
        rowcount = 1

        def create_iter(self) -> object:
            return json.loads("<html>Log in first</html>")

    with pytest.raises(ConnectionError, match=r"SHOP\.PUBLIC\.ORDERS came garbled"):
        list(snowflake_results.rows_of(JSONResultBatch(), pa.schema([]), "SHOP.PUBLIC.ORDERS"))


@pytest.mark.skipif(generation() > 4, reason="generation 5 makes no batch of what a test hands it")
def test_nanoseconds_of_the_year_9999_are_dropped_and_do_not_overflow() -> None:
    from snowflake.connector.arrow_context import ArrowConverterContext
    from snowflake.connector.result_batch import ArrowResultBatch

    kind = pa.struct([("epoch", pa.int64()), ("fraction", pa.int32())])
    meta = {"logicalType": "TIMESTAMP_NTZ", "scale": "9", "precision": "0", "finalType": "T"}
    schema = pa.schema([pa.field("AT", kind, metadata=meta | {"charLength": "0"})])
    last = {"epoch": 253402300799, "fraction": 999999999}
    told = io.BytesIO()
    with pa.ipc.new_stream(told, schema) as stream:
        stream.write_batch(pa.record_batch([pa.array([last, None], kind)], schema=schema))
    text = base64.b64encode(told.getvalue()).decode()
    context = ArrowConverterContext({"TIMEZONE": "UTC"})
    batch = ArrowResultBatch.from_data(text, 2, context, False, False, [], True)
    wanted = pa.schema([("AT", pa.timestamp("us"))])
    (found,) = snowflake_results.rows_of(batch, wanted, "SHOP.PUBLIC.T")
    moment = dt.datetime(9999, 12, 31, 23, 59, 59, 999999)
    assert found["AT"].to_pylist() == [moment, None]
