"""Where the secrets of a Snowflake sign-in are: their names travel, their values never do."""

from __future__ import annotations

import os
import pkgutil
import re
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from rle.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = "(this process only: "
"""How the name of a secret begins that no environment variable holds; no variable is called so."""
TOKEN_FILE = Path("/snowflake/session/token")
"""Where Snowflake's container services put a service's token, and renew it every few minutes."""

_SECRET_NAME = re.compile(r"PASS|PWD|TOKEN|SECRET|KEY|CREDENTIAL", re.IGNORECASE)
# What a system sets by itself may equal a weak secret today and something else tomorrow.
_BY_THE_SYSTEM = frozenset(
    [
        "HOME",
        "HOSTNAME",
        "LANG",
        "LOGNAME",
        "MAIL",
        "NAME",
        "OLDPWD",
        "PATH",
        "PWD",
        "SHELL",
        "SHLVL",
        "TERM",
        "USER",
        "USERNAME",
        "_",
    ]
)
_MIN_LENGTH = 6
"""Characters of a value that may be looked for under any name; a shorter one equals half of all."""
_MAX_TOKEN = 2**16
"""Characters of a token; the longest that are known have some thousands."""

_kept: dict[str, SecretStr] = {}
_lock = threading.Lock()


def name_of(value: SecretStr) -> str:
    """Return the name of the environment variable that holds a secret, or one made up for it.

    A secret that no variable holds is kept in the memory of this process; only its made-up name is
    ever seen, and no other process can do anything with that.
    """
    text = value.get_secret_value()
    _hide(text)
    found = sorted(_variables_with(text), key=_how_unlikely)
    if found:
        return found[0]
    with _lock:
        for name, kept in _kept.items():
            if kept.get_secret_value() == text:
                return name
        name = f"{HERE}{secrets.token_hex(6)})"
        _kept[name] = value
    return name


def check_variable(key: str, name: str) -> None:
    """Check that a name can be that of an environment variable.

    Raises:
        ValidationError: It cannot; it is not repeated, since it may be the secret itself.
    """
    is_plausible = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None
    if name.startswith(HERE) or (is_plausible and (name.isupper() or name in os.environ)):
        return
    raise ValidationError(
        f"{key} must be the name of an environment variable in capitals. What was given is none; "
        "it is not repeated here, for it may be the secret itself."
    )


def read_variable(key: str, name: str) -> SecretStr:
    """Return the secret that a variable holds now: it may have been changed since.

    Args:
        key: What it is, such as "password".
        name: From `name_of`, or of a variable.

    Raises:
        ValidationError: It is not here; names the variable and the way out.
    """
    if name.startswith(HERE):
        with _lock:
            kept = _kept.get(name)
        if kept is None:
            raise ValidationError(
                f"The {key} was given as a value in another process, and values do not travel. "
                + way_out(key)
            )
        return kept
    value = os.environ.get(name)
    if not value:
        raise ValidationError(
            f"The {key} is read from the environment variable {name}, which is not set in this "
            "process. Set it here; a job needs it where its engine was started."
        )
    _hide(value)
    return SecretStr(value)


def read_token_file(path: str) -> SecretStr:
    """Return the token in a file as it is now.

    Raises:
        ValidationError: The file cannot be read, is empty, or holds something else.
    """
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            text = file.read(_MAX_TOKEN + 1).strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ValidationError(f"oauth_token_path={path!r} cannot be read: {reason}.") from None
    if not text:
        raise ValidationError(f"oauth_token_path={path!r} is an empty file; it must hold a token.")
    if len(text) > _MAX_TOKEN or len(text.split()) > 1:
        # It would be sent to the server, whatever it is.
        raise ValidationError(f"oauth_token_path={path!r} must hold one token and nothing else.")
    _hide(text)
    return SecretStr(text)


def way_out(key: str) -> str:
    """Say how a secret gets to where it is needed."""
    also = ", or put it into a file and give oauth_token_path" if key == "oauth_token" else ""
    return (
        f"Put it into an environment variable, here and where the engine is started, and give "
        f"{key}_variable, the variable's name{also}; or name a profile of connections.toml "
        "(connection_name)."
    )


def is_kept_here(name: object) -> bool:
    """Whether a name stands for a secret that one process alone knows."""
    return isinstance(name, str) and name.startswith(HERE)


def as_secret(key: str, value: Any) -> SecretStr | None:
    """Wrap a secret before anything that might repeat it looks at it; None for an empty one.

    Raises:
        ValidationError: It is no text.
    """
    if isinstance(value, SecretStr):
        return value if value.get_secret_value() else None
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValidationError(f"{key} must be text, not {type(value).__name__}.")
    return SecretStr(value)


def _variables_with(text: str) -> Iterator[str]:
    for name in list(os.environ):
        if os.environ.get(name) != text or name in _BY_THE_SYSTEM:
            continue
        if _SECRET_NAME.search(name) or len(text) >= _MIN_LENGTH:
            yield name


def _how_unlikely(name: str) -> tuple[bool, bool, str]:
    return (not _SECRET_NAME.search(name), "SNOWFLAKE" not in name.upper(), name)


def _hide(value: str) -> None:
    # Logs and errors are a layer above connectors, so what cleans them is found by its name.
    pkgutil.resolve_name("rle.runs.redact:hide")(value)
