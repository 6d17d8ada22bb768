"""What Snowflake's driver raises, as an error of ours: what failed, why and what helps."""

from __future__ import annotations

import pkgutil
import traceback
from typing import TYPE_CHECKING

from rle.connectors.names import shown
from rle.connectors.snowflake import remedies
from rle.connectors.snowflake.failures import FAILURES, Failure
from rle.errors import ConnectionError, DataError, NotSeenError, RLEError, ValidationError

if TYPE_CHECKING:
    import re

    from rle.connectors.snowflake.remedies import Where

_MAX_SAID = 20_000  # characters of an answer that are looked at: a server may send any number
_ADDRESSED = ("warehouse_unreachable", "certificate", "not_snowflake")


def find(text: str) -> tuple[Failure, re.Match[str]] | None:
    """Return what a text shows, and where; None where nothing known does."""
    best: tuple[Failure, re.Match[str]] | None = None
    for failure in FAILURES:
        if best is not None and failure.rank <= best[0].rank:
            continue
        found = failure.compiled.search(text)
        if found is not None:
            best = failure, found
    return best


def text_of(error: BaseException) -> str:
    """Return code and text of a driver's error, the code first, as both generations put it.

    Of a sign-in that was given up, generation 4 does not say what answer stood in its way; that is
    added here, so that a server out of order is not taken for one that is not there.
    """
    said = str(error)[:_MAX_SAID]
    code = getattr(error, "errno", None)
    if isinstance(code, int) and code > 0 and f"{code:06d}" not in said:
        said = f"{code:06d}: {said}"
    said += _certificate_behind(error)
    status = None if error.__cause__ is None else _status_behind(error.__cause__)
    return said if status is None else f"{said} HTTP {status}"


def _certificate_behind(error: BaseException) -> str:
    """Return what an error came of where that was a certificate: 4.0 says it nowhere else."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        if "certificate" in str(cause):
            return f"\n{str(cause)[:_MAX_SAID]}"
        cause = cause.__cause__ or cause.__context__
    return ""


def _status_behind(cause: BaseException) -> int | None:
    """Return the status of the answer that the driver gave up on; only its stack has kept it."""
    for frame, _ in traceback.walk_tb(cause.__traceback__):
        status = getattr(frame.f_locals.get("raw_ret"), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def explain(error: BaseException, *, doing: str, where: Where | None = None) -> RLEError:
    """Return our error for one of Snowflake's driver: what failed, why and what helps.

    Never a secret: whatever was said is cleaned first.

    Args:
        error: From the driver; one of ours comes back as it is.
        doing: What was attempted, such as "reading SHOP.PUBLIC.ORDERS".
        where: Who asked, as far as it is known; its names go into statements.
    """
    if isinstance(error, RLEError):
        return error
    where = where or remedies.Where()
    text = text_of(error)
    match = find(text)
    if match is None:
        return _unknown(error, text, doing)
    failure, found = match
    advice = shown(failure.advise(found, where))
    if failure.error is NotSeenError:
        kind = remedies.kind_of(found).lower().replace("object", "table or view")
        return NotSeenError(f"{kind} in Snowflake", _name(found, where), (), advice)
    name = found.groupdict().get("name") or found.groupdict().get("view")
    said = f" ({_clean(name)})" if name else ""
    if where.address and failure.name in _ADDRESSED:
        said += f" The address called is {where.address}."
    told = f"{_capital(doing)} failed. {failure.means}{said} {advice}"
    made = failure.error(told + _who(where, getattr(error, "sfqid", None)))
    if isinstance(made, ConnectionError):
        made.may_pass = failure.may_pass
        made.is_of_statement = failure.is_of_statement
    return made


def _name(found: re.Match[str], where: Where) -> str:
    is_table = remedies.kind_of(found) in ("OBJECT", "TABLE", "VIEW")
    return str(where.table) if where.table and is_table else _clean(found["name"] or "?")


def _unknown(error: BaseException, text: str, doing: str) -> RLEError:
    said = f"{_capital(doing)} failed. Snowflake says: {_clean(text)[:2000]}"
    state = str(getattr(error, "sqlstate", None) or "")
    if state.startswith("22"):
        return DataError(said)
    is_refused = type(error).__name__ in ("ProgrammingError", "NotSupportedError")
    return ValidationError(said) if is_refused else ConnectionError(said)


def _who(where: Where, query: str | None) -> str:
    known = {"account": where.account, "user": where.user, "role": where.role, "query": query}
    shown = ", ".join(f"{key} {value}" for key, value in known.items() if value)
    return f" ({shown})" if shown else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _clean(text: str) -> str:
    # Logs and errors are a layer above connectors, so what cleans them is found by its name.
    return shown(pkgutil.resolve_name("rle.runs.redact:redact")(text))
