"""Logins, sessions and statements of the stand-in for Snowflake, whatever carries them.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
from snowflake_accounts import SnowflakeError
from snowflake_bindings import bound_values
from snowflake_catalog import split_name
from snowflake_faults import Faults
from snowflake_results import Cutting, Query, Results
from snowflake_session import Answer, Session
from snowflake_statements import describe_only, run

if TYPE_CHECKING:
    from snowflake_accounts import Account
    from snowflake_catalog import Catalog

VERSION = "9.35.1"


@dataclass
class Ran:
    """One statement for the record."""

    id: str
    user: str
    role: str
    warehouse: str | None
    tag: str
    sql: str
    error: str | None


@dataclass
class Server:
    """Everything behind the endpoints."""

    account: Account
    catalog: Catalog
    cutting: Cutting = field(default_factory=Cutting)
    results: Results = field(default_factory=Results)
    faults: Faults = field(default_factory=Faults)
    sessions: dict[str, Session] = field(default_factory=dict)
    """By session id."""
    requests: dict[str, Session] = field(default_factory=dict)
    """Session of a statement that runs, by the id of its request."""
    known: dict[str, Query] = field(default_factory=dict)
    """By the id of its request: a driver that heard no answer asks again under the same."""
    history: list[Ran] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    """QUERY_TAG of every session there ever was."""
    base: str = ""

    def login(self, login: dict[str, Any], query: dict[str, str], address: str) -> dict[str, Any]:
        """Open a session and return the `data` of the answer."""
        user = self.account.check_login(login, address)
        role = _given(query.get("roleName")) or user.roles[0]
        if role not in user.roles:
            raise SnowflakeError(
                "390189",
                f"Role '{role}' specified in the connect string does not exist or not authorized. "
                "Contact your local system administrator, or attempt to login with another role, "
                "e.g. PUBLIC.",
            )
        session = Session(self.account, self.catalog, user, self.account.new_tokens(), role)
        session.parameters = {
            key.upper(): str(value)
            for key, value in (login.get("SESSION_PARAMETERS") or {}).items()
        }
        self._set_current(session, query)
        self.sessions[session.id] = session
        self.logins.append(session.parameters.get("QUERY_TAG", ""))
        return {
            **_tokens(session),
            "serverVersion": VERSION,
            "displayUserName": user.name,
            "firstLogin": False,
            "healthCheckInterval": 45,
            "newClientForUpgrade": None,
            "sessionId": int(session.id[:12], 16),
            "parameters": [
                {"name": "AUTOCOMMIT", "value": True},
                {"name": "CLIENT_SESSION_KEEP_ALIVE_HEARTBEAT_FREQUENCY", "value": 3600},
                {"name": "CLIENT_STAGE_ARRAY_BINDING_THRESHOLD", "value": 0},
                {"name": "CLIENT_TELEMETRY_ENABLED", "value": False},
                {"name": "TIMEZONE", "value": "UTC"},
            ],
            "sessionInfo": {
                "databaseName": session.database,
                "schemaName": session.schema,
                "warehouseName": session.warehouse,
                "roleName": session.role,
            },
        }

    def _set_current(self, session: Session, query: dict[str, str]) -> None:
        """Database, schema and warehouse that were asked for; what is not there is not current."""
        database, schema = _given(query.get("databaseName")), _given(query.get("schemaName"))
        must = session.parameters.get("CLIENT_VALIDATE_DEFAULT_PARAMETERS", "").lower() == "true"
        found = database in self.catalog.schemas
        if must and database and not found:
            raise SnowflakeError(
                "390201", "The requested database does not exist or not authorized."
            )
        if found and database is not None:
            session.database = database
            schema = schema or "PUBLIC"
            session.schema = schema if schema in self.catalog.schemas[database] else None
        warehouse = _given(query.get("warehouse")) or session.user.warehouse
        if warehouse:
            with contextlib.suppress(SnowflakeError):
                session.warehouse = session.find_warehouse(warehouse).name
            if must and session.warehouse is None:
                raise SnowflakeError(
                    "390201", "The requested warehouse does not exist or not authorized."
                )

    def find_session(self, token: str) -> Session:
        """Return the session of a token."""
        for session in list(self.sessions.values()):
            if session.tokens.session == token:
                if time.monotonic() > session.tokens.master_ends:
                    raise SnowflakeError(
                        "390114",
                        "Authentication token has expired.  The user must authenticate again.",
                    )
                if time.monotonic() > session.tokens.session_ends:
                    raise SnowflakeError("390112", "Your session has expired. Please login again.")
                return session
        raise SnowflakeError("390104", "User must login again to access the service.", "08001")

    def renew(self, token: str) -> dict[str, Any]:
        """Return fresh tokens for a master token."""
        for session in self.sessions.values():
            if session.tokens.master == token:
                if time.monotonic() > session.tokens.master_ends:
                    break
                session.tokens = self.account.new_tokens()
                data = _tokens(session)
                return {
                    "sessionToken": data["token"],
                    "masterToken": data["masterToken"],
                    "validityInSecondsST": data["validityInSeconds"],
                    "validityInSecondsMT": data["masterValidityInSeconds"],
                    "sessionId": int(session.id[:12], 16),
                }
        raise SnowflakeError(
            "390114", "Authentication token has expired.  The user must authenticate again."
        )

    def expire(self, *, session: bool, master: bool) -> None:
        """Make the tokens of all sessions expire now."""
        for each in self.sessions.values():
            each.tokens.session_ends = 0.0 if session else each.tokens.session_ends
            each.tokens.master_ends = 0.0 if master else each.tokens.master_ends

    def end(self, session: Session) -> None:
        """Close a session."""
        self.sessions.pop(session.id, None)
        with session.lock:
            session.close()

    def start(self, session: Session, told: dict[str, Any], request_id: str) -> Query:
        """Take in a statement; `finish` runs it."""
        sql = str(told.get("sqlText", ""))
        query = Query(str(uuid.uuid4()), session.user.name, sql, cutting=self.cutting)
        self.results.add(query)
        self.requests[request_id] = session
        self.known[request_id] = query
        session.is_cancelled = False
        return query

    def finish(self, session: Session, query: Query, told: dict[str, Any], request_id: str) -> None:
        """Run a statement and keep what came of it."""
        with session.lock:
            timer = self._timer(session)
            try:
                self._run(session, query, told)
            except SnowflakeError as error:
                query.error = error
                if (
                    session.is_cancelled
                    and error.code == "000604"
                    and timer is not None
                    and not timer.is_alive()
                ):
                    seconds = session.parameters["STATEMENT_TIMEOUT_IN_SECONDS"]
                    query.error = SnowflakeError(
                        "000630",
                        f"Statement reached its statement or warehouse timeout of {seconds} "
                        "second(s) and was canceled.",
                        "57014",
                    )
            except Exception as error:  # noqa: BLE001 - whatever it is, an answer and never a 500
                query.error = SnowflakeError(
                    "000603",
                    f"SQL execution internal error:\nProcessing aborted by error 300010: {error}",
                    "XX000",
                )
                print(f"{query.sql[:500]}: {error!r}", file=sys.stderr, flush=True)
            finally:
                if timer is not None:
                    timer.cancel()
                self.requests.pop(request_id, None)
                session.last_query = query.id
                query.session = {
                    "finalDatabaseName": session.database,
                    "finalSchemaName": session.schema,
                    "finalWarehouseName": session.warehouse,
                    "finalRoleName": session.role,
                }
                self._note(session, query)
                query.ended.set()

    def _run(self, session: Session, query: Query, told: dict[str, Any]) -> None:
        """Run a statement under the parameters that came with it, if any did."""
        own = {key.upper(): str(value) for key, value in (told.get("parameters") or {}).items()}
        before = session.parameters
        if own:
            session.parameters = before | own
        query.tag = session.parameters.get("QUERY_TAG", "")
        try:
            self._answer(session, query, told)
        finally:
            if own:
                session.parameters = before

    def _answer(self, session: Session, query: Query, told: dict[str, Any]) -> None:
        scanned = self.scanned(session, query.sql)
        if scanned is not None:
            query.answer, query.source, query.cutting = scanned.answer, scanned.id, scanned.cutting
            if scanned.answer is not None and not scanned.answer.is_query:
                query.answer = Answer(scanned.answer.rows, scanned.answer.types)
            return
        if told.get("describeOnly"):
            query.answer = describe_only(session, query.sql)
            return
        values, many = bound_values(told.get("bindings"))
        query.answer = run(session, query.sql, values, many)

    def scanned(self, session: Session, sql: str) -> Query | None:
        """Return the query that RESULT_SCAN asks for, where that is all a statement does."""
        words = sql.lower().replace(" ", "").rstrip(";")
        head, tail = "select*fromtable(result_scan('", "'))"
        if not (words.startswith(head) and words.endswith(tail)):
            return None
        query = self.results.find(words[len(head) : -len(tail)], session.user.name)
        if query is None or query.answer is None:
            raise SnowflakeError("000709", "Statement not found", "02000")
        return query

    def _timer(self, session: Session) -> threading.Timer | None:
        seconds = float(session.parameters.get("STATEMENT_TIMEOUT_IN_SECONDS") or 0)
        if seconds <= 0:
            return None
        timer = threading.Timer(seconds, self.cancel, (session,))
        timer.daemon = True
        timer.start()
        return timer

    def cancel(self, session: Session) -> None:
        """Stop what a session runs."""
        session.is_cancelled = True
        with contextlib.suppress(duckdb.Error):
            session.con.interrupt()

    def _note(self, session: Session, query: Query) -> None:
        error = None if query.error is None else f"{query.error.code}: {query.error.message}"
        self.history.append(
            Ran(
                *(query.id, query.user, session.role, session.warehouse, query.tag),
                *(query.sql[:2000], error),
            )
        )
        del self.history[:-2000]


def _tokens(session: Session) -> dict[str, Any]:
    return {
        "token": session.tokens.session,
        "masterToken": session.tokens.master,
        "validityInSeconds": 3600,
        "masterValidityInSeconds": 14400,
    }


def _given(text: str | None) -> str | None:
    return split_name(text)[0] if text else None
