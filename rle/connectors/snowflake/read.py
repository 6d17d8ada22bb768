"""Reading tables of Snowflake: what they are, a sample, and chunks that any process can read.

A long table is one SELECT of the columns that are needed. Snowflake cuts its result into batches
and keeps it for a day; a chunk names the query and its batches, and whoever reads the chunk fetches
them through a session of its own. Where the server hands out a result in one piece, the table is
read in ranges of a column instead (see `ranges`). A short table is one chunk, whose
SELECT runs where the chunk is read.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rle.connectors.arrow import project
from rle.connectors.base import CHUNK_ROWS, Chunk
from rle.connectors.names import quote
from rle.connectors.snowflake import moment as moments
from rle.connectors.snowflake import names, ranges, results, tables
from rle.connectors.snowflake.session import session
from rle.connectors.snowflake.types import type_named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rle.connectors.snowflake.connector import SnowflakeConnector
    from rle.connectors.snowflake.session import Session
    from rle.connectors.snowflake.tables import Table

_TRIED_FROM = 4
"""Above so many chunks' worth of rows, it is first tried with half of that whether the server
cuts its results: one that does not would send them all with its answer."""
_SAMPLE_SURPLUS = 4
"""Rows that the sample's first, cheap condition lets through, for each row that is kept."""


def schema(connector: SnowflakeConnector, source: str) -> pa.Schema:
    """Return names and types of the columns; see `Connector.arrow_schema`."""
    with _asking(connector, source) as opened:
        table = _find(opened, connector, source)
        return tables.with_lists(opened, table, table.schema)


def num_rows(connector: SnowflakeConnector, source: str) -> int:
    """Return the exact number of rows."""
    with _asking(connector, source) as opened:
        return tables.count_rows(opened, _find(opened, connector, source))


