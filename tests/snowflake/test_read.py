"""Reading from the stand-in for Snowflake: chunks, batches, moments, and what goes wrong."""

from __future__ import annotations

import datetime as dt
import json
import logging
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from rle.connectors.snowflake import results as snowflake_results
from rle.connectors.snowflake.session import close_sessions
from rle.errors import (
    ConnectionError,
    DataError,
    NotSeenError,
    PermissionError,
    UnknownNameError,
    ValidationError,
)
from tests.connectors.warehouse import numbers, read_all
from tests.snowflake.warehouse import connector_to
from tests.snowflake.world import all_rows

if TYPE_CHECKING:
    from rle.connectors.base import Chunk
    from tests.snowflake.world import World


def test_a_long_table_is_selected_once_and_its_batches_are_chunks(world: World) -> None:
    source = world.put("ORDERS", numbers(1000))
    world.server.settings(rows_per_chunk=150, first_rows=20)
    chunks: list[Chunk] = []
    ran = world.statements(
        lambda: chunks.extend(world.connector.chunks(source, columns=["id"], max_rows=300))
    )
    selects = [sql for sql in ran if '"id"' in sql]
    assert selects == [f'SELECT "id" FROM "SHOP"."{world.schema}"."ORDERS"']
    assert [chunk.num_rows for chunk in chunks] == [170, 300, 300, 230]
    again = world.statements(lambda: all_rows(world.connector, chunks))
    assert not [sql for sql in again if '"id"' in sql]
    assert all_rows(world.connector, chunks) == list(range(1000))


def test_a_chunk_carries_no_address_and_no_key(world: World) -> None:
    source = world.put("ORDERS", numbers(400))
    world.server.settings(rows_per_chunk=150, first_rows=20)
    for chunk in world.connector.chunks(source, columns=["id", "name"], max_rows=100):
        assert set(chunk.token) == {"query_id", "first", "stop", "types"}
        assert "signature" not in chunk.to_json()
        assert world.server.password not in chunk.to_json()
        assert len(chunk.to_json()) < 400


def test_only_the_columns_that_are_needed_are_selected(world: World) -> None:
    source = world.put("ORDERS", numbers(50))

    def read() -> None:
        read_all(world.connector, source, ["half", "id"], 1000)

    selects = [sql for sql in world.statements(read) if "half" in sql]
    assert selects == [f'SELECT "half", "id" FROM "SHOP"."{world.schema}"."ORDERS"']


@pytest.mark.parametrize("word", ["order", "select", "TABLE", "group"])
def test_reserved_words_name_tables_and_columns(world: World, word: str) -> None:
    rows = pa.table({"FROM": range(40), word.upper(): range(40)})
    world.put(word.upper(), rows)
    source = f"shop.{world.schema.lower()}.{word}"
    columns = [word.upper(), "FROM"]
    assert world.connector.arrow_schema(source).names == ["FROM", word.upper()]
    assert read_all(world.connector, source, columns, 100).num_rows == 40
    assert world.connector.sample(source, columns=columns, max_rows=7).num_rows == 7
    assert world.connector.version(source)
    world.server.settings(rows_per_chunk=10**9)  # in one piece, so by ranges
    assert read_all(world.connector, source, columns, 10).num_rows == 40


def test_rows_without_columns_still_count(world: World) -> None:
    source = world.put("ORDERS", numbers(500))
    world.server.settings(rows_per_chunk=150)
    chunks = world.connector.chunks(source, columns=[], max_rows=100)
    assert sum(batch.num_rows for chunk in chunks for batch in world.connector.read(chunk)) == 500


