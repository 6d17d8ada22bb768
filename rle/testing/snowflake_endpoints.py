"""The endpoints of the stand-in for Snowflake: between HTTP and its service.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import uuid
from typing import TYPE_CHECKING, Any

from snowflake_accounts import SnowflakeError
from snowflake_faults import administer, put_table
from snowflake_results import KEY_HEADER, Query
from snowflake_session import INSERT
from snowflake_stages import write_upload
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from snowflake_faults import Fault
    from snowflake_service import Server

_POLL_S = 40.0


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
        # Driver 5 asks for /monitoring/queries//<id>, and Snowflake answers.
        scope = scope | {"path": scope["path"].replace("//", "/")}
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
        elif fault.kind == "lost":
            await self.app(scope, receive, _swallowed)
            raise ConnectionAbortedError("lost on demand")
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
            if (known := server.known.get(request_id)) is not None:
                known.ended.wait(_POLL_S)
                return self._outcome(known, base, told)
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
            data["numberOfBinds"] = query.sql.count("?")
            data["arrayBindSupported"] = query.answer.kind == INSERT
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
        if not good or request.headers.get(KEY_HEADER) != results.key:
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
        is_new = request.headers.get("x-goog-if-generation-match") == "0"
        status = await run_in_threadpool(
            lambda: write_upload(folder, request.path_params["path"], body, is_new=is_new)
        )
        return Response(status_code=status)

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


async def _swallowed(_: Any) -> None:
    """Takes an answer, which nobody gets."""


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
