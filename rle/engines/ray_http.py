"""One HTTP call to an engine's dashboard: the answer, or in words why there is none."""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rle.errors import ConnectionError

if TYPE_CHECKING:
    import requests

    from rle.engines.base import EngineAccess

_UPLOAD_TIMEOUT_S = 60.0
_SHOWN = 300
"""Characters of an answer that a message shows."""


class AnswerLostError(ConnectionError):
    """The engine may have got the request, but whether it did it cannot be told."""


class TokenRefusedError(ConnectionError):
    """The engine takes another token than the one it was sent, or asks for one."""


class EngineFaultError(AnswerLostError):
    """The engine answered that it failed: HTTP 5xx.

    Args:
        message: What it said, in words.
        answer: All that it said.
    """

    def __init__(self, message: str, answer: str = "") -> None:
        super().__init__(message, answer)  # args equal the arguments: it survives pickling
        self.answer = answer

    def __str__(self) -> str:
        return str(self.args[0])


class RayHttp:
    """Calls to one dashboard over connections that are kept. Loads `requests` when made.

    Proxies of the environment are used, but never for loopback; redirects are not followed, so the
    token goes nowhere else.
    """

    def __init__(self, access: EngineAccess, *, timeout_s: float) -> None:
        import requests

        self.address = access.address.rstrip("/")
        self._name, self._timeout_s = access.name, timeout_s
        host = _checked_host(self.where, self.address)
        self._session = session = requests.Session()
        # Else a .netrc entry of that host would take the token's place.
        session.trust_env = False
        with requests.Session() as other:
            settings = other.merge_environment_settings(self.address, {}, None, None, None)
        session.verify = settings["verify"]
        if not is_loopback(host):
            session.proxies = settings["proxies"]
        if access.token is not None:
            session.headers["Authorization"] = f"Bearer {access.token.get_secret_value()}"

    @property
    def where(self) -> str:
        """The engine and its address, for messages."""
        return f"Engine {self._name!r} at {_without_user(self.address)}"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(
        self, path: str, query: dict[str, str] | None = None, *, stream: bool = False
    ) -> requests.Response:
        """Return the answer to a GET: 200, or 404 that only the caller can judge."""
        from requests import ConnectionError as NoConnection
        from requests import Timeout

        try:
            return self._checked(self._send("GET", path, params=query, stream=stream))
        except Timeout as error:
            raise self._no_answer(error) from None
        except NoConnection:
            # A kept connection may be closed just as it is used again: once more, on a new one.
            return self._once("GET", path, params=query, stream=stream)

    def post(self, path: str, body: dict[str, Any]) -> requests.Response:
        """Return the answer to a POST of JSON. AnswerLostError where it may have arrived."""
        return self._once("POST", path, json=body)

    def put(self, path: str, body: bytes) -> requests.Response:
        """Return the answer to a PUT of bytes."""
        timeout_s = max(_UPLOAD_TIMEOUT_S, self._timeout_s)
        return self._once("PUT", path, data=body, timeout=(self._timeout_s, timeout_s))

    def parsed(self, response: requests.Response) -> Any:
        """Return the JSON of an answer; ConnectionError where it is none."""
        try:
            return json.loads(response.content)
        except ValueError:
            raise self.strange(response) from None

    def strange(self, response: requests.Response) -> ConnectionError:
        """Return the error for an answer that Ray would not give."""
        kind = response.headers.get("Content-Type", "no content type").partition(";")[0]
        return ConnectionError(
            f"{self.where} answered HTTP {response.status_code} with {kind:.60}, which Ray's "
            "dashboard does not. Is it the URL of a Ray dashboard (usually port 8265)?"
        )

    def cut(self, why: object) -> ConnectionError:
        """Return the error for a stream that ended early."""
        return ConnectionError(f"{self.where} cut the connection: {why}"[: 2 * _SHOWN])

    def _once(self, method: str, path: str, **options: Any) -> requests.Response:
        import requests

        try:
            return self._checked(self._send(method, path, **options))
        except requests.Timeout as error:
            raise self._no_answer(error) from None
        except requests.RequestException as error:
            raise self._no_connection(error) from None

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", (self._timeout_s, self._timeout_s))
        return self._session.request(method, self.address + path, allow_redirects=False, **options)

    def _checked(self, response: requests.Response) -> requests.Response:
        status = response.status_code
        if status in (200, 404):
            return response
        try:
            raise self._refusal(response)
        finally:
            response.close()

    def _refusal(self, response: requests.Response) -> ConnectionError:
        status = response.status_code
        if status in (401, 403):
            sent = "Authorization" in self._session.headers
            return TokenRefusedError(
                f"{self.where} refused the token (HTTP {status})."
                if sent
                else f"{self.where} asks for a token (HTTP {status}), and none is set."
            )
        if 300 <= status < 400:
            target = self._clean(_without_user(response.headers.get("Location", "nowhere")))
            return ConnectionError(
                f"{self.where} redirects to {target:.200}. The token is not sent there; set the "
                "engine's address to the right one."
            )
        text = self._clean(response.content[:65536].decode("utf-8", "replace"))
        said = f"{self.where} answered HTTP {status}: {sensible_line(text)}"
        return EngineFaultError(said, text) if status >= 500 else ConnectionError(said)

    def _clean(self, text: str) -> str:
        """Return what a server said without the token, which some send back."""
        token = str(self._session.headers.get("Authorization", "")).removeprefix("Bearer ")
        return text.replace(token, "***") if token else text

    def _no_answer(self, error: requests.Timeout) -> ConnectionError:
        from requests import ConnectTimeout

        said = f"{self.where} gave no answer within {self._timeout_s:g} s."
        if isinstance(error, ConnectTimeout):
            return ConnectionError(f"{said} Is the address right, and can it be reached from here?")
        return AnswerLostError(f"{said} It may be overloaded or hung.")

    def _no_connection(self, error: requests.RequestException) -> ConnectionError:
        from requests import exceptions

        if isinstance(error, exceptions.SSLError):
            return ConnectionError(
                f"{self.where} cannot be trusted over TLS: {_innermost(error)}. Set "
                "REQUESTS_CA_BUNDLE to the certificate of its authority, or use http:// if it "
                "speaks no TLS."
            )
        if isinstance(error, exceptions.ProxyError):
            return ConnectionError(f"{self.where} cannot be reached through the proxy.")
        why = _innermost(error)
        if "refused" in why:
            return ConnectionError(f"{self.where} refused the connection: nothing listens there.")
        if "resolution" in why or "Name or service" in why:
            return ConnectionError(f"{self.where} has a host name that is not known here.")
        if "unreachable" in why or "No route" in why:
            return ConnectionError(f"{self.where} cannot be reached from here: {why}.")
        if not why.isprintable():
            return ConnectionError(f"{self.where} does not speak HTTP. Is the port right?")
        return AnswerLostError(f"{self.where} closed the connection without an answer: {why}.")


