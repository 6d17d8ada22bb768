"""Tokens are made for one reader, found where a record says, and never shown."""

from __future__ import annotations

import os

import pytest

from rle.engines.record import TokenSource
from rle.engines.token import read_token, write_token
from rle.errors import ConnectionError, PermissionError, StorageError


def test_a_token_is_its_users_alone_and_new_every_time(tmp_path):
    for name in ("one", "two"):
        write_token(tmp_path / name)
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert len((tmp_path / "one").read_text()) >= 32
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


def test_a_token_that_is_there_is_not_replaced(tmp_path):
    write_token(tmp_path / "token")
    before = (tmp_path / "token").read_text()
    with pytest.raises(StorageError, match="token"):
        write_token(tmp_path / "token")
    assert (tmp_path / "token").read_text() == before


def test_a_token_is_found_where_the_record_says(tmp_path, monkeypatch):
    (tmp_path / "token").write_text("from-file\n")
    monkeypatch.setenv("MY_TOKEN", "from-variable")
    both = TokenSource(variable="MY_TOKEN", path=str(tmp_path / "token"))
    file = TokenSource(path=str(tmp_path / "token"))

    def found(source: TokenSource, **kwargs: object) -> str | None:
        token = read_token(source, **kwargs)
        return token and token.get_secret_value()

    assert found(both) == "from-variable"
    assert found(file) == "from-file"
    assert found(TokenSource(), default=tmp_path / "token") == "from-file"
    assert found(TokenSource()) is None


def test_a_token_hides_in_its_repr(tmp_path):
    (tmp_path / "token").write_text("canary-5e1f")
    token = read_token(TokenSource(path=str(tmp_path / "token")))
    assert "canary" not in repr(token) + str(token)


@pytest.mark.parametrize("text", ["", "two words canary-5e1f", "canary-5e1f\nmore", "canary-é"])
def test_what_is_no_token_is_named_by_its_place_alone(tmp_path, monkeypatch, text):
    (tmp_path / "token").write_text(text)
    monkeypatch.setenv("MY_TOKEN", text)
    for source in (TokenSource(path=str(tmp_path / "token")), TokenSource(variable="MY_TOKEN")):
        with pytest.raises(ConnectionError, match=r"MY_TOKEN|token") as raised:
            read_token(source)
        assert "canary" not in str(raised.value)


def test_a_token_that_is_not_there(tmp_path):
    with pytest.raises(ConnectionError, match="the variable NO_SUCH_TOKEN"):
        read_token(TokenSource(variable="NO_SUCH_TOKEN"))
    with pytest.raises(ConnectionError, match="nowhere"):
        read_token(TokenSource(path=str(tmp_path / "nowhere")))
    with pytest.raises(ConnectionError, match=str(tmp_path)):
        read_token(TokenSource(path=str(tmp_path)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_token_that_is_closed_to_this_user(tmp_path):
    write_token(tmp_path / "token")
    (tmp_path / "token").chmod(0)
    with pytest.raises(PermissionError, match="token"):
        read_token(TokenSource(path=str(tmp_path / "token")))
