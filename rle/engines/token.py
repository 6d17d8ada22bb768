"""An engine's token: made, kept in a file of its user alone, found where a record says."""

from __future__ import annotations

import builtins
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from rle.errors import ConnectionError, PermissionError, StorageError

if TYPE_CHECKING:
    from rle.engines.record import TokenSource

_LENGTH = 32  # bytes of randomness


def write_token(path: Path) -> None:
    """Write a new token to `path`, which only its user may read.

    Raises:
        StorageError: It cannot be written; a file that is there already is never replaced.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as opened:
            opened.write(secrets.token_urlsafe(_LENGTH))
    except OSError as error:
        raise StorageError.of(error, doing=f"Writing the token {path}") from error


def read_token(source: TokenSource, *, default: Path | None = None) -> SecretStr | None:
    """Return the token that `source` points to; None where neither it nor `default` names one.

    Args:
        source: A variable comes before a file.
        default: File to look into where `source` names nothing.

    Raises:
        ConnectionError: The variable is not set, the file is not there, or holds no token.
        PermissionError: The file is closed to this user.
    """
    if source.variable:
        return _checked(os.environ.get(source.variable, ""), f"the variable {source.variable}")
    path = Path(source.path).expanduser() if source.path else default
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (UnicodeDecodeError, IsADirectoryError):
        text = "\0"
    except builtins.PermissionError as error:
        raise PermissionError(f"The token file {path} is closed to this user.") from error
    return _checked(text, f"the file {path}")


def _checked(text: str, place: str) -> SecretStr:
    token = text.strip()
    if not token:
        raise ConnectionError(f"The engine's token is to be found in {place}, which holds none.")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConnectionError(f"What {place} holds is no token: one line without blanks.")
    return SecretStr(token)
