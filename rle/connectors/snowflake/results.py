"""Results of queries: kept by Snowflake for a day, found again by id, read batch by batch."""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from rle.connectors.snowflake import driver, types
from rle.connectors.snowflake.errors import find, text_of
from rle.connectors.snowflake.session import session
from rle.errors import ConnectionError, PermissionError, RLEError, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from rle.connectors.snowflake.connector import SnowflakeConnector
    from rle.connectors.snowflake.session import Session

ATTEMPTS = 3
"""How often one batch is fetched before reading fails. The driver tries each time for a while."""
KNOWN_RESULTS = 16
"""Results whose batches a process remembers: those that its threads are busy with."""
KNOWN_FOR_S = 3 * 3600.0
"""How long it remembers them, in seconds: the addresses of batches expire after six hours."""
JSON_ROWS = 16_384
"""Rows of a result in JSON that become Arrow at a time."""

_ADVICE = (
    "The rows are those of query {}, whose result Snowflake keeps for a day. It is not run again "
    "for some of its rows, for they could be others. Start again to read all of them anew."
)

_STORAGE = (
    "A long result comes from the cloud storage of the account's region, not from the account's "
    "own address: SELECT SYSTEM$ALLOWLIST() lists the hosts that the network of this machine must "
    "let through."
)


class _Known(NamedTuple):
    batches: list[Any]
    since: float


_known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
_lock = threading.Lock()


def group(num_rows: Sequence[int], max_rows: int) -> list[tuple[int, int, int]]:
    """Put neighbouring batches together, up to `max_rows` rows; a larger one stays alone.

    Args:
        num_rows: Rows of each batch, in order.
        max_rows: Rows that a chunk aims at.

    Returns:
        (first batch, batch after the last, rows) of each chunk. At least one, however few batches.
    """
    groups: list[tuple[int, int, int]] = []
    for position, rows in enumerate(num_rows):
        if groups and (groups[-1][2] + rows <= max_rows or not rows):
            first, _, before = groups[-1]
            groups[-1] = (first, position + 1, before + rows)
        else:
            groups.append((position, position + 1, rows))
    return groups or [(0, 0, 0)]


def batches_of(cursor: Any) -> list[Any]:
    """Return the batches of a result that have rows, in order.

    Those without are left out, for generation 5 of the driver leaves out some of them by itself,
    and a position must mean the same batch to every process.
    """
    return [batch for batch in cursor.get_result_batches() or [] if batch.rowcount]


def remember(connector: SnowflakeConnector, query_id: str, batches: Sequence[Any]) -> None:
    """Keep the batches of a query that has just run, for chunks that are read in this process."""
    with _lock:
        _known[connector.to_json(), query_id] = _Known(list(batches), time.monotonic())
        while len(_known) > KNOWN_RESULTS:
            _known.popitem(last=False)