def version(connector: SnowflakeConnector, source: str) -> str:
    """Return a text that changes when the rows may have changed.

    Costs no scan of a table: Snowflake keeps when it was last altered. A view costs one.
    """
    with _asking(connector, source) as opened:
        table = _find(opened, connector, source)
        if table.moment is not None:
            changed = f"at {table.moment}"  # what was then, will always have been
        else:
            changed = tables.last_change(opened, table) or tables.checksum(opened, table)
    text = f"{table.name.sql}|{table.types}|{table.schema.to_string()}|{changed}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def sample(
    connector: SnowflakeConnector, source: str, *, columns: Sequence[str] | None, max_rows: int
) -> pa.Table:
    """Return rows spread over the source, the same at every call; see `Connector.sample`.

    Of a source with more than `max_rows` rows, those are taken whose primary key (or, where there
    is none, whose columns) have the smallest hashes: as good as drawn by lot.
    """
    with _asking(connector, source) as opened:
        table = _find(opened, connector, source)
        wanted = project(table.schema, columns, source=source)
        wanted = tables.with_lists(opened, table, wanted)
        total = tables.count_rows(opened, table)
        if total <= max_rows:
            return _select(connector, opened, table, wanted)
        key = tables.primary_key(opened, table) or wanted.names or table.schema.names
        hashed = f"HASH({tables.hash_list(table, key)})"
        first = max(total // (_SAMPLE_SURPLUS * max(max_rows, 1)), 1)
        for modulus in sorted({1, first}, reverse=True):
            where = f" WHERE MOD(ABS({hashed}), {modulus:d}) = 0" if modulus > 1 else ""
            clauses = f"{where} ORDER BY {hashed} LIMIT {max_rows:d}"
            found = _select(connector, opened, table, wanted, clauses)
            # Few distinct keys may all miss the condition, or nearly all; then all rows are asked.
            if found.num_rows == max_rows:
                break
        return found


def chunks(
    connector: SnowflakeConnector,
    source: str,
    *,
    columns: Sequence[str],
    max_rows: int = CHUNK_ROWS,
) -> list[Chunk]:
    """Split a source into chunks that together hold every row once; see `Connector.chunks`."""
    with _asking(connector, source) as opened:
        table = _find(opened, connector, source)
        wanted = project(table.schema, columns, source=source)
        wanted = tables.with_lists(opened, table, wanted)
        total = tables.count_rows(opened, table)
        if total <= max_rows:
            parts = [_part(table, num_rows=total)]
        else:
            parts = _parts(connector, opened, table, wanted, total, max_rows)
    kinds = [str(field.type) for field in wanted]
    return [
        Chunk(
            source=source,
            columns=tuple(columns),
            index=index,
            num_rows=known,
            token=token | {"types": kinds},
        )
        for index, (token, known) in enumerate(parts)
    ]


def read(connector: SnowflakeConnector, chunk: Chunk) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a chunk through this process's own session; see `Connector.read`."""
    token: dict[str, Any] = chunk.token
    types = [type_named(text) for text in token["types"]]
    wanted = pa.schema(list(zip(chunk.columns, types, strict=True)))
    if "query_id" in token:
        positions = range(token["first"], token["stop"])
        yield from results.read_batches(
            connector, token["query_id"], positions, wanted, source=chunk.source
        )
        return
    from_ = names.read(chunk.source).sql + moments.clause(token["moment"])
    where, values = ranges.condition(token["range"]) if token["range"] else ("", [])
    with _asking(connector, chunk.source) as opened:
        sql = _select_from(wanted, from_) + where
        yield from results.run(connector, opened, sql, values, wanted, source=chunk.source)


def _parts(
    connector: SnowflakeConnector,
    opened: Session,
    table: Table,
    wanted: pa.Schema,
    total: int,
    max_rows: int,
) -> list[tuple[dict[str, Any], int | None]]:
    """Return token and number of rows of each chunk of a long source."""
    select = _select_from(wanted, table.sql)
    limit = _TRIED_FROM * max_rows // 2
    is_cut = total <= 2 * limit or len(_run(opened, f"{select} LIMIT {limit:d}")[1]) > 1
    cursor, batches = _run(opened, select) if is_cut else (None, [])
    if cursor is not None and len(batches) > 1:
        results.remember(connector, cursor.sfqid, batches)
        groups = results.group([batch.rowcount for batch in batches], max_rows)
        return [
            ({"query_id": cursor.sfqid, "first": first, "stop": stop}, rows)
            for first, stop, rows in groups
        ]
    del cursor, batches
    moment = table.moment
    if moment is None and connector.read_at is not None:
        now = moments.now(opened)
        moment = now if moments.allowed(opened, table.name, now) else None
    split = _split(opened, table, max_rows)
    if split is None:
        return [_part(table, num_rows=None)]
    shared = {"moment": moment}
    return [({**shared, "range": token}, None) for token in ranges.tokens(split)]


def _run(opened: Session, select: str) -> tuple[Any, list[Any]]:
    """Run a SELECT; return its cursor and the batches of its result."""
    cursor = opened.execute(select)
    return cursor, results.batches_of(cursor)


def _split(opened: Session, table: Table, max_rows: int) -> ranges.Split | None:
    types = {
        column: kind
        for column, kind in table.types.items()
        if not pa.types.is_decimal(table.schema.field(column).type)
    }
    column = ranges.choose(
        types,
        clustering=ranges.clustering_columns(tables.cluster_by(opened, table)),
        primary=tables.primary_key(opened, table),
    )
    if column is None:
        return None
    rows = opened.rows(ranges.bounds_query(table.sql, column), (max_rows,))
    bounds = (value for row in rows for value in row.values())
    return ranges.Split(column, types[column], ranges.plain_bounds(bounds))


def _part(table: Table, *, num_rows: int | None) -> tuple[dict[str, Any], int | None]:
    """One chunk for the whole source."""
    return {"moment": table.moment, "range": None}, num_rows


def _find(opened: Session, connector: SnowflakeConnector, source: str) -> Table:
    return tables.find(opened, source, moments.fixed(connector))


def _asking(connector: SnowflakeConnector, source: str) -> Any:
    return session(connector, doing=f"reading {source}", table=names.read(source))


def _select_from(wanted: pa.Schema, from_: str) -> str:
    # A constant where there are no columns, for rows still count.
    columns = ", ".join(map(quote, wanted.names)) or "1"
    return f"SELECT {columns} FROM {from_}"  # noqa: S608


def _select(
    connector: SnowflakeConnector,
    opened: Session,
    table: Table,
    wanted: pa.Schema,
    clauses: str = "",
) -> pa.Table:
    sql = _select_from(wanted, table.sql) + clauses
    rows = results.run(connector, opened, sql, (), wanted, source=table.source)
    return pa.Table.from_batches(rows, schema=wanted)
