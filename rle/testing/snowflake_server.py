"""A stand-in for Snowflake that speaks its protocol: fakesnow's SQL over DuckDB, and its own HTTP.

Runs under a Python of its own (fakesnow needs a driver that our own environment need not have):

    python snowflake_server.py --port 0

prints one line of JSON, {"port": ..., "admin": "/..."}, and ends when its standard input does. With
--tls FOLDER it speaks HTTPS, by a certificate whose authority is FOLDER/authority.pem.
It imports nothing of rle. fakesnow translates Snowflake's SQL; its own server is not used, for it
lets everybody in, sends every result in one piece, and answers what it does not know with HTTP 500,
which drivers retry for minutes. What this server cannot show is listed in docs/snowflake.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path

import uvicorn
from snowflake_accounts import Account
from snowflake_catalog import Catalog
from snowflake_endpoints import Endpoints
from snowflake_patches import patch
from snowflake_service import Server
from snowflake_tls import make_certificates


def main() -> None:
    """Serve until the parent ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--account", default="rle")
    parser.add_argument("--database", default=":memory:", help="a folder, or :memory:")
    parser.add_argument("--tls", type=Path, help="a folder for the certificates; none: plain HTTP")
    given = parser.parse_args()
    patch()
    folder = None if given.database == ":memory:" else Path(given.database)
    catalog = Catalog(folder)
    server = Server(Account(given.account), catalog)
    admin = "/" + secrets.token_urlsafe(16)
    app = Endpoints(server, admin)
    # Only of a socket that says TCP does asyncio send small answers at once.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((given.host, given.port))
    listener.listen(128)
    certificate = None if given.tls is None else make_certificates(given.tls, given.host)[1]
    config = uvicorn.Config(
        app,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ssl_certfile=None if certificate is None else str(certificate),
    )
    http = uvicorn.Server(config)
    for ends in (_end_with_stdin, _end_with_parent):
        threading.Thread(target=ends, args=(http,), daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1], "admin": admin}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        http.run(sockets=[listener])
    catalog.close()
    os._exit(0)  # statements that still run in threads are not waited for


def _end_with_stdin(http: uvicorn.Server) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    http.should_exit = http.force_exit = True


def _end_with_parent(http: uvicorn.Server) -> None:
    """Its other children may hold the writing end of our standard input."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)
    http.should_exit = http.force_exit = True


if __name__ == "__main__":
    main()
