"""Who may sign in, how, and that nothing secret ever comes out."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from rle.connectors.credentials import AuthMethod, Credentials
from rle.errors import UnknownNameError, ValidationError

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-7f3a-secret"

PASSWORD: dict[str, Any] = {"account": "acme", "user": "ann", "password": CANARY}
OAUTH: dict[str, Any] = {"account": "acme", "oauth_token": CANARY, "auth_method": "oauth"}


@pytest.fixture(scope="session")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def write_pem(path: Path, key: rsa.RSAPrivateKey, passphrase: str | None = None) -> Path:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    pem = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, encryption))
    return path


def key_pair(path: Path, **more: Any) -> Credentials:
    given = {"account": "acme", "user": "ann", "private_key_path": str(path)}
    return Credentials(**given, auth_method="key_pair", **more)


def everything_said(error: BaseException) -> str:
    """The error and all that hangs on it, shown in every way."""
    said = [*traceback.format_exception(error)]
    link: BaseException | None = error
    while link is not None:
        said += [str(link), repr(link), repr(link.args)]
        link = link.__cause__ or link.__context__
    return "\n".join(said)


def test_password_is_the_default_method() -> None:
    credentials = Credentials(**PASSWORD, warehouse="small", app_name="RLE")
    assert credentials.auth_method is AuthMethod.PASSWORD
    assert credentials.connect_arguments() == {
        "account": "acme",
        "user": "ann",
        "warehouse": "small",
        "password": CANARY,
    }


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({"account": "acme", "user": "ann"}, "password is missing"),
        ({"account": "acme", "user": "ann", "password": None}, "password is missing"),
        ({"account": "acme", "user": "ann", "password": ""}, "password is missing"),
        ({"account": "acme", "password": CANARY}, "user is missing"),
        ({"user": "ann", "password": CANARY}, "account is missing"),
        ({"account": "acme"}, "user and password are missing"),
        ({"account": "acme", "user": "ann", "auth_method": "key_pair"}, "private_key_path is"),
        ({"account": "acme", "auth_method": "oauth"}, "oauth_token is missing"),
        ({"auth_method": "active_session"}, "app_name is missing"),
        ({"account": "acme", "auth_method": "browser"}, "user is missing"),
    ],
)
def test_what_a_method_lacks_is_named(config: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValueError, match=missing) as caught:
        Credentials(**config)
    assert isinstance(caught.value, ValidationError)
    assert CANARY not in everything_said(caught.value)


@pytest.mark.parametrize("spelling", ["oauth", "OAuth", "OAUTH", " oauth "])
def test_methods_may_be_spelt_in_any_case(spelling: str) -> None:
    credentials = Credentials(account="acme", oauth_token=CANARY, auth_method=spelling)
    assert credentials.connect_arguments() == {
        "account": "acme",
        "token": CANARY,
        "authenticator": "oauth",
    }


def test_oauth_may_name_a_host_in_place_of_the_account() -> None:
    credentials = Credentials(host="acme.example", oauth_token=CANARY, auth_method="oauth")
    assert credentials.connect_arguments()["host"] == "acme.example"


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"'password', 'key_pair', .*'browser', not 'ldap'"):
        Credentials(**PASSWORD, auth_method="ldap")


def test_an_unknown_keyword_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"'pasword'.*Did you mean 'password'") as caught:
        Credentials(account="acme", user="ann", pasword=CANARY)
    assert CANARY not in everything_said(caught.value)


def test_browser_and_session() -> None:
    browser = Credentials(account="acme", user="ann", role="READER", auth_method="browser")
    assert browser.connect_arguments()["authenticator"] == "externalbrowser"
    assert browser.connect_arguments()["role"] == "READER"
    session = Credentials(app_name="RLE", auth_method="active_session")
    with pytest.raises(ValidationError, match="session of the notebook"):
        session.connect_arguments()


@pytest.mark.parametrize("passphrase", [None, "pass phräse"])
def test_a_key_is_read_when_made_and_comes_as_pkcs8_der(
    tmp_path: Path, private_key: rsa.RSAPrivateKey, passphrase: str | None
) -> None:
    path = write_pem(tmp_path / "key.p8", private_key, passphrase)
    credentials = key_pair(path, private_key_passphrase=passphrase)
    path.unlink()
    arguments = credentials.connect_arguments()
    assert arguments["authenticator"] == "SNOWFLAKE_JWT"
    read = serialization.load_der_private_key(arguments["private_key"], password=None)
    assert isinstance(read, rsa.RSAPrivateKey)
    assert read.private_numbers() == private_key.private_numbers()


@pytest.mark.parametrize(
    ("is_encrypted", "given", "message"),
    [
        (True, "canary-wrong", "cannot be decrypted: private_key_passphrase is wrong"),
        (True, None, "is encrypted; pass private_key_passphrase"),
        (False, "canary-wrong", "is not encrypted; leave private_key_passphrase out"),
    ],
)
def test_a_passphrase_that_does_not_fit_is_told(
    tmp_path: Path,
    private_key: rsa.RSAPrivateKey,
    is_encrypted: bool,
    given: str | None,
    message: str,
) -> None:
    path = write_pem(tmp_path / "key.p8", private_key, "canary-right" if is_encrypted else None)
    with pytest.raises(ValueError, match=message) as caught:
        key_pair(path, private_key_passphrase=given)
    said = everything_said(caught.value)
    assert "canary" not in said
    assert path.read_text().splitlines()[3] not in said


def test_files_that_are_no_key_are_told(tmp_path: Path, private_key: rsa.RSAPrivateKey) -> None:
    public = tmp_path / "key.pub"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(private_key.public_key().public_bytes(serialization.Encoding.PEM, form))
    torn = tmp_path / "torn.p8"
    torn.write_text(write_pem(tmp_path / "key.p8", private_key).read_text()[:400])
    (tmp_path / "empty").touch()
    for path in (public, torn, tmp_path / "empty"):
        with pytest.raises(ValidationError, match="holds no private key in PEM form"):
            key_pair(path)
    with pytest.raises(ValidationError, match="cannot be read: No such file"):
        key_pair(tmp_path / "nowhere")
    with pytest.raises(ValidationError, match="cannot be read: Is a directory"):
        key_pair(tmp_path)
    with pytest.raises(ValidationError, match="cannot be read: it is no path"):
        key_pair(tmp_path / "nul\0")


def test_a_key_given_in_place_of_its_path_is_not_repeated(
    tmp_path: Path, private_key: rsa.RSAPrivateKey
) -> None:
    pem = write_pem(tmp_path / "key.p8", private_key).read_text()
    given = {"account": "acme", "user": "ann", "auth_method": "key_pair"}
    with pytest.raises(ValidationError, match="must be the path of a file") as caught:
        Credentials(**given, private_key_path=pem)
    assert pem.splitlines()[3] not in everything_said(caught.value).replace("\\n", "\n")


def test_only_a_key_pair_has_a_key() -> None:
    with pytest.raises(ValidationError, match="has no private key"):
        Credentials(**PASSWORD).private_key_der()


@pytest.mark.parametrize("config", [PASSWORD, OAUTH])
def test_nothing_shows_a_secret(config: dict[str, Any]) -> None:
    credentials = Credentials(**config)
    again = copy.deepcopy(credentials)
    shown = [repr(again), str(again), f"{again}", again.to_json(), str(again.model_dump())]
    assert not [text for text in shown if CANARY in text or "**" in text]
    with pytest.raises(TypeError, match="are not pickled") as caught:
        pickle.dumps(credentials)
    assert CANARY not in everything_said(caught.value)
    assert again == credentials
    assert hash(again) == hash(credentials)


def test_a_key_is_shown_nowhere(tmp_path: Path, private_key: rsa.RSAPrivateKey) -> None:
    credentials = key_pair(write_pem(tmp_path / "key.p8", private_key))
    der = credentials.private_key_der()
    for text in (repr(credentials), credentials.to_json(), str(credentials.__dict__)):
        assert repr(der)[2:40] not in text


@pytest.mark.parametrize("secret", ["password", "oauth_token", "private_key_passphrase"])
def test_a_secret_of_another_type_is_not_repeated(secret: str) -> None:
    with pytest.raises(ValidationError, match=f"{secret} must be text, not bytes") as caught:
        Credentials(account="acme", user="ann", **{secret: CANARY.encode()})
    assert CANARY not in everything_said(caught.value)


def test_an_error_about_another_field_repeats_no_secret() -> None:
    with pytest.raises(ValidationError, match="account") as caught:
        Credentials(account=["acme"], user="ann", password=CANARY)
    assert CANARY not in everything_said(caught.value)


def test_nothing_of_a_key_library_is_loaded_before_a_key_is_read() -> None:
    script = (
        "import sys\nfrom rle.connectors.credentials import Credentials\n"
        "Credentials(account='a', user='u', password='p')\n"
        "assert 'cryptography' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