def is_loopback(host: str) -> bool:
    """Return whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def sensible_line(text: str) -> str:
    """Return the line of an error page that says most: the last of a traceback, else the first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "nothing more"
    if lines[0].startswith("<"):
        return "a web page"
    is_traceback = any(line.startswith("Traceback (most recent call last)") for line in lines)
    if is_traceback:
        # One traceback quotes another, and ends with a full stop of its own.
        lines = [line for line in lines if any(map(str.isalpha, line))][::-1]
    return lines[0][:_SHOWN]


def _checked_host(where: str, address: str) -> str:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConnectionError(f"{where}: that is no URL, such as http://127.0.0.1:8265.") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ConnectionError(f"{where}: that is no URL, such as http://127.0.0.1:8265.")
    if "@" in parts.netloc:
        raise ConnectionError(f"{where}: a user or a password in the URL is not taken.")
    return host


def _without_user(address: str) -> str:
    scheme, slashes, rest = address.rpartition("://")
    place, slash, path = rest.partition("/")
    return scheme + slashes + place.rpartition("@")[2] + slash + path.partition("?")[0]


def _innermost(error: BaseException) -> str:
    reason: Any = error
    while True:
        inner = getattr(reason, "reason", None) or next(
            (arg for arg in getattr(reason, "args", ()) if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        reason = inner
    text = str(getattr(reason, "strerror", None) or reason or type(reason).__name__)
    # urllib3 begins with the connection, and ends with what the system said.
    return re.sub(r".*(>|\)): |.*\[Errno -?\d+\] | \(_ssl.*", "", text).rstrip(".)")[:_SHOWN]
