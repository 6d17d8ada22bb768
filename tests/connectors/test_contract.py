"""What every connector must do, whatever is behind it."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pydantic
import pytest

from rle.connectors import duckdb_sql as sql
from rle.connectors.base import Chunk, Connector, NewTable
from rle.connectors.registry import AnyConnector
from rle.connectors.survey import Closed, Surveyed
from rle.errors import OutputExistsError, UnknownNameError, ValidationError
from tests.connectors.warehouse import WAREHOUSES, every_type, failing, numbers, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.warehouse import Warehouse

ODD_NAMES = ["naïve 表", 'we"ird', "it's", "dotted.name", "select", "UPPER lower", "a--b; drop"]


@pytest.fixture(params=WAREHOUSES, ids=lambda cls: cls.__name__)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    folder = tmp_path / "store"
    folder.mkdir()
    return request.param(folder)


def test_schema_has_the_columns_in_order(warehouse: Warehouse) -> None:
    source = warehouse.put("orders", numbers(10))
    assert warehouse.connector().arrow_schema(source) == numbers(10).schema


def test_num_rows_is_exact(warehouse: Warehouse) -> None:
    assert warehouse.connector().num_rows(warehouse.put("orders", numbers(1234))) == 1234


@pytest.mark.parametrize("max_rows", [1, 99, 100, 250, 10_000])
def test_chunks_hold_every_row_once(warehouse: Warehouse, max_rows: int) -> None:
    num_rows = 451 if max_rows > 1 else 5
    source = warehouse.put("orders", numbers(num_rows))
    rows = read_all(warehouse.connector(), source, ["id", "name", "half"], max_rows)
    assert rows.sort_by("id").equals(numbers(num_rows))


def test_chunks_are_independent_values(warehouse: Warehouse) -> None:
    source = warehouse.put("orders", numbers(451))
    connector = warehouse.connector()
    chunks = connector.chunks(source, columns=["id"], max_rows=200)
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert (len(chunks) > 1) == warehouse.splits
    for chunk in reversed(chunks):
        rows = sum(batch.num_rows for batch in connector.read(Chunk.from_json(chunk.to_json())))
        assert chunk.num_rows in {None, rows}


def test_columns_come_in_the_order_asked(warehouse: Warehouse) -> None:
    source = warehouse.put("orders", numbers(10))
    rows = read_all(warehouse.connector(), source, ["half", "id"], 100)
    assert rows.equals(numbers(10).select(["half", "id"]))


def test_an_empty_source_keeps_its_schema(warehouse: Warehouse) -> None:
    source = warehouse.put("empty", numbers(0))
    connector = warehouse.connector()
    assert connector.num_rows(source) == 0
    assert connector.arrow_schema(source).names == ["id", "name", "half"]
    assert len(connector.chunks(source, columns=["id"])) == 1
    assert read_all(connector, source, ["id", "name"], 100).num_rows == 0
    assert connector.sample(source, max_rows=10).num_rows == 0


def test_every_type_survives(warehouse: Warehouse) -> None:
    rows = every_type()
    if warehouse.flat_only:
        # Text knows neither lists nor the width of a number.
        rows = rows.select(["flag", "large", "text", "long", "day", "zoned"])
    source = warehouse.put("types", rows)
    connector = warehouse.connector()
    schema = connector.arrow_schema(source)
    # DuckDB reads a fixed-size list from a Parquet file as a list.
    stored = warehouse.stored(rows.schema)
    assert schema.remove(len(schema) - 1) == stored.remove(len(schema) - 1)
    assert read_all(connector, source, rows.column_names, 2).to_pylist() == rows.to_pylist()


def test_encodings_of_a_type_do_not_come_out(warehouse: Warehouse) -> None:
    coded = pa.table({"id": [1, 2], "kind": pa.array(["a", "b"]).dictionary_encode()})
    connector = warehouse.connector()
    source = warehouse.put("coded", coded)
    assert connector.arrow_schema(source).field("kind").type == pa.string()
    assert read_all(connector, source, ["kind"], 10)["kind"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_table_names_work(warehouse: Warehouse, name: str) -> None:
    source = warehouse.put(name, numbers(5))
    connector = warehouse.connector()
    assert connector.exists(source)
    assert read_all(connector, source, ["id"], 10).num_rows == 5
    assert connector.sources() or connector.exists(source)


def test_odd_column_names_work(warehouse: Warehouse) -> None:
    rows = pa.table({name: [i] for i, name in enumerate(ODD_NAMES)})
    source = warehouse.put("odd", rows)
    connector = warehouse.connector()
    back = read_all(connector, source, ODD_NAMES[::-1], 10)
    assert back.to_pylist() == rows.select(ODD_NAMES[::-1]).to_pylist()


def test_a_column_called_rowid_is_only_a_column(warehouse: Warehouse) -> None:
    rows = pa.table({"rowid": [7, 7, 9], "id": [1, 2, 3]})
    source = warehouse.put("odd", rows)
    assert read_all(warehouse.connector(), source, ["rowid", "id"], 2).equals(rows)


def test_a_survey_says_of_each_source_what_that_says_by_itself(warehouse: Warehouse) -> None:
    tables = {"orders": numbers(451), 'we"ird': numbers(5), "empty": numbers(0)}
    sources = [warehouse.put(name, rows) for name, rows in tables.items()]
    connector = warehouse.connector()
    gone = sources[0].replace("orders", "orderz")
    *seen, closed = connector.survey([*sources, gone], max_rows=100)
    assert [item.source for item in seen] == sources
    for item in seen:
        assert isinstance(item, Surveyed)
        assert item.sample.equals(connector.sample(item.source, max_rows=100))
        assert item.sample.schema == connector.arrow_schema(item.source)
        assert item.keys == connector.table_keys(item.source)
    assert isinstance(closed, Closed)
    assert closed.source == gone
    assert isinstance(closed.error, UnknownNameError)


def test_missing_names_are_told_with_the_nearest(warehouse: Warehouse) -> None:
    source = warehouse.put("orders", numbers(5))
    connector = warehouse.connector()
    with pytest.raises(UnknownNameError, match=r"Did you mean .*orders"):
        connector.arrow_schema(warehouse.name("ordres"))
    with pytest.raises(UnknownNameError, match="Did you mean 'half'"):
        connector.chunks(source, columns=["id", "halve"])
    assert not connector.exists(warehouse.name("ordres"))


@pytest.mark.parametrize("name", ["orders", "main.orders", "a.b.c.d", "", ".main.orders", 'a.b."c'])
def test_malformed_names_show_the_form(warehouse: Warehouse, name: str) -> None:
    with pytest.raises(ValidationError, match=r"DB\.SCHEMA\.TABLE, such as .*(orders|ORDERS)"):
        warehouse.connector().arrow_schema(name)


def test_sample_is_spread_and_the_same_each_time(warehouse: Warehouse) -> None:
    source = warehouse.put("orders", numbers(5000))
    connector = warehouse.connector()
    sample = connector.sample(source, max_rows=320)
    ids = sample["id"].to_pylist()
    assert sample.num_rows == 320
    assert len(set(ids)) == 320
    if warehouse.samples_in_order:
        assert (ids[0], ids[-1]) == (0, 4999)
        assert max(b - a for a, b in itertools.pairwise(ids)) < 300
    else:
        tenths = Counter(number // 500 for number in ids)
        assert all(10 < tenths[i] < 60 for i in range(10))
    assert connector.sample(source, max_rows=320).equals(sample)


def test_sample_of_few_rows_is_all_of_them(warehouse: Warehouse) -> None:
    source = warehouse.put("orders", numbers(20))
    sample = warehouse.connector().sample(source, columns=["name", "id"], max_rows=20)
    assert sample.equals(numbers(20).select(["name", "id"]))


def test_connector_pickles_and_equals_its_json(warehouse: Warehouse) -> None:
    connector = warehouse.connector()
    assert pickle.loads(pickle.dumps(connector)) == connector
    adapter = pydantic.TypeAdapter(AnyConnector)
    assert adapter.validate_json(connector.to_json()) == connector
    assert type(connector).from_json(connector.to_json()) == connector


def _sum_of_ids(connector: Connector, chunk: Chunk) -> int:
    return sum(sum(batch["id"].to_pylist()) for batch in connector.read(chunk))


def test_several_processes_read_at_once(warehouse: Warehouse) -> None:
    source = warehouse.put("orders", numbers(400))
    connector = warehouse.connector()
    chunks = connector.chunks(source, columns=["id"], max_rows=100)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        total = sum(pool.map(_sum_of_ids, [connector] * len(chunks), chunks))
    assert total == sum(range(400))


def test_version_changes_with_the_rows(warehouse: Warehouse) -> None:
    connector = warehouse.connector()
    first, second = warehouse.put("one", numbers(50)), warehouse.put("two", numbers(51))
    assert connector.version(first) == connector.version(first)
    assert connector.version(first) != connector.version(second)


def test_written_rows_come_back(warehouse: Warehouse) -> None:
    rows = numbers(300)
    table = warehouse.name("PREDICTIONS_JUNE")
    writer = warehouse.writer()
    writer.can_create(table)
    assert writer.write(table, rows.to_batches(100), schema=rows.schema) == 300
    connector = warehouse.connector()
    assert connector.exists(table)
    assert read_all(connector, table, rows.column_names, 1000).equals(rows)


def test_every_type_can_be_written(warehouse: Warehouse) -> None:
    rows = every_type()
    table = warehouse.name("PREDICTIONS_JUNE")
    warehouse.writer().write(table, rows.to_batches(), schema=rows.schema)
    connector = warehouse.connector()
    assert connector.num_rows(table) == 3
    if not warehouse.flat_only:
        assert read_all(connector, table, rows.column_names, 10).to_pylist() == rows.to_pylist()


def test_no_rows_make_an_empty_table(warehouse: Warehouse) -> None:
    table = warehouse.name("PREDICTIONS_JUNE")
    assert warehouse.writer().write(table, [], schema=numbers(0).schema) == 0
    assert warehouse.connector().num_rows(table) == 0


def test_nothing_is_overwritten(warehouse: Warehouse) -> None:
    source = warehouse.put("orders", numbers(5))
    writer = warehouse.writer()
    before = warehouse.leftovers()
    with pytest.raises(OutputExistsError, match="never overwritten"):
        writer.can_create(source)
    with pytest.raises(OutputExistsError, match="never overwritten"):
        writer.write(source, numbers(9).to_batches(), schema=numbers(9).schema)
    assert warehouse.connector().num_rows(source) == 5
    assert warehouse.leftovers() == before


def test_a_name_taken_while_rows_stream_in_is_kept(warehouse: Warehouse) -> None:
    table = warehouse.name("taken")

    def rows():
        yield from numbers(3).to_batches()
        warehouse.writer().write(table, numbers(7).to_batches(), schema=numbers(7).schema)

    with pytest.raises(OutputExistsError):
        warehouse.writer().write(table, rows(), schema=numbers(3).schema)
    assert warehouse.connector().num_rows(table) == 7


def test_a_failed_write_leaves_nothing(warehouse: Warehouse) -> None:
    before = warehouse.leftovers()
    table = warehouse.name("PREDICTIONS_JUNE")
    with pytest.raises(RuntimeError, match="the model broke"):
        warehouse.writer().write(table, failing(numbers(500)), schema=numbers(0).schema)
    assert not warehouse.connector().exists(table)
    assert warehouse.leftovers() == before


PAIR = ("EMBEDDINGS_JUNE", "PREDICTIONS_JUNE")


def put_pair(warehouse: Warehouse, num_rows: int, **options: object) -> list[int]:
    """Write both tables, each with `num_rows` rows, in turns."""
    tables = [NewTable(warehouse.name(name), numbers(0).schema) for name in PAIR]
    batches = numbers(num_rows).to_batches(100)
    rows = [(index, batch) for batch in batches for index in (1, 0)]
    return warehouse.writer().write_tables(tables, rows, **options)


def rows_of_pair(warehouse: Warehouse) -> list[int | None]:
    connector = warehouse.connector()
    names = [warehouse.name(name) for name in PAIR]
    return [connector.num_rows(name) if connector.exists(name) else None for name in names]


def test_several_tables_appear_together(warehouse: Warehouse) -> None:
    before = warehouse.leftovers()
    assert put_pair(warehouse, 250) == [250, 250]
    assert rows_of_pair(warehouse) == [250, 250]
    table = warehouse.name(PAIR[0])
    assert read_all(warehouse.connector(), table, ["id"], 9999).equals(numbers(250).select(["id"]))
    assert len(warehouse.leftovers() - before) in {0, 2}


@pytest.mark.parametrize("taken", [0, 1])
def test_of_several_tables_none_appears_where_one_name_is_taken(
    warehouse: Warehouse, taken: int
) -> None:
    warehouse.put(PAIR[taken], numbers(7))
    before = warehouse.leftovers()
    with pytest.raises(OutputExistsError, match="never overwritten"):
        put_pair(warehouse, 5)
    assert rows_of_pair(warehouse) == [7 if taken == i else None for i in (0, 1)]
    assert warehouse.leftovers() == before


def test_a_name_taken_meanwhile_undoes_all_tables(warehouse: Warehouse) -> None:
    tables = [NewTable(warehouse.name(name), numbers(0).schema) for name in PAIR]

    def rows():
        yield from ((i, batch) for i in (0, 1) for batch in numbers(5).to_batches())
        warehouse.writer().write(tables[1].name, numbers(7).to_batches(), schema=tables[1].schema)

    with pytest.raises(OutputExistsError):
        warehouse.writer().write_tables(tables, rows())
    assert rows_of_pair(warehouse) == [None, 7]


def test_told_to_replace_it_replaces_and_removes(warehouse: Warehouse) -> None:
    put_pair(warehouse, 5)
    after_first = warehouse.leftovers()
    names = [warehouse.name(name) for name in PAIR]
    writer = warehouse.writer()
    for name in names:
        writer.can_create(name, replace=True)
    put_pair(warehouse, 8, replacing=names)
    assert rows_of_pair(warehouse) == [8, 8]
    assert warehouse.leftovers() == after_first
    # Only one of the two is written now; the other would be a table of another run.
    alone, old = [NewTable(names[1], numbers(0).schema)], names
    writer.write_tables(alone, ((0, b) for b in numbers(3).to_batches()), replacing=old)
    assert rows_of_pair(warehouse) == [None, 3]


def test_a_name_to_replace_may_be_free(warehouse: Warehouse) -> None:
    put_pair(warehouse, 5, replacing=[warehouse.name(name) for name in PAIR])
    assert rows_of_pair(warehouse) == [5, 5]


def test_rows_that_fail_replace_nothing(warehouse: Warehouse) -> None:
    put_pair(warehouse, 5)
    before = warehouse.leftovers()
    tables = [NewTable(warehouse.name(name), numbers(0).schema) for name in PAIR]
    rows = ((0, batch) for batch in failing(numbers(500)))
    with pytest.raises(RuntimeError, match="the model broke"):
        warehouse.writer().write_tables(tables, rows, replacing=[t.name for t in tables])
    assert rows_of_pair(warehouse) == [5, 5]
    assert warehouse.leftovers() == before


@pytest.mark.parametrize("old", [None, 5])
def test_an_error_at_any_step_of_the_swap_changes_nothing(
    warehouse: Warehouse,
    old: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if old is not None:
        put_pair(warehouse, old)
    before = warehouse.leftovers()
    names = [warehouse.name(name) for name in PAIR]
    failed = 0
    for step in itertools.count():
        with monkeypatch.context() as patch:
            calls = interrupt_at(step, patch)
            try:
                put_pair(warehouse, 8, replacing=names if old else ())
            except KeyboardInterrupt:
                assert rows_of_pair(warehouse) == [old, old]
                assert warehouse.leftovers() == before
                failed += 1
                continue
        assert next(calls) == step  # there is no further one
        break
    assert rows_of_pair(warehouse) == [8, 8]
    assert failed >= (4 if old else 2)


def interrupt_at(step: int, patch: pytest.MonkeyPatch) -> Iterator[int]:
    """Press Ctrl-C at the call number `step` of those that make or remove a table."""
    calls = itertools.count()

    def interrupted_once(real):
        def call(*arguments, **options):
            if next(calls) == step:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return call

    for owner, names in ((Path, ("rename", "hardlink_to")), (sql, ("drop_table", "create_table"))):
        for name in names:
            patch.setattr(owner, name, interrupted_once(getattr(owner, name)))
    patch.setattr(sql, "commit", interrupted_once(sql.commit))
    return calls