def read_batches(
    connector: SnowflakeConnector,
    query_id: str,
    positions: Sequence[int],
    schema: pa.Schema,
    *,
    source: str,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of some batches of a query's result.

    Each batch is fetched whole before its first row comes out, and again where that fails: from
    new addresses, through this process's own session.

    Raises:
        ConnectionError: A batch cannot be fetched, `ATTEMPTS` times in a row, or Snowflake has the
            result no more. The query is not run again: other rows could be in the same place of
            another result, and those of the other chunks come from this one.
        DataError: A value does not fit its type.
    """
    for position in positions:
        yield from _fetch(connector, query_id, position, schema, source)


def run(
    connector: SnowflakeConnector,
    opened: Session,
    sql: str,
    values: Sequence[Any],
    schema: pa.Schema,
    *,
    source: str,
) -> Iterator[pa.RecordBatch]:
    """Run a SELECT and yield its rows as `schema` has them; batches as in `read_batches`.

    Raises:
        RLEError: Snowflake refused the query, in words.
        ConnectionError: A batch cannot be fetched.
        DataError: A value does not fit its type.
    """
    cursor = opened.execute(sql, values)
    batches = batches_of(cursor)
    remember(connector, cursor.sfqid, batches)
    try:
        positions = range(len(batches))
        yield from read_batches(connector, cursor.sfqid, positions, schema, source=source)
    finally:
        _forget(connector, cursor.sfqid)


def _fetch(
    connector: SnowflakeConnector, query_id: str, position: int, schema: pa.Schema, source: str
) -> list[pa.RecordBatch]:
    doing = f"reading batch {position} of {source}"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with session(connector, doing=doing) as opened:
                if attempt > 1:
                    opened.execute("SELECT 1")  # signs in anew where the session has ended
                batch = _batches(connector, query_id, opened)[position]
                return _whole(batch, position, schema, source)
        except OSError as error:  # what an HTTP library raises is one, and so is ours
            # A wrong password is not tried twice: every one counts towards a lock.
            if isinstance(error, PermissionError) or not getattr(error, "may_pass", True):
                raise
            if attempt == ATTEMPTS:
                said = _failed(position, source, error)
                raise ConnectionError(f"{said} {_ADVICE.format(query_id)}") from None
            _forget(connector, query_id)
            time.sleep(0.5 * 2**attempt)
    raise AssertionError("unreachable")


def _whole(batch: Any, position: int, schema: pa.Schema, source: str) -> list[pa.RecordBatch]:
    try:
        return list(rows_of(batch, schema, source))
    except driver.errors() as error:
        text = text_of(error)
        found = find(text)
        is_refused = found is not None and found[0].name == "warehouse_unreachable"
        if is_refused or "Failed to fetch chunk" in text:
            raise ConnectionError(f"{_failed(position, source, error)} {_STORAGE}") from None
        raise


def _failed(position: int, source: str, error: Exception) -> str:
    # What an HTTP library says names the batch's address, whose signature is a secret.
    if isinstance(error, RLEError):
        return str(error)
    return f"Reading batch {position} of {source} failed: {type(error).__name__}."


def _batches(connector: SnowflakeConnector, query_id: str, opened: Session) -> list[Any]:
    key = (connector.to_json(), query_id)
    with _lock:
        known = _known.get(key)
        if known is not None and time.monotonic() - known.since < KNOWN_FOR_S:
            _known.move_to_end(key)
            return known.batches
    try:
        with opened.in_words():
            # By the id and not by RESULT_SCAN, which is another query: it has other batches.
            cursor = opened.connection.cursor().query_result(query_id)
            batches = batches_of(cursor)
    except ValidationError as error:
        raise ConnectionError(str(error)) from None
    remember(connector, query_id, batches)
    return batches


def _forget(connector: SnowflakeConnector, query_id: str) -> None:
    with _lock:
        _known.pop((connector.to_json(), query_id), None)


def rows_of(batch: Any, schema: pa.Schema, source: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of one of the driver's result batches, Arrow or JSON, as `schema` has them."""
    if type(batch).__name__ == "JSONResultBatch":  # driver 4; driver 5 makes Arrow of JSON itself
        yield from _rows_of_json(batch, schema, source)
        return
    table = _as_arrow(batch)
    if table is None or table.num_rows != batch.rowcount:
        found = 0 if table is None else table.num_rows
        raise ConnectionError(f"A batch of {source} has {found} of its {batch.rowcount} rows.")
    for part in table.to_batches():
        yield types.plain(part, schema, source=source)


def _as_arrow(batch: Any) -> pa.Table | None:
    # Microseconds, so that the year 9999 is what it is; digits of a NUMBER are kept either by an
    # argument (driver 5) or by the connection's own setting (driver 4).
    known = inspect.signature(batch.to_arrow).parameters
    wanted = ("force_microsecond_precision", "number_to_decimal")
    return batch.to_arrow(**{name: True for name in wanted if name in known})


def _rows_of_json(batch: Any, schema: pa.Schema, source: str) -> Iterator[pa.RecordBatch]:
    held: list[Any] = []
    try:
        rows = batch.create_iter()
    except ValueError:
        raise ConnectionError(f"A batch of {source} came garbled: it is no JSON.") from None
    for row in rows:
        if isinstance(row, Exception):
            raise row
        held.append(row)
        if len(held) == JSON_ROWS:
            yield types.from_rows(held, schema, source=source)
            held = []
    if held:
        yield types.from_rows(held, schema, source=source)


def _after_fork() -> None:
    """Forget a parent's results in a child: their batches may hold on to the parent's session."""
    global _lock  # it may have been held by a thread that is not here
    _lock = threading.Lock()
    _known.clear()


os.register_at_fork(after_in_child=_after_fork)
