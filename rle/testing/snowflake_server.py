"""A stand-in for Snowflake that speaks its protocol: HTTP in front, fakesnow's SQL and DuckDB behind.

Runs under a Python of its own (fakesnow needs a driver that our own environment need not have):

    python snowflake_server.py --port 0

prints one line of JSON, {"port": ..., "admin": "/..."}, and ends when its standard input does.
It imports nothing of rle. fakesnow translates Snowflake's SQL; its own server is not used, for it
lets everybody in, sends every result in one piece, and answers what it does not know with HTTP 500,
which drivers retry for minutes. What this server cannot show is listed in docs/snowflake.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gzip
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import uvicorn
from snowflake_accounts import Account, SnowflakeError
from snowflake_bindings import bound_values
from snowflake_catalog import Catalog, split_name
from snowflake_faults import Fault, Faults, administer, put_table
from snowflake_results import Cutting, Query, Results
from snowflake_session import Answer, Session
from snowflake_stages import write_upload
from snowflake_statements import run
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

VERSION = "9.35.1"
_PARENT_DIED = 1  # PR_SET_PDEATHSIG
_POLL_S = 40.0


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
    history: list[Ran] = field(default_factory=list)
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
        scanned = self.scanned(session, query.sql)
        if scanned is not None:
            query.answer, query.source, query.cutting = scanned.answer, scanned.id, scanned.cutting
            if scanned.answer is not None and not scanned.answer.is_query:
                query.answer = Answer(scanned.answer.rows, scanned.answer.types)
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
        tag = session.parameters.get("QUERY_TAG", "")
        self.history.append(
            Ran(query.id, query.user, session.role, session.warehouse, tag, query.sql[:2000], error)
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


# --- Endpoints -----------------------------------------------------------------------------------


class Endpoints:
    """Translates between HTTP and the server."""

    def __init__(self, server: Server, admin: str) -> None:
        self.server = server
        self.admin_path = admin
        self.app = Starlette(
            routes=[
                Route("/session/v1/login-request", self.login, methods=["POST"]),
                Route("/session/token-request", self.token, methods=["POST"]),
                Route("/session/heartbeat", self.heartbeat, methods=["POST", "GET"]),
                Route("/session", self.session, methods=["POST"]),
                Route("/queries/v1/query-request", self.query, methods=["POST"]),
                Route("/queries/v1/abort-request", self.abort, methods=["POST"]),
                Route("/queries/{id}/result", self.result, methods=["GET"]),
                Route("/queries/{id}/abort-request", self.abort_query, methods=["POST"]),
                Route("/monitoring/queries/{id}", self.monitoring, methods=["GET"]),
                Route("/results/{id}/{number:int}", self.chunk, methods=["GET"]),
                Route("/stages/{path:path}", self.upload, methods=["PUT"]),
                Route("/telemetry/send", self.telemetry, methods=["POST"]),
                Route(admin + "/put", self.put, methods=["POST"]),
                Route(admin + "/{what}", self.admin, methods=["POST"]),
            ]
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let a fault hit the request, or the app answer it."""
        if scope["type"] != "http" or scope["path"].startswith(self.admin_path):
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        raw = await request.body()
        fault = self.server.faults.next(scope["path"], _unpacked(raw))
        again = _replayed(raw, receive)
        if fault is None:
            await self.app(scope, again, send)
            return
        await self._fail(fault, scope, again, send)

    async def _fail(self, fault: Fault, scope: Any, receive: Any, send: Any) -> None:
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            await self.app(scope, receive, send)
        elif fault.kind == "cut":
            await self.app(scope, receive, _halved(send))
        elif fault.kind == "drop":
            raise ConnectionAbortedError("dropped on demand")
        elif fault.kind == "expired":
            self.server.expire(session=True, master=False)
            await self.app(scope, receive, send)
        else:
            await JSONResponse({"message": "on demand"}, fault.status)(scope, receive, send)

    async def login(self, request: Request) -> Response:
        """POST /session/v1/login-request."""
        limit = self.server.faults.max_sessions
        if limit is not None and len(self.server.sessions) >= limit:
            return JSONResponse({"message": "Too many connections"}, 429)
        told = (await _json(request))["data"]
        address = request.client.host if request.client else ""
        return await self._answer(
            lambda: self.server.login(told, dict(request.query_params), address)
        )

    async def token(self, request: Request) -> Response:
        """POST /session/token-request: a fresh session token for the master token."""
        return await self._answer(lambda: self.server.renew(_token(request)))

    async def heartbeat(self, request: Request) -> Response:
        """Says that a session is still wanted."""
        return await self._answer(lambda: self.server.find_session(_token(request)) and None)

    async def session(self, request: Request) -> Response:
        """POST /session?delete=true."""

        def end() -> None:
            session = self.server.find_session(_token(request))
            if request.query_params.get("delete"):
                self.server.end(session)

        return await self._answer(end)

    async def query(self, request: Request) -> Response:
        """POST /queries/v1/query-request."""
        told = await _json(request)
        request_id = request.query_params.get("requestId") or str(uuid.uuid4())
        server = self.server
        base = str(request.base_url).rstrip("/")

        def go() -> dict[str, Any] | Response:
            session = server.find_session(_token(request))
            query = server.start(session, told, request_id)
            work = (session, query, told, request_id)
            if told.get("asyncExec"):
                threading.Thread(target=server.finish, args=work, daemon=True).start()
                return _in_progress(query, "333334")
            server.finish(*work)
            return self._outcome(query, base, told)

        return await self._answer(go)

    def _outcome(self, query: Query, base: str, told: dict[str, Any]) -> dict[str, Any] | Response:
        if query.error is not None:
            error = query.error
            return JSONResponse(
                {
                    "data": {
                        "internalError": False,
                        "errorCode": error.code,
                        "sqlState": error.sql_state,
                        "queryId": query.id,
                        "line": -1,
                        "pos": -1,
                        "type": "COMPILATION",
                    },
                    "code": error.code,
                    "message": error.message,
                    "success": False,
                    "headers": None,
                }
            )
        assert query.answer is not None
        if query.answer.upload is not None:
            return _upload(query, lambda target: self.server.results.upload_link(base, target))
        data = self.server.results.data(query, base)
        if told.get("describeOnly"):
            empty = query.answer.rows.slice(0, 0)
            shape = Query(query.id, query.user, query.sql, cutting=query.cutting)
            shape.answer = Answer(empty, query.answer.types, query.answer.kind)
            data = self.server.results.data(shape, base) | query.session
        return data

    async def result(self, request: Request) -> Response:
        """GET /queries/<id>/result: waits for the query to end."""
        base = str(request.base_url).rstrip("/")

        def go() -> dict[str, Any] | Response:
            session = self.server.find_session(_token(request))
            query = self.server.results.find(request.path_params["id"], session.user.name)
            if query is None:
                raise SnowflakeError("000709", "Statement not found", "02000")
            if not query.ended.wait(_POLL_S):
                return _in_progress(query, "333333")
            return self._outcome(query, base, {})

        return await self._answer(go)

    async def monitoring(self, request: Request) -> Response:
        """GET /monitoring/queries/<id>."""

        def go() -> dict[str, Any]:
            session = self.server.find_session(_token(request))
            query = self.server.results.find(request.path_params["id"], session.user.name)
            if query is None:
                return {"queries": []}
            told = {"id": query.id, "status": query.status, "state": query.status}
            told |= {"sqlText": query.sql, "queryTag": query.tag, "userName": query.user}
            if query.error is not None:
                told |= {"errorCode": query.error.code, "errorMessage": query.error.message}
            return {"queries": [told]}

        return await self._answer(go)

    async def abort(self, request: Request) -> Response:
        """POST /queries/v1/abort-request: stops the statement of a request."""
        told = await _json(request)
        session = self.server.requests.get(str(told.get("requestId")))
        if session is not None:
            self.server.cancel(session)
        return _success(None)

    async def abort_query(self, request: Request) -> Response:
        """POST /queries/<id>/abort-request."""
        return await self._answer(
            lambda: self.server.cancel(self.server.find_session(_token(request)))
        )

    async def chunk(self, request: Request) -> Response:
        """GET a chunk, with no session: its address and the key in the header are all it takes."""
        results, query = self.server.results, request.query_params
        good = results.check_link(
            request.url.path, query.get("expires", "0"), query.get("signature", "")
        )
        if not good or request.headers.get(_KEY_HEADER) != results.key:
            return Response("<Error><Code>AccessDenied</Code></Error>", 403)
        found = await run_in_threadpool(
            results.chunk, request.path_params["id"], request.path_params["number"]
        )
        if found is None:
            return Response("<Error><Code>NoSuchKey</Code></Error>", 404)
        return Response(
            found, headers={"Content-Encoding": "gzip", "Content-Type": "application/octet-stream"}
        )

    async def upload(self, request: Request) -> Response:
        """PUT a file into a stage."""
        results, query = self.server.results, request.query_params
        body = await request.body()
        if not results.check_link("/stages", query.get("expires", "0"), query.get("signature", "")):
            return Response("<Error><Code>AccessDenied</Code></Error>", 403)
        folder = self.server.catalog.stages_folder
        ok = await run_in_threadpool(write_upload, folder, request.path_params["path"], body)
        return Response(status_code=200 if ok else 400)

    async def telemetry(self, _: Request) -> Response:
        """Takes it and forgets it."""
        return _success(None)

    async def put(self, request: Request) -> Response:
        """A test's own way to make a table: the body is a Parquet file."""
        told = json.loads(request.query_params["told"])
        content = await request.body()
        count = await run_in_threadpool(
            put_table, self.server, told["name"], content, told.get("types", {})
        )
        return JSONResponse({"rows": count})

    async def admin(self, request: Request) -> Response:
        """A test's own way to set things."""
        told = await _json(request)
        said = await run_in_threadpool(administer, self.server, request.path_params["what"], told)
        return JSONResponse(said)

    async def _answer(self, work: Any) -> Response:
        """Run something that may take long; say what it returns as Snowflake does."""
        try:
            data = await run_in_threadpool(work)
        except SnowflakeError as error:
            return JSONResponse(
                {
                    "data": {"authnMethod": None, "errorCode": error.code},
                    "code": error.code,
                    "message": error.message,
                    "success": False,
                    "headers": None,
                }
            )
        return data if isinstance(data, Response) else _success(data)


