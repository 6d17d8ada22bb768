"""Many tables of a schema at once: few statements, several under way at a time."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rle.connectors.keys import TableKeys
from rle.connectors.snowflake import keys, names
from rle.connectors.snowflake import read as reading
from rle.connectors.survey import Closed, Surveyed
from rle.errors import ConnectionError, RLEError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from concurrent.futures import Future

    from rle.connectors.snowflake.connector import SnowflakeConnector

AT_ONCE = 8
"""Statements under way at a time: as many as a warehouse runs by default."""


def survey(
    connector: SnowflakeConnector, sources: Sequence[str], *, max_rows: int
) -> Generator[Surveyed | Closed, None, None]:
    """Sample many sources and look up their keys; see `Connector.survey`.

    Keys are asked for by schema, in three statements that need no warehouse; each table then costs
    those of its sample.

    Raises:
        ConnectionError: Snowflake cannot be asked at all, or has no warehouse to run a query on.
    """
    schemas = {names.read(source)[:2] for source in sources}
    declared = {parts: keys.schema_keys(connector, *parts) for parts in sorted(schemas)}

    def look(source: str) -> Surveyed | Closed:
        name = names.read(source)
        known = declared[name[:2]]
        try:
            sample = reading.sample(connector, source, columns=None, max_rows=max_rows)
            own = keys.table_keys(connector, source) if known is None else known.get(name)
        except RLEError as error:
            if isinstance(error, ConnectionError) and not error.is_of_statement:
                raise  # nothing that this table can help
            return Closed(source, error)
        return Surveyed(source, sample, own or TableKeys())

    waiting: deque[Future[Surveyed | Closed]] = deque()
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rle-survey")
    try:
        for source in sources:
            waiting.append(pool.submit(look, source))
            if len(waiting) > AT_ONCE:  # samples are not to heap up
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Ctrl-C does not wait for what runs: a query may take hours.
        pool.shutdown(wait=False, cancel_futures=True)
