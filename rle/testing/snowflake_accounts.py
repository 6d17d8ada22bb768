"""Who may log in to the stand-in for Snowflake, and what each role may do.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization


class SnowflakeError(Exception):
    """An answer with `success: false`, as Snowflake words it."""

    def __init__(self, code: str, message: str, sql_state: str = "08001") -> None:
        super().__init__(code, message, sql_state)
        self.code, self.message, self.sql_state = code, message, sql_state


def wrong_password() -> SnowflakeError:
    """Return the answer to a user or a password that is not known: the same for both."""
    return SnowflakeError("390100", "Incorrect username or password was specified.")


def not_there(what: str, name: str) -> SnowflakeError:
    """Return the answer to a name that is not there, or not for this role."""
    text = f"SQL compilation error:\n{what} '{name}' does not exist or not authorized."
    return SnowflakeError("002003", text, "02000")


def not_allowed(kind: str, name: str) -> SnowflakeError:
    """Return the answer to a role that sees an object and may not do this with it."""
    text = f"SQL access control error:\nInsufficient privileges to operate on {kind} '{name}'."
    return SnowflakeError("003001", text, "42501")


@dataclass
class User:
    """One user and how they may prove who they are."""

    name: str
    password: str | None = None
    public_key: str | None = None
    """PEM. The user signs with the private one."""
    oauth_tokens: dict[str, bool] = field(default_factory=dict)
    """Token to whether it is still valid."""
    access_tokens: dict[str, bool] = field(default_factory=dict)
    """Programmatic access tokens, likewise."""
    roles: tuple[str, ...] = ("PUBLIC",)
    """The first is the default."""
    warehouse: str | None = None
    is_locked: bool = False
    is_disabled: bool = False


@dataclass
class Warehouse:
    """What runs statements; has no size here."""

    name: str
    is_suspended: bool = False
    resumes: bool = True
    """Whether a statement wakes it."""
    quota_is_used: bool = False
    """Whether a resource monitor keeps it from being resumed."""


@dataclass
class Tokens:
    """What a session proves itself by."""

    session: str
    master: str
    session_ends: float
    master_ends: float


@dataclass
class Account:
    """Users, warehouses and grants of one account. Every grant is there until it is revoked."""

    name: str
    users: dict[str, User] = field(default_factory=dict)
    warehouses: dict[str, Warehouse] = field(default_factory=dict)
    revoked: set[tuple[str, str, str, str]] = field(default_factory=set)
    """Role (or *), privilege, kind and full name of what is missing."""
    closed: dict[str, set[tuple[str, str, str]]] = field(default_factory=dict)
    """Roles that have nothing but this: privilege, kind and full name of what was granted."""
    allowed_addresses: list[str] | None = None
    """The network policy; None lets all in."""
    time_travels: bool = True
    """Whether AT(TIMESTAMP => ...) is taken at all."""
    session_s: float = 3600.0
    master_s: float = 4 * 3600.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check_login(self, login: dict[str, Any], address: str) -> User:
        """Return the user who logs in.

        Raises:
            SnowflakeError: The proof is not accepted, or the user is not.
        """
        if self.allowed_addresses is not None and address not in self.allowed_addresses:
            raise SnowflakeError(
                "390422",
                f"Incoming request with IP/Token {address} is not allowed to access Snowflake. "
                "Contact your account administrator.",
            )
        how = (login.get("AUTHENTICATOR") or "SNOWFLAKE").upper()
        if how == "OAUTH":
            user = self._by_oauth(login.get("TOKEN") or "")
        elif how == "SNOWFLAKE_JWT":
            user = self._by_key(login.get("TOKEN") or "")
        elif how == "PROGRAMMATIC_ACCESS_TOKEN":
            user = self._by_access_token(login.get("TOKEN") or "")
        elif how == "SNOWFLAKE":
            user = self._by_password(login.get("LOGIN_NAME") or "", login.get("PASSWORD") or "")
        else:
            raise SnowflakeError("390130", f"The authenticator {how} is not enabled.")
        _check_state(user)
        return user

    def _by_password(self, name: str, password: str) -> User:
        user = self.users.get(name.upper())
        if user is None:
            raise wrong_password()
        _check_state(user)
        if password in user.access_tokens:  # a drop-in for the password
            return self._by_access_token(password)
        if not password or password != user.password:
            raise wrong_password()
        return user

    def _by_oauth(self, token: str) -> User:
        for user in self.users.values():
            if token in user.oauth_tokens:
                if not user.oauth_tokens[token]:
                    raise SnowflakeError("390318", "OAuth access token expired.")
                return user
        raise SnowflakeError("390303", "Invalid OAuth access token.")

    def _by_access_token(self, token: str) -> User:
        for user in self.users.values():
            if token in user.access_tokens:
                if not user.access_tokens[token]:
                    raise SnowflakeError("394401", "Programmatic access token has expired.")
                return user
        raise SnowflakeError("394400", "Programmatic access token is invalid.")

    def _by_key(self, token: str) -> User:
        refused = SnowflakeError("390144", f"JWT token is invalid. [{secrets.token_hex(16)}]")
        try:
            told = jwt.decode(token, options={"verify_signature": False})
            user = self.users[str(told["sub"]).rpartition(".")[2].upper()]
            if user.public_key is None:
                raise refused
            jwt.decode(token, user.public_key, algorithms=["RS256"])
        except (jwt.PyJWTError, KeyError) as error:
            raise refused from error
        subject = f"{self.name.upper()}.{user.name.upper()}"
        if told["sub"].upper() != subject or told["iss"] != f"{told['sub']}.{_print(user)}":
            raise refused
        return user

    def new_tokens(self) -> Tokens:
        """Return fresh tokens, valid as long as the account's settings say."""
        now = time.monotonic()
        return Tokens(
            session=secrets.token_urlsafe(32),
            master=secrets.token_urlsafe(32),
            session_ends=now + self.session_s,
            master_ends=now + self.master_s,
        )

    def has(self, role: str, privilege: str, kind: str, name: str) -> bool:
        """Say whether a role has a privilege on an object."""
        privilege, kind = privilege.upper(), kind.upper()
        if role in self.closed:
            held = {what for what, *of in self.closed[role] if of == [kind, name]}
            return bool(held) if privilege == "ALL" else bool(held & {privilege, "OWNERSHIP"})
        return not any(
            (who, what, kind, name) in self.revoked
            for who in (role.upper(), "*")
            for what in (privilege, "ALL")
        )

    def revoke(self, role: str, privilege: str, kind: str, name: str) -> None:
        """Take a privilege (or ALL) on an object from a role (or all of them, `*`)."""
        for holder in set(self.closed) if role == "*" else {role} & set(self.closed):
            self.closed[holder] = {
                held
                for held in self.closed[holder]
                if held[1:] != (kind.upper(), name) or privilege.upper() not in (held[0], "ALL")
            }
        if role not in self.closed:
            self.revoked.add((role.upper(), privilege.upper(), kind.upper(), name))

    def grant(self, role: str, privilege: str, kind: str, name: str) -> None:
        """Give back what `revoke` took, be it by this name or with all others."""
        if role in self.closed:
            self.closed[role].add((privilege.upper(), kind.upper(), name))
            return
        privileges = {privilege.upper(), "ALL"}
        taken = {
            entry
            for entry in self.revoked
            if entry[0] in (role.upper(), "*")
            and (entry[1] in privileges or privilege.upper() == "ALL")
            and entry[2:] == (kind.upper(), name)
        }
        self.revoked -= taken

    def own(self, role: str, kind: str, name: str) -> None:
        """Note that a role has made an object, on which nobody else holds anything yet."""
        self.forget(kind, name)
        if role in self.closed:
            self.closed[role].add(("OWNERSHIP", kind, name))

    def forget(self, kind: str, name: str) -> None:
        """Note that an object is gone."""
        for role, held in self.closed.items():
            self.closed[role] = {one for one in held if one[1:] != (kind, name)}

    def exchange(self, kind: str, one: str, two: str) -> None:
        """Let what was granted on each of two objects hold for the other: their names changed."""
        names = {one: two, two: one}
        for role, held in self.closed.items():
            self.closed[role] = {
                (what, of, names.get(name, name) if of == kind else name) for what, of, name in held
            }


def _check_state(user: User) -> None:
    if user.is_disabled:
        raise SnowflakeError("390101", "User access disabled. Contact your local system admin.")
    if user.is_locked:
        raise SnowflakeError(
            "390102",
            "Your user account has been temporarily locked due to too many failed attempts. "
            "Try again after 15 minutes or contact your account administrator for assistance.",
        )


def _print(user: User) -> str:
    """The fingerprint of a user's public key, as the token's issuer carries it."""
    key = serialization.load_pem_public_key((user.public_key or "").encode())
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()
