"""Engines that run already, somewhere: a Ray cluster by the URL of its dashboard, and a token.

The cluster is never started, stopped or changed from here. Suspending sets it aside on this
machine, deleting forgets it; its jobs go on.
"""

from __future__ import annotations

import os
import queue
import re
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from rle.engines.base import EngineAccess, EngineBackend
from rle.engines.ray_api import RayApi
from rle.engines.ray_http import TokenRefusedError, is_loopback
from rle.engines.record import EngineSettings, EngineState, EngineStatus, TokenSource
from rle.engines.token import read_token
from rle.errors import ConnectionError, PermissionError, ValidationError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from rle.engines.record import EngineRecord

TIMEOUT_S = 10.0
"""Longest wait for a cluster's answer."""
OLDEST_RAY = (2, 50)
"""Major and minor version that jobs need."""

_GRACE_S = 0.5  # for a step's own, more telling error
_SET_ASIDE = "set_aside"  # a file in the engine's folder, there while it is suspended
_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")
_EXAMPLE = "such as http://127.0.0.1:8265"


class AddressBackend(EngineBackend):
    """Ray clusters that somebody else keeps."""

    def check(self, record: EngineRecord) -> None:
        """Check the address and the settings, and that the cluster answers and takes the token.

        Warns where the token would travel in the clear.

        Raises:
            ValidationError: The address is none, or a setting has no meaning here.
            ConnectionError: The cluster does not answer within 10 seconds, refuses the token, is
                no Ray cluster, or its Ray is too old.
        """
        parts = checked_address(record.address)
        given = record.settings
        own = [
            name
            for name, field in EngineSettings.model_fields.items()
            if getattr(given, name) != field.default
        ]
        if own:
            raise ValidationError(
                f"Engine {record.name!r} is a cluster that runs already, so {', '.join(own)} "
                "cannot be set from here. Set it where the cluster is started; max_running_jobs is "
                "the variable RLE_MAX_RUNNING_JOBS of its head."
            )
        access = _access(record)
        if access.token is not None and is_in_the_clear(parts):
            warnings.warn(_clear_text_advice(record.name, parts), UserWarning, stacklevel=2)
        _probe(access, record.token)

    def create(self, record: EngineRecord, folder: Path) -> None:
        """Do nothing: it runs."""

    def status(self, record: EngineRecord, folder: Path) -> EngineStatus:
        """Ask the cluster; PENDING with the reason where it does not answer as it should."""
        if (folder / _SET_ASIDE).exists():
            return EngineStatus(
                state=EngineState.SUSPENDED,
                message="It was set aside on this machine; the cluster itself is not touched.",
            )
        try:
            _probe(_access(record), record.token)
        except (ConnectionError, PermissionError, ValidationError) as error:
            return EngineStatus(state=EngineState.PENDING, message=str(error))
        return EngineStatus(state=EngineState.READY)

    def resume(self, record: EngineRecord, folder: Path) -> None:
        """Use a cluster again that was set aside.

        Raises:
            ConnectionError: It does not answer; it can only be started where it runs.
        """
        _probe(_access(record), record.token)
        (folder / _SET_ASIDE).unlink(missing_ok=True)

    def suspend(self, record: EngineRecord, folder: Path) -> None:
        """Set it aside on this machine. The cluster runs on, and so do its jobs."""
        (folder / _SET_ASIDE).touch()

    def delete(self, record: EngineRecord, folder: Path) -> None:
        """Do nothing: only this machine forgets it. The cluster runs on, and so do its jobs."""

    def access(self, record: EngineRecord, folder: Path) -> EngineAccess:
        """Return how to reach it; see `EngineBackend.access`. Asks nobody, so it is quick."""
        if (folder / _SET_ASIDE).exists():
            raise ConnectionError(self.status(record, folder).not_ready(record.name))
        return _access(record)

    def jobs_folder(self, record: EngineRecord, folder: Path) -> Path | None:
        """Return None: its files are on the cluster."""
        return None