@pytest.mark.parametrize("has_key", [True, False])
def test_a_result_in_one_piece_is_read_in_ranges(world: World, has_key: bool) -> None:
    world.server.settings(rows_per_chunk=10**9)
    ids = [None if i % 9 == 0 else i % 700 for i in range(1000)]
    rows = pa.table({"text": [str(i) for i in range(1000)], "id": pa.array(ids, pa.int64())})
    source = world.put("ORDERS", rows)
    if has_key:
        world.sql(f'ALTER TABLE {source} ADD PRIMARY KEY ("text")')
    chunks: list[Chunk] = []
    ran = world.statements(
        lambda: chunks.extend(world.connector.chunks(source, columns=["id", "text"], max_rows=200))
    )
    assert not any(sql.endswith('."ORDERS"') and '"id", "text"' in sql for sql in ran)
    column = {chunk.token["range"]["column"] for chunk in chunks}
    assert column == {"text" if has_key else "id"}
    assert 4 <= len(chunks) <= 6
    found = [batch for chunk in chunks for batch in world.connector.read(chunk)]
    table = pa.Table.from_batches(found)
    assert sorted(table["text"].to_pylist(), key=int) == rows["text"].to_pylist()
    assert max(batch.num_rows for batch in found) < 350


def test_a_table_that_nothing_splits_is_one_chunk(world: World) -> None:
    world.server.settings(rows_per_chunk=10**9)
    source = world.put("FLAGS", pa.table({"id": [True, False, None] * 100}))
    (chunk,) = world.connector.chunks(source, columns=["id"], max_rows=100)
    assert sum(batch.num_rows for batch in world.connector.read(chunk)) == 300


def test_types_of_lists_travel_with_the_chunk(world: World) -> None:
    rows = pa.table({"id": range(300), "tags": ['["a"]'] * 300, "vector": ["[1.5, 2]"] * 300})
    source = world.put("TAGGED", rows, tags="VARIANT", vector="ARRAY")
    world.server.settings(rows_per_chunk=100, first_rows=10)
    chunks = world.connector.chunks(source, columns=["tags", "vector"], max_rows=100)
    ran = world.statements(lambda: [list(world.connector.read(chunk)) for chunk in chunks])
    assert not ran
    for batch in world.connector.read(chunks[-1]):
        assert batch.schema.types == [pa.list_(pa.string()), pa.list_(pa.float64())]
        assert batch.to_pylist()[0] == {"tags": ["a"], "vector": [1.5, 2.0]}


# --- As of one moment ----------------------------------------------------------------------------


def test_all_tables_are_read_as_of_one_moment(world: World) -> None:
    sources = [world.put(name, numbers(30)) for name in ("A", "B")]
    connector, moment = world.connector.at_one_moment(sources)
    assert moment is not None
    assert dt.datetime.fromisoformat(moment).tzinfo == dt.UTC
    assert connector.read_at == moment
    for source in sources:
        ran = world.statements(lambda s=source: read_all(connector, s, ["id"], 100))
        assert any("AT(TIMESTAMP =>" in sql for sql in ran)
    assert connector.version(sources[0]) == connector.version(sources[0])
    assert connector.num_rows(sources[0]) == 30
    assert connector.sample(sources[0], max_rows=5).num_rows == 5


def test_without_time_travel_it_is_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.server.settings(time_travels=False)
    source = world.put("A", numbers(30))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert world.connector.at_one_moment([source]) == (world.connector, None)
    said = [record.getMessage() for record in caplog.records if "AT(TIMESTAMP" in record.message]
    assert len(said) == 1
    assert source in said[0]
    assert read_all(world.connector, source, ["id"], 100).num_rows == 30


