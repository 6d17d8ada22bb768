"""Which Snowflake account is meant and how one signs in to it, with names in place of secrets."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, field_validator, model_validator

from rle.connectors.credentials import AuthMethod, Credentials, check_complete, fold_method
from rle.connectors.snowflake import account as snowflake_account
from rle.connectors.snowflake import secrets as snowflake_secrets
from rle.errors import UnknownNameError, ValidationError
from rle.values import Value

if TYPE_CHECKING:
    from pydantic import SecretStr

SECRETS = ("password", "oauth_token", "private_key_passphrase")
"""Keywords that take a secret itself; only the name of its variable is kept."""

_SIGN_IN = ("password_variable", "oauth_token_variable", "oauth_token_path", "private_key_path")
_NAMES = ("account", "user", "role", "warehouse", "app_name", "connection_name", "host")
_MAX_TAG = 1000  # characters; Snowflake takes 2000 for the whole tag
_MAX_S = 7 * 24 * 3600  # Snowflake's own limit for a statement


def _path(value: Any) -> Any:
    """Keep `~`, which is another folder where a job runs; everything else as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


Path = Annotated[str, BeforeValidator(_path)]


class SnowflakeSettings(Value):
    """All keywords of an account. A frozen value that equals its JSON and holds no secret.

    Secrets may be given as values, such as password=os.getenv("PASSWORD"): the environment variable
    that has this value is looked up and its name is kept. A secret that is in no variable stays in
    the memory of this process, and a job refuses it.

    Raises:
        UnknownNameError: A keyword or the method is unknown.
        ValidationError: Something that the method needs is missing.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    account: str | None = None
    """Identifier, such as MYORG-MYACCOUNT, without .snowflakecomputing.com."""
    user: str | None = None
    role: str | None = None
    """None: the user's default role."""
    warehouse: str | None = None
    """None: the user's default warehouse."""
    app_name: str | None = None
    """Name of an application in the account; nothing here needs it."""
    auth_method: Annotated[AuthMethod, BeforeValidator(fold_method)] = AuthMethod.PASSWORD
    password_variable: str | None = None
    """Environment variable that holds the password."""
    oauth_token_variable: str | None = None
    """Environment variable that holds the token; read again when a token has expired."""
    oauth_token_path: Path | None = None
    """File that holds the token; read again when a token has expired. None: the file that
    Snowflake's container services mount, where it is there and no variable is named."""
    private_key_path: Path | None = None
    """PEM file with a private key."""
    private_key_passphrase_variable: str | None = None
    """Environment variable that holds what the PEM file is encrypted with."""
    connection_name: str | None = None
    """Profile of connections.toml, which says who signs in and how."""
    host: str | None = None
    """Where the account is served; None: its usual address."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    protocol: Literal["https", "http"] | None = None
    """None: https. "http" is for a server on this machine, and sends secrets in the clear."""
    login_timeout_s: Annotated[int, Field(ge=1, le=_MAX_S)] = 60
    """How long one attempt to sign in may take, in seconds. A server that is busy is tried again,
    up to three times, within that time."""
    network_timeout_s: Annotated[int, Field(ge=1, le=_MAX_S)] = 30
    """How long a request that fails is tried again, in seconds. Long queries are not cut by it."""
    statement_timeout_s: Annotated[int, Field(ge=0, le=_MAX_S)] = 4 * 3600
    """How long one statement may run, in seconds; 0: as long as the account allows."""
    query_tag: Annotated[str, Field(max_length=_MAX_TAG)] | None = None
    """Text that appears as "tag" in the QUERY_TAG of every statement."""
    read_at: str | None = "start"
    """Moment as of which tables are read: "start", the moment when reading begins; an ISO 8601
    moment, UTC where it has no offset; None: each table as it is when it is read."""

    def __init__(self, **config: Any) -> None:
        known = type(self).model_fields
        for name in config:
            if name not in known and name not in SECRETS:
                raise UnknownNameError(
                    "keyword of the warehouse's settings", name, [*known, *SECRETS]
                )
        # Before anything looks at them: a report about bad input quotes what it was given.
        given = {
            name: snowflake_secrets.as_secret(name, config.pop(name, None)) for name in SECRETS
        }
        super().__init__(**_with_names(config, given))

    @field_validator(*_NAMES, mode="before")
    @classmethod
    def _drop_empty(cls, name: Any) -> Any:
        return None if name == "" else name  # what a variable that is set to nothing reads as

    @field_validator(*_NAMES)
    @classmethod
    def _check_name(cls, name: str | None, info: Any) -> str | None:
        if name is None:
            return None
        snowflake_account.check_plain(info.field_name, name)
        if info.field_name == "account":
            snowflake_account.check_account(name)
        return snowflake_account.host_of(name) if info.field_name == "host" else name

    @field_validator("password_variable", "oauth_token_variable", "private_key_passphrase_variable")
    @classmethod
    def _check_variable(cls, name: str | None, info: Any) -> str | None:
        if name is not None:
            snowflake_secrets.check_variable(info.field_name, name)
        return name or None

    @field_validator("read_at")
    @classmethod
    def _check_moment(cls, read_at: str | None) -> str | None:
        if read_at in (None, "start"):
            return read_at
        try:
            moment = datetime.fromisoformat(str(read_at))
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            moment.astimezone(UTC)  # beyond the years 1 to 9999 in UTC, it is none
        except (ValueError, OverflowError):
            raise ValidationError(
                'read_at must be "start", None or a moment such as 2026-01-31T12:00:00+00:00, not '
                f"{read_at!r:.100}."
            ) from None
        return moment.isoformat()

    @model_validator(mode="after")
    def _check_sign_in(self) -> Self:
        if self.connection_name is not None:
            beside = [name for name in _SIGN_IN if getattr(self, name)]
            if beside:
                raise ValidationError(
                    f"connection_name={self.connection_name!r} names a profile that says how to "
                    f"sign in, and {beside[0]} says it too. Leave one of them out."
                )
            return self
        oauth = self.oauth_token_variable or self.oauth_token_path
        given = {"password": self.password_variable, "oauth_token": oauth}
        for name in ("account", "host", "user", "private_key_path", "app_name"):
            given[name] = getattr(self, name)
        check_complete(self.auth_method, given)
        return self

    def credentials(self) -> Credentials:
        """Read the secrets where they are now. Hand the value to a driver, keep it nowhere.

        Raises:
            ValidationError: A variable or file is not there, a key cannot be read, or the secrets
                are in a profile, which the driver reads.
        """
        if self.connection_name is not None:
            raise ValidationError(
                f"The secrets of profile {self.connection_name!r} are read by Snowflake's driver."
            )
        plain = ("account", "user", "host", "warehouse", "app_name", "role", "auth_method")
        found: dict[str, Any] = {name: getattr(self, name) for name in plain}
        match self.auth_method:
            case AuthMethod.PASSWORD:
                found["password"] = self._secret("password")
            case AuthMethod.OAUTH if self.oauth_token_variable is None:
                path = str(self.oauth_token_path)
                found["oauth_token"] = snowflake_secrets.read_token_file(path)
            case AuthMethod.OAUTH:
                found["oauth_token"] = self._secret("oauth_token")
            case AuthMethod.KEY_PAIR:
                found["private_key_path"] = self.private_key_path
                found["private_key_passphrase"] = self._secret("private_key_passphrase")
        return Credentials(**found)

    def _secret(self, key: str) -> SecretStr | None:
        name = getattr(self, f"{key}_variable")
        return snowflake_secrets.read_variable(key, name) if name else None


def _with_names(config: dict[str, Any], given: dict[str, SecretStr | None]) -> dict[str, Any]:
    """Put the name of its variable in place of each secret; add what a container says of itself."""
    for key, secret in given.items():
        if secret is None:
            continue
        if config.get(f"{key}_variable"):
            raise ValidationError(f"Give {key} or {key}_variable, not both.")
        config[f"{key}_variable"] = snowflake_secrets.name_of(secret)
    names_token = config.get("oauth_token_variable") or config.get("oauth_token_path")
    is_oauth = str(config.get("auth_method")).strip().lower() == AuthMethod.OAUTH.value
    says_how = names_token or config.get("connection_name")
    if is_oauth and not says_how and snowflake_secrets.TOKEN_FILE.is_file():
        config["oauth_token_path"] = str(snowflake_secrets.TOKEN_FILE)
        for name in ("account", "host"):
            if not config.get(name) and os.environ.get(f"SNOWFLAKE_{name.upper()}"):
                config[name] = os.environ[f"SNOWFLAKE_{name.upper()}"]
    return config
