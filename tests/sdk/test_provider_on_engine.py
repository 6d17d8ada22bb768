"""Provider and the address backend with a real engine: the one of this machine is the cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

import rle
from rle.engines.lookup import open_engine
from rle.engines.record import EngineState
from rle.errors import ConnectionError, JobManagerError

pytestmark = pytest.mark.ray


@pytest.fixture
def far(on_engine, tmp_path):
    """The running engine once more, as a cluster at an address: its name."""
    provider = rle.Provider()
    near = provider.get_gnn(on_engine.record.name)
    token = on_engine.home / "engines" / on_engine.record.name / "token"
    made = provider.create_gnn("far", address=near["address"], token_path=token)
    assert (made["state"], made["backend"]) == ("READY", "address")
    yield "far"
    assert provider.delete_gnn("far") is True


def test_a_running_engine_tells_of_itself(on_engine):
    engine = rle.Provider().get_gnn(on_engine.record.name)
    assert engine["state"] == "READY"
    assert engine["address"].startswith("http://127.0.0.1:")
    assert rle.Provider().wait_until_ready(on_engine.record.name, timeout_s=30) == engine
    with pytest.raises(rle.ValidationError, match="already exists"):
        rle.Provider().create_gnn(on_engine.record.name)


def test_a_cluster_at_an_address_is_set_aside_and_runs_on(far, on_engine):
    provider = rle.Provider()
    assert provider.suspend_gnn(far) is True
    assert provider.get_gnn(far)["state"] == "SUSPENDED"
    assert provider.get_gnn(on_engine.record.name)["state"] == "READY"
    assert provider.resume_gnn(far) is True
    assert open_engine(far).status().state is EngineState.READY


def test_a_wrong_token_and_a_missing_one_are_told(on_engine, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # where Ray may have left a token
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    address = rle.Provider().get_gnn(on_engine.record.name)["address"]
    monkeypatch.setenv("WRONG_TOKEN", "canary-wrong-token")
    with pytest.raises(ConnectionError, match=r"refused .*in the variable WRONG_TOKEN") as caught:
        rle.Provider().create_gnn("far", address=address, token_variable="WRONG_TOKEN")
    assert "canary" not in str(caught.value)
    with pytest.raises(ConnectionError, match="asks for a token"):
        rle.Provider().create_gnn("far", address=address)
    assert rle.Provider().get_gnn("far") is None


def test_a_connector_asks_its_engine_for_jobs(far, tmp_path):
    database = tmp_path / "shop.duckdb"
    duckdb.connect(str(database)).close()
    connector = rle.DuckDBConnector(database=str(database), engine_name=far)
    rows = connector.list_jobs()
    assert connector.list_jobs(limit=1) == rows[:1]
    assert all(row["engine"] == far for row in rows)
    unknown = "00000000-0000-4000-8000-000000000000"
    for ask in (connector.get_job, connector.cancel_job, connector.get_job_events):
        with pytest.raises(JobManagerError, match=unknown):
            ask(unknown)
    (warning,) = connector.check_access()
    assert "'far' runs on other machines" in warning


def test_managing_engines_loads_nothing_heavy(on_engine):
    name = on_engine.record.name
    code = (
        f"import sys, rle\nassert rle.Provider().get_gnn({name!r})['state'] == 'READY'\n"
        "print(*{'ray', 'torch', 'numba', 'mlflow', 'snowflake', 'cryptography'} & {*sys.modules})"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == ""
