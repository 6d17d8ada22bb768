"""What can be the name of an account, the address of a server, or a name to sign in with."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from rle.errors import ValidationError

_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_OF_SNOWFLAKE = re.compile(r"\.snowflakecomputing\.(com|cn)$", re.IGNORECASE)
_HOST = re.compile(r"[\w.-]+")
_IPV6 = re.compile(r"\[?([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)\]?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_account(account: str) -> None:
    """Check that this can be an account's identifier, such as MYORG-MYACCOUNT.

    Raises:
        ValidationError: It cannot. Where it is the account's address, says which part is meant.
    """
    if _ACCOUNT.fullmatch(account) and not _OF_SNOWFLAKE.search(account):
        return
    try:
        host = urlsplit(account if "://" in account else f"//{account}").hostname or ""
    except ValueError:
        host = ""
    name = _OF_SNOWFLAKE.sub("", host)
    if name != host and _ACCOUNT.fullmatch(name):
        # The address is not repeated: it may have a password in it.
        raise ValidationError(
            f"account is the address of an account; give the identifier alone: account={name!r}."
        )
    raise ValidationError(
        "account must be an identifier of letters, digits, '-', '_' and '.', such as "
        f"MYORG-MYACCOUNT{_repeated(account)}. An address goes into host."
    )


def host_of(host: str) -> str:
    """Return a machine's name or IP address as it goes into a URL.

    Raises:
        ValidationError: It is neither.
    """
    if (address := _IPV6.fullmatch(host)) is not None:
        return f"[{address[1]}]"
    if _HOST.fullmatch(host) is None:
        raise ValidationError(
            "host must be the name of a machine and nothing more, such as "
            f"myorg-myaccount.snowflakecomputing.com{_repeated(host)}. A number goes into port, "
            'and "https" or "http" into protocol.'
        )
    return host


def check_plain(key: str, text: str) -> None:
    """Check that a name has no control characters, which no name of Snowflake's needs here.

    Raises:
        ValidationError: It has.
    """
    if _CONTROL.search(text):
        raise ValidationError(f"{key} has a control character in it: {text!r:.100}. Take it out.")


def _repeated(text: str) -> str:
    return "" if "@" in text else f", not {text!r:.100}"