def test_a_table_that_is_closed_is_not_said_to_have_no_past(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    closed, gone = world.put("CLOSED", numbers(3)), world.name("GONE")
    world.server.revoke("SELECT", "TABLE", closed)
    with caplog.at_level(logging.WARNING):
        connector, moment = world.connector.at_one_moment([closed, gone])
    assert moment is not None
    assert not caplog.records
    with pytest.raises(PermissionError, match="GRANT SELECT ON TABLE"):
        connector.num_rows(closed)
    with pytest.raises(UnknownNameError, match="GONE"):
        connector.num_rows(gone)


def test_a_moment_can_be_named_or_declined(world: World) -> None:
    source = world.put("A", numbers(3))
    plain = connector_to(world.server, read_at=None)
    assert plain.at_one_moment([source]) == (plain, None)
    past = connector_to(world.server, read_at="2001-01-01T00:00:00+00:00")
    assert past.at_one_moment([source]) == (past, "2001-01-01T00:00:00+00:00")
    with pytest.raises(ValidationError, match="does not keep its past so long"):
        past.num_rows(source)


# --- What changes, and what that is noticed by ---------------------------------------------------


def test_an_update_changes_the_version_of_a_table_without_a_scan(world: World) -> None:
    source = world.put("ORDERS", numbers(100))
    first = world.connector.version(source)
    ran = world.statements(lambda: world.connector.version(source))
    assert not any(f'FROM "SHOP"."{world.schema}"."ORDERS"' in sql for sql in ran)
    world.sql(f'UPDATE {source} SET "name" = \'other\' WHERE "id" = 3')
    assert world.connector.version(source) != first


def test_an_update_below_a_view_changes_its_version(world: World) -> None:
    source = world.put("ORDERS", numbers(100))
    view = world.name("RECENT")
    world.sql(f"CREATE VIEW {view} AS SELECT * FROM {source}")
    first = world.connector.version(view)
    assert world.connector.version(view) == first
    world.sql(f'UPDATE {source} SET "name" = \'other\' WHERE "id" = 3')
    assert world.connector.version(view) != first


def test_a_sample_of_few_distinct_rows_is_whole(world: World) -> None:
    source = world.put("SAME", pa.table({"id": [1, 2] * 500}))
    assert world.connector.sample(source, max_rows=100).num_rows == 100


def test_a_sample_without_an_answer_about_the_key_is_none(world: World) -> None:
    source = world.put("ORDERS", numbers(500))
    connector = connector_to(world.server, network_timeout_s=1)
    assert connector.num_rows(source) == 500
    world.server.fault("/queries", "http", times=10_000, contains="SHOW PRIMARY KEYS")
    with pytest.raises(ConnectionError, match="server failed inside"):
        connector.sample(source, max_rows=5)


def test_a_sample_asks_for_few_rows(world: World) -> None:
    source = world.put("ORDERS", numbers(5000))
    sample = world.connector.sample(source, columns=["id"], max_rows=100)
    assert sample.num_rows == 100
    assert world.connector.sample(source, columns=["id"], max_rows=100).equals(sample)


# --- Faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cut", "drop", "http"])
def test_a_batch_that_breaks_off_is_fetched_again_alone(world: World, kind: str) -> None:
    source = world.put("ORDERS", numbers(700))
    world.server.settings(rows_per_chunk=100, first_rows=0)
    chunks = world.connector.chunks(source, columns=["id"], max_rows=100)
    assert len(chunks) == 7
    world.server.fault("/results/", kind, skip=2, times=1)
    assert all_rows(world.connector, chunks) == list(range(700))
    assert world.server.state()["faults"] == 0


def test_addresses_that_have_expired_are_asked_for_again(world: World) -> None:
    source = world.put("ORDERS", numbers(300))
    world.server.settings(rows_per_chunk=100, first_rows=10)
    chunks = world.connector.chunks(source, columns=["id"], max_rows=100)
    key = (world.connector.to_json(), chunks[0].token["query_id"])
    known = snowflake_results._known[key]
    old = known._replace(since=known.since - snowflake_results.KNOWN_FOR_S - 1)
    snowflake_results._known[key] = old
    found = [b["id"].to_pylist() for chunk in chunks for b in world.connector.read(chunk)]
    assert sorted(i for ids in found for i in ids) == list(range(300))
    assert snowflake_results._known[key].since > old.since


def test_a_result_that_is_gone_is_not_mixed_with_another(world: World) -> None:
    source = world.put("ORDERS", numbers(300))
    world.server.settings(rows_per_chunk=100, first_rows=10)
    chunk = world.connector.chunks(source, columns=["id"], max_rows=100)[1]
    lost = chunk.model_copy(update={"token": chunk.token | {"query_id": "no-such-query"}})
    ran: list[str] = []
    with pytest.raises(ConnectionError, match=r"no-such-query.*not run again"):
        ran += world.statements(lambda: list(world.connector.read(lost)))
    assert not ran


def test_server_errors_pass(world: World) -> None:
    source = world.put("ORDERS", numbers(50))
    world.server.fault("/queries/v1/query-request", times=2)
    assert read_all(world.connector, source, ["id"], 100).num_rows == 50


def test_an_expired_session_is_opened_again_between_chunks(world: World) -> None:
    source = world.put("ORDERS", numbers(300))
    world.server.settings(rows_per_chunk=100, first_rows=10)
    chunks = world.connector.chunks(source, columns=["id"], max_rows=100)
    world.server.expire(session=True, master=True)
    assert all_rows(world.connector, chunks) == list(range(300))


@pytest.mark.parametrize("way", ["close", "expire"])
def test_batches_outlive_the_session_that_found_them(world: World, way: str) -> None:
    source = world.put("ORDERS", numbers(300))
    world.server.settings(rows_per_chunk=100, first_rows=10)
    chunks = world.connector.chunks(source, columns=["id"], max_rows=100)
    if way == "close":
        close_sessions()
    else:
        world.server.expire(session=True, master=True)
    found = [b["id"].to_pylist() for chunk in chunks for b in world.connector.read(chunk)]
    assert sorted(i for ids in found for i in ids) == list(range(300))


def test_a_table_dropped_since_is_named(world: World) -> None:
    source = world.put("ORDERS", numbers(50))
    (chunk,) = world.connector.chunks(source, columns=["id"])
    world.sql(f"DROP TABLE {source}")
    with pytest.raises(NotSeenError, match="ORDERS"):
        list(world.connector.read(chunk))
    with pytest.raises(NotSeenError, match="ORDERS"):
        world.connector.chunks(source, columns=["id"])


def test_a_column_dropped_since_is_named(world: World) -> None:
    source = world.put("ORDERS", numbers(50))
    world.sql(f"DROP TABLE {source}")
    world.put("ORDERS", numbers(50).drop_columns("half"))
    with pytest.raises(UnknownNameError, match="half"):
        world.connector.chunks(source, columns=["id", "half"])


def test_a_column_whose_type_changed_since_is_named(world: World) -> None:
    source = world.put("ORDERS", numbers(50))
    (chunk,) = world.connector.chunks(source, columns=["id"])
    text = numbers(50).set_column(0, "id", pa.array([f"x{i}" for i in range(50)]))
    world.sql(f"DROP TABLE {source}")
    world.put("ORDERS", text)
    with pytest.raises(DataError, match=r"'id' of .*ORDERS was found to be int64, but holds 'x0'"):
        list(world.connector.read(chunk))


def test_a_view_over_a_dropped_table_is_named(world: World) -> None:
    source = world.put("ORDERS", numbers(50))
    view = world.name("RECENT")
    world.sql(f"CREATE VIEW {view} AS SELECT * FROM {source}")
    world.sql(f"DROP TABLE {source}")
    with pytest.raises(DataError, match="RECENT"):
        world.connector.chunks(view, columns=["id"])


def test_an_empty_table_is_one_chunk_of_its_types(world: World) -> None:
    source = world.put("EMPTY", numbers(0))
    (chunk,) = world.connector.chunks(source, columns=["name", "id"])
    assert chunk.num_rows == 0
    assert sum(batch.num_rows for batch in world.connector.read(chunk)) == 0
    assert json.loads(chunk.to_json())["token"]["types"] == ["string", "int64"]