_KEY_HEADER = "x-amz-server-side-encryption-customer-key"


def _success(data: Any) -> Response:
    return JSONResponse({"data": data, "code": None, "message": None, "success": True})


def _upload(query: Query, sign: Callable[[str], str]) -> Response:
    """Where a PUT's files go: an address of this server, in the form that Google's stages have."""
    assert query.answer is not None
    assert query.answer.upload is not None
    told = dict(query.answer.upload)
    folder, stage = told.pop("folder"), told.pop("stage")
    name = told["src_locations"][0].rpartition("/")[2]
    target = f"{folder}/{name}" if folder != "." else name
    signed = sign(target)
    told["stageInfo"] = {
        "locationType": "GCS",
        "location": f"{stage}/",
        "path": f"{stage}/",
        "region": "LOCAL",
        "storageAccount": None,
        "isClientSideEncrypted": False,
        "creds": {},
        "presignedUrl": signed,
        "endPoint": None,
    }
    told |= {"encryptionMaterial": None, "presignedUrls": None, "queryId": query.id}
    return _success(told)


def _in_progress(query: Query, code: str) -> Response:
    return JSONResponse(
        {
            "data": {
                "queryId": query.id,
                "getResultUrl": f"/queries/{query.id}/result",
                "queryAbortsAfterSecs": 300,
                "progressDesc": None,
            },
            "code": code,
            "message": "Query execution in progress. Use provided query id to monitor it.",
            "success": True,
        }
    )


