"""How a warehouse is signed in to. Checked when it is made; what is secret never comes out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator

from rle.errors import UnknownNameError, ValidationError
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

SECRETS = frozenset({"password", "oauth_token", "private_key_passphrase"})
"""Keys whose values are shown nowhere."""


class AuthMethod(StrEnum):
    """How one proves who one is."""

    PASSWORD = "password"  # noqa: S105  the name of a method
    KEY_PAIR = "key_pair"
    OAUTH = "oauth"
    ACTIVE_SESSION = "active_session"
    """The session of the notebook that this runs in."""
    BROWSER = "browser"
    """The browser opens and asks."""


_NEEDED: Mapping[AuthMethod, tuple[str, ...]] = {
    AuthMethod.PASSWORD: ("account", "user", "password"),
    AuthMethod.KEY_PAIR: ("account", "user", "private_key_path"),
    AuthMethod.OAUTH: ("account", "oauth_token"),
    AuthMethod.ACTIVE_SESSION: ("app_name",),
    AuthMethod.BROWSER: ("account", "user"),
}


class Credentials(Value):
    """Who signs in to a warehouse, and how.

    Passwords, tokens, passphrases and keys are in no repr, JSON, error or pickle: what has to cross
    a process carries the names of its secrets and makes this value where it runs.

    Raises:
        UnknownNameError: A keyword or the method is unknown.
        ValidationError: Something that the method needs is missing, or the key cannot be read.
            Like all our validation errors it is a ValueError.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    account: str | None = None
    user: str | None = None
    password: SecretStr | None = Field(default=None, exclude=True, repr=False)
    private_key_path: str | None = None
    """PEM file with a private key; read once, when this value is made."""
    private_key_passphrase: SecretStr | None = Field(default=None, exclude=True, repr=False)
    """What the PEM file is encrypted with; None where it is not."""
    oauth_token: SecretStr | None = Field(default=None, exclude=True, repr=False)
    host: str | None = None
    """Where the account is served; None: its usual address."""
    warehouse: str | None = None
    app_name: str | None = None
    role: str | None = None
    auth_method: AuthMethod = AuthMethod.PASSWORD

    _key: bytes | None = PrivateAttr(default=None)

    def __init__(self, **config: Any) -> None:
        for name in config:
            if name not in type(self).model_fields:
                raise UnknownNameError("keyword of the warehouse's settings", name, KEYS)
        # Wrapped before anything looks at them: a report about bad input quotes what it was given.
        super().__init__(**{name: _wrapped(name, value) for name, value in config.items()})

    @field_validator("auth_method", mode="before")
    @classmethod
    def _fold_method(cls, value: object) -> object:
        return fold_method(value)

    @model_validator(mode="after")
    def _check_complete(self) -> Self:
        check_complete(self.auth_method, {name: getattr(self, name) for name in KEYS})
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Read the private key, so that a bad one is found here and not at the first query."""
        if self.auth_method is AuthMethod.KEY_PAIR and self.private_key_path:
            self._key = _read_key(self.private_key_path, self.private_key_passphrase)

    def private_key_der(self) -> bytes:
        """Return the private key as PKCS8 DER, not encrypted. Hand it to a driver, keep it nowhere.

        Raises:
            ValidationError: The method is another one, so there is no key.
        """
        if self._key is None:
            raise ValidationError(
                f"auth_method={self.auth_method.value!r} has no private key; 'key_pair' has."
            )
        return self._key

    def connect_arguments(self) -> dict[str, Any]:
        """Return what Snowflake's driver is called with. Holds secrets: keep it nowhere.

        Raises:
            ValidationError: The method is "active_session", whose session is there already.
        """
        names = ("account", "user", "host", "warehouse", "role")
        plain = {name: getattr(self, name) for name in names if getattr(self, name)}
        match self.auth_method:
            case AuthMethod.PASSWORD:
                return plain | {"password": _revealed(self.password)}
            case AuthMethod.KEY_PAIR:
                key = self.private_key_der()
                return plain | {"private_key": key, "authenticator": "SNOWFLAKE_JWT"}
            case AuthMethod.OAUTH:
                return plain | {"token": _revealed(self.oauth_token), "authenticator": "oauth"}
            case AuthMethod.BROWSER:
                return plain | {"authenticator": "externalbrowser"}
        raise ValidationError(
            "auth_method='active_session' uses the session of the notebook it runs in, "
            "so there is nothing to sign in with."
        )

    def secrets(self) -> list[str]:
        """Return what must be seen nowhere, so that messages can be searched for it."""
        known = (self.password, self.oauth_token, self.private_key_passphrase)
        return [secret.get_secret_value() for secret in known if secret]

    def __str__(self) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "Credentials hold secrets and are not pickled. Send the names of environment variables "
            "or files, and make the Credentials where they are used."
        )


KEYS = tuple(Credentials.model_fields)
"""Every keyword there is."""


def fold_method(value: object) -> object:
    """Return the name of a method, which may be given in any case.

    Raises:
        ValidationError: There is no such method.
    """
    name = value.strip().lower() if isinstance(value, str) else value
    if name not in [method.value for method in AuthMethod]:
        known = ", ".join(repr(method.value) for method in AuthMethod)
        raise ValidationError(f"auth_method must be one of {known}, not {value!r:.100}.")
    return name


def check_complete(method: AuthMethod, given: Mapping[str, object]) -> None:
    """Check that everything is there that a method needs.

    Args:
        method: How one signs in.
        given: What there is, by keyword; only whether it is there is looked at.

    Raises:
        ValidationError: Something is missing; names it.
    """
    missing = [name for name in _NEEDED[method] if not given.get(name)]
    if given.get("host") and "account" in missing:
        missing.remove("account")  # the address says which account is meant
    if missing:
        needed = " and ".join(_NEEDED[method])
        verb = "is" if len(missing) == 1 else "are"
        raise ValidationError(
            f"auth_method={method.value!r} needs {needed}; {' and '.join(missing)} {verb} missing "
            "or empty (an environment variable that is not set reads as None)."
        )


def _wrapped(name: str, value: object) -> object:
    if name not in SECRETS or value is None:
        return value
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        raise ValidationError(f"{name} must be text, not {type(value).__name__}.")
    return SecretStr(value)


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _read_key(path: str, passphrase: SecretStr | None) -> bytes:
    from cryptography.hazmat.primitives import serialization

    key = _load_key(path, passphrase)
    return key.private_bytes(
        encoding=serialization.Encoding.DER,
        format=serialization.PrivateFormat.PKCS8,
        encryption_algorithm=serialization.NoEncryption(),
    )


def _load_key(path: str, passphrase: SecretStr | None) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    if "-----BEGIN" in path:
        raise ValidationError(
            "private_key_path holds a key itself; it must be the path of a file that holds it."
        )
    secret = passphrase.get_secret_value().encode() if passphrase else None
    try:
        pem = Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise ValidationError(f"private_key_path={path!r} cannot be read: {reason}.") from None
    # None of these errors is chained: what a parser says of a key may quote it.
    try:
        return serialization.load_pem_private_key(pem, password=secret or None)
    except TypeError:
        raise ValidationError(_passphrase_advice(path, is_given=bool(secret))) from None
    except (ValueError, UnsupportedAlgorithm):
        is_encrypted = b"ENCRYPTED" in pem
        raise ValidationError(_key_advice(path, is_encrypted=is_encrypted)) from None


def _passphrase_advice(path: str, *, is_given: bool) -> str:
    if is_given:
        return f"The private key in {path!r} is not encrypted; leave private_key_passphrase out."
    return f"The private key in {path!r} is encrypted; pass private_key_passphrase."


def _key_advice(path: str, *, is_encrypted: bool) -> str:
    if is_encrypted:
        return (
            f"The private key in {path!r} cannot be decrypted: private_key_passphrase is wrong, "
            "or the file is damaged."
        )
    return (
        f"{path!r} holds no private key in PEM form. The file of a PKCS8 key begins with "
        "-----BEGIN PRIVATE KEY----- or -----BEGIN ENCRYPTED PRIVATE KEY-----."
    )
