"""Joining a Ray that is there, and the token of one that is started."""

from __future__ import annotations

import signal
import stat
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from rle.ingest.ray_runtime import _guard_token, ensure_ray, joins_cluster, stop_ray

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def token(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_token_is_its_owners_alone(token):
    _guard_token()
    assert mode(token) == 0o600
    assert len(token.read_text()) == 64


def test_a_token_that_everyone_could_read_is_closed_and_kept(token):
    token.parent.mkdir()
    token.write_text("kept")
    token.chmod(0o644)
    _guard_token()
    assert mode(token) == 0o600
    assert token.read_text() == "kept"


def test_whoever_sets_up_tokens_is_left_alone(token, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    _guard_token()
    assert not token.exists()


def test_an_address_in_the_environment_is_a_cluster_to_join(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    assert joins_cluster()


def test_joining_leaves_sigterm_to_whoever_handles_it(monkeypatch):
    def connect(**given):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))  # as Ray does

    def mine(signum, frame):
        raise AssertionError

    fake = SimpleNamespace(is_initialized=lambda: False, init=connect)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    before = signal.signal(signal.SIGTERM, mine)
    try:
        ensure_ray()
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.ray
def test_a_ray_that_is_there_is_kept(ray_local):
    import ray

    node = ray.get_runtime_context().get_node_id()
    assert joins_cluster()
    ensure_ray(num_cpus=64)
    stop_ray()
    assert ray.is_initialized()
    assert ray.get_runtime_context().get_node_id() == node