def _token(request: Request) -> str:
    """The token of `Authorization: Snowflake Token="..."`."""
    said = request.headers.get("Authorization", "")
    if not said.startswith('Snowflake Token="'):
        raise SnowflakeError("390103", "Session token not found in the request data.")
    return said[len('Snowflake Token="') : -1]


def _unpacked(raw: bytes) -> bytes:
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


async def _json(request: Request) -> dict[str, Any]:
    raw = _unpacked(await request.body())
    told: dict[str, Any] = json.loads(raw) if raw else {}
    return told


def _replayed(raw: bytes, receive: Any) -> Any:
    """A body that was read already, once more."""
    sent = False

    async def again() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": raw, "more_body": False}

    return again


def _halved(send: Any) -> Any:
    """Sends half of an answer, and then nothing: the connection ends."""

    async def half(message: Any) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        body = message.get("body", b"")
        await send(message | {"body": body[: len(body) // 2], "more_body": True})
        await asyncio.sleep(0.05)
        raise ConnectionAbortedError("cut on demand")

    return half


def main() -> None:
    """Serve until the parent ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--account", default="rle")
    parser.add_argument("--database", default=":memory:", help="a folder, or :memory:")
    given = parser.parse_args()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)
    folder = None if given.database == ":memory:" else Path(given.database)
    catalog = Catalog(folder)
    server = Server(Account(given.account), catalog)
    admin = "/" + secrets.token_urlsafe(16)
    app = Endpoints(server, admin)
    listener = socket.create_server((given.host, given.port))
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off")
    http = uvicorn.Server(config)
    threading.Thread(target=_end_with_stdin, args=(http,), daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1], "admin": admin}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        http.run(sockets=[listener])
    catalog.close()
    os._exit(0)  # statements that still run in threads are not waited for


def _end_with_stdin(http: uvicorn.Server) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    http.should_exit = http.force_exit = True


if __name__ == "__main__":
    main()
