"""All tables as of one moment, where the account keeps their past."""

from __future__ import annotations

import datetime as dt
import logging
from typing import TYPE_CHECKING

from rle.connectors.snowflake import names
from rle.connectors.snowflake.session import session
from rle.errors import ConnectionError, RLEError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rle.connectors.snowflake.connector import SnowflakeConnector
    from rle.connectors.snowflake.names import TableName
    from rle.connectors.snowflake.session import Session

_log = logging.getLogger(__name__)
_warned: set[tuple[str | None, str | None]] = set()


def clause(moment: str | None) -> str:
    """Return what follows a table's name to read it as of an ISO 8601 moment; "" for now.

    Raises:
        ValueError: The text is no moment. So nothing else ever gets into a statement here.
    """
    if moment is None:
        return ""
    exact = dt.datetime.fromisoformat(moment).astimezone(dt.UTC)
    text = exact.strftime("%Y-%m-%d %H:%M:%S.%f")
    return f" AT(TIMESTAMP => '{text}+00:00'::TIMESTAMP_LTZ)"


def fixed(connector: SnowflakeConnector) -> str | None:
    """Return the moment that a connector names, None where it says "start" or nothing."""
    return None if connector.read_at in (None, "start") else connector.read_at


def now(opened: Session) -> str:
    """Return the moment by the server's clock."""
    found = opened.rows("SELECT CURRENT_TIMESTAMP() AS moment")[0]["moment"]
    return str(found.astimezone(dt.UTC).isoformat())


def allowed(opened: Session, table: TableName, moment: str) -> bool:
    """Whether a table can be read as of a moment; tries it, at no cost.

    One that cannot be read at all counts as one that can: reading it says why it cannot.

    Raises:
        ConnectionError: Snowflake cannot be reached, so nobody knows.
    """
    return _opens(opened, f"{table.sql}{clause(moment)}") or not _opens(opened, table.sql)


def _opens(opened: Session, from_: str) -> bool:
    try:
        opened.execute(f"SELECT 1 FROM {from_} LIMIT 0")  # noqa: S608 - the name is quoted
    except ConnectionError:
        raise
    except RLEError:
        return False
    return True


def settle(
    connector: SnowflakeConnector, sources: Iterable[str]
) -> tuple[SnowflakeConnector, str | None]:
    """Return a connector that reads these sources as of one moment, and that moment.

    Where one of them cannot be read so (an account without Time Travel, a table that keeps no past,
    some views), all are read as they are: the connector itself and None come back, and it is
    logged, once for an account.

    Raises:
        ConnectionError: Snowflake cannot be reached.
    """
    if connector.read_at is None:
        return connector, None
    if connector.read_at != "start":
        return connector, connector.read_at
    with session(connector, doing="looking for a moment to read tables at") as opened:
        moment = now(opened)
        without = [s for s in sources if not allowed(opened, names.read(s), moment)]
    if without:
        _warn(connector, without)
        return connector, None
    return connector.model_copy(update={"read_at": moment}), moment


def _warn(connector: SnowflakeConnector, without: list[str]) -> None:
    account = (connector.account, connector.host)
    if account in _warned:
        return
    _warned.add(account)
    _log.warning(
        "Tables are read one after the other and not as of one moment: %s cannot be read with "
        "AT(TIMESTAMP => ...). Rows that change meanwhile may be in one table and not yet in "
        "another. Set DATA_RETENTION_TIME_IN_DAYS to 1 or more, or read_at=None to say that this "
        "is fine.",
        ", ".join(without[:5]) + (" and others" if len(without) > 5 else ""),
    )