def checked_address(address: str | None) -> SplitResult:
    """Return the parts of a cluster's address.

    Raises:
        ValidationError: It is no plain http or https URL. A password in it is not repeated.
    """
    if not address:
        raise ValidationError(f"This engine needs address, the URL of its dashboard, {_EXAMPLE}.")
    if not address.isprintable() or " " in address or "\\" in address:
        raise ValidationError(f"address is no URL, {_EXAMPLE}: it has a blank or a control in it.")
    scheme, is_url, _ = address.partition("://")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValidationError(f"address is no URL, {_EXAMPLE}.") from None
    if "@" in address:
        raise ValidationError(
            "address may hold no user and no password. The token is named with token_variable or "
            "token_path."
        )
    if not is_url:
        raise ValidationError(f"address={address!r} lacks its beginning: http:// or https://.")
    if scheme.lower() == "ray":
        raise ValidationError(
            f"address={address!r} is for Ray's client. Give the URL of the dashboard, which takes "
            "jobs: http://HOST:8265."
        )
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValidationError(f"address={address!r} is no URL of a dashboard, {_EXAMPLE}.")
    if parts.query or parts.fragment or "?" in address or "#" in address:
        raise ValidationError(
            f"address goes on after {parts.path or host!r}: no ? and no # belongs to it."
        )
    if not _PATH.fullmatch(parts.path):
        raise ValidationError(
            f"address={address!r} has a path that is not plain: names of letters, digits, - and _."
        )
    return parts


def is_in_the_clear(parts: SplitResult) -> bool:
    """Whether what is sent there can be read on the way."""
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def find_token(source: TokenSource) -> SecretStr | None:
    """Return a cluster's token: where `source` says, else where Ray itself looks.

    That is $RAY_AUTH_TOKEN, the file $RAY_AUTH_TOKEN_PATH, or ~/.ray/auth_token; None where there
    is none of them, which fits a cluster that asks for none.

    Raises:
        ConnectionError: `source` names a place that holds no token.
        PermissionError: The file is closed to this user.
    """
    return read_token(_place(source))


def _place(source: TokenSource) -> TokenSource:
    if source.variable is not None or source.path is not None:
        return source
    if os.environ.get("RAY_AUTH_TOKEN"):
        return TokenSource(variable="RAY_AUTH_TOKEN")
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return TokenSource(path=path)
    usual = Path.home() / ".ray" / "auth_token"
    return TokenSource(path=str(usual)) if usual.exists() else source


def _access(record: EngineRecord) -> EngineAccess:
    address = checked_address(record.address).geturl().rstrip("/")
    return EngineAccess(name=record.name, address=address, token=find_token(record.token))


def _probe(access: EngineAccess, source: TokenSource) -> None:
    try:
        version = _version(access)
    except TokenRefusedError as error:
        raise TokenRefusedError(f"{error} {_token_advice(source)}") from None
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_RAY:
        oldest = ".".join(map(str, OLDEST_RAY))
        raise ConnectionError(
            f"Engine {access.name!r} at {access.address} runs Ray {version[:40]}; jobs need "
            f"{oldest} or newer."
        )


def _version(access: EngineAccess) -> str:
    """Return Ray's version, in bounded time even where name servers or single bytes are slow."""
    answers: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            with RayApi(access, timeout_s=TIMEOUT_S) as api:
                answers.put(api.version())
        except Exception as error:  # noqa: BLE001  raised again where it was asked for
            answers.put(error)

    # A daemon: its own limits, which hold for each step, end it, but nobody need wait for that.
    threading.Thread(target=ask, name="rle-probe", daemon=True).start()
    try:
        answer = answers.get(timeout=TIMEOUT_S + _GRACE_S)
    except queue.Empty:
        raise ConnectionError(
            f"Engine {access.name!r} at {access.address} gave no answer within {TIMEOUT_S:g} s."
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _token_advice(source: TokenSource) -> str:
    place = _place(source)
    if place.variable is None and place.path is None:
        return "Name its place with token_variable or token_path."
    where = f"the variable {place.variable}" if place.variable else f"the file {place.path}"
    return f"It is the one in {where}; token_variable or token_path names another place."


def _clear_text_advice(name: str, parts: SplitResult) -> str:
    host, port = parts.hostname, parts.port or 80
    return (
        f"The token of engine {name!r} travels unencrypted to {host}: whoever listens on the way "
        "can run code on that cluster. Use https:// through a proxy that ends TLS, or a tunnel: "
        f"`ssh -L {port}:localhost:{port} {host}` and address http://127.0.0.1:{port}."
    )
