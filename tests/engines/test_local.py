"""A local engine: nobody gets in without its token, and nothing of it is left when it stops."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import psutil
import pytest
import requests

from rle.engines import ray_node
from rle.engines.keeper_state import read_state
from rle.engines.local import LocalBackend
from rle.engines.lookup import open_engine
from rle.engines.ray_api import RayApi
from rle.engines.record import EngineSettings, EngineState
from rle.engines.store import EngineStore
from rle.errors import DeviceError, UnknownNameError, ValidationError
from tests.engines.test_store import record

# The page that asks for the token, and answers that say no more than that somebody is there.
OPEN_PATHS = {
    "/": "<!doctype html>",
    "/api/gcs_healthz": "success",
    "/api/healthz": "raylet: success\ngcs: success",
    "/api/local_raylet_healthz": "success",
    "/api/authentication_mode": '{"authentication_mode": "token"}',
}
CLOSED_PATHS = (
    *("/metrics", "/api/jobs/", "/api/v0/nodes", "/api/v0/logs", "/logs/", "/api/version"),
    *("/nodes?view=summary", "/api/actors/kill", "/api/cluster_status", "/api/packages/gcs/x.zip"),
)
CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ObjectManagerService/Pull",
)
REFUSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE}


def processes(folder: Path) -> list[psutil.Process]:
    """Return the keeper of an engine and all that it started."""
    state = read_state(folder)
    assert state is not None
    assert state.pid is not None
    keeper = psutil.Process(state.pid)
    return [keeper, *keeper.children(recursive=True)]


def listeners(folder: Path) -> dict[int, str]:
    """Return the addresses at which an engine listens, by port."""
    found = {}
    for process in processes(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = connection.laddr.ip
    return found


def http(port: int, path: str, token: str | None) -> tuple[int, str] | None:
    """Return status and text; None from what speaks no HTTP."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = requests.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=10)
    except requests.ConnectionError:
        return None
    return answer.status_code, answer.text


def call(port: int, method: str, token: str | None) -> grpc.StatusCode:
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(method)(b"", timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.mark.ray
def test_every_port_of_an_engine_is_on_loopback(local_engine):
    found = listeners(local_engine.folder)
    assert len(found) >= 7
    assert set(found.values()) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


@pytest.mark.ray
@pytest.mark.parametrize("token", [None, "wrong", "wr\u00f6ng"])
def test_no_port_of_an_engine_serves_who_has_no_token(local_engine, token):
    for port in listeners(local_engine.folder):
        for path in CLOSED_PATHS:
            answer = http(port, path, token and token.encode().decode("latin-1"))
            assert answer is None or answer[0] in (401, 403), (port, path, answer)
        for path, text in OPEN_PATHS.items():
            answer = http(port, path, token and token.encode().decode("latin-1"))
            if answer is not None and answer[0] not in (401, 403, 404):
                assert answer[1].strip().startswith(text), (port, path, answer)
                assert path == "/" or answer[1].strip() == text, (port, path, answer)


@pytest.mark.ray
@pytest.mark.parametrize("token", [None, "wrong"])
def test_no_port_of_an_engine_takes_a_call_without_its_token(local_engine, token):
    refused = set()
    for port in listeners(local_engine.folder):
        for method in CALLS:
            code = call(port, method, token)
            # A service that this port does not have says so to everybody, and nothing else.
            assert code in {*REFUSED, grpc.StatusCode.UNIMPLEMENTED}, (port, method, code)
            if code is grpc.StatusCode.UNAUTHENTICATED:
                refused.add(method)
    assert set(CALLS[:4]) <= refused  # the services are there, so the refusals mean something


@pytest.mark.ray
def test_with_its_token_an_engine_answers(on_engine):
    access = open_engine(on_engine.name).access()
    assert access.token is not None
    token = access.token.get_secret_value()
    port = int(access.address.rpartition(":")[2])
    answer = http(port, "/api/v0/nodes", token)
    assert answer is not None
    assert answer[0] == 200
    with RayApi(access) as api:
        assert [node.is_head for node in api.nodes()] == [True]
        assert api.nodes()[0].resources["CPU"] == 2


@pytest.mark.ray
def test_the_token_is_in_its_file_alone(local_engine):
    file = local_engine.folder / "token"
    token = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert local_engine.folder.stat().st_mode & 0o777 == 0o700
    state = read_state(local_engine.folder)
    assert state is not None
    assert state.ray_folder is not None
    # Ray opens its own folder to everybody; the one around it is closed.
    assert Path(state.ray_folder).parent.stat().st_mode & 0o777 == 0o700
    for process in processes(local_engine.folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            assert token not in " ".join(process.cmdline())
            assert token not in str(process.environ())
    places = [local_engine.folder, Path(state.ray_folder)]
    holding = subprocess.run(
        ["grep", "-rlF", "--devices=skip", token, *places], capture_output=True, text=True
    )
    assert holding.stdout.split() == [str(file)]


@pytest.mark.ray
def test_a_running_engine_is_left_alone_by_another_start(on_engine):
    engine = open_engine(on_engine.name)
    before = read_state(on_engine.folder)
    engine.backend.resume(engine.record, engine.folder)
    assert read_state(on_engine.folder) == before
    assert engine.is_ready


@pytest.mark.ray
def test_an_engine_serves_its_jobs_files_before_its_first_job(on_engine):
    (on_engine.folder / "jobs" / "probe.txt").write_text("there")
    with RayApi(open_engine(on_engine.name).access()) as api:
        assert api.read_file("rle/probe.txt") == b"there"
    (on_engine.folder / "jobs" / "probe.txt").unlink()


@pytest.mark.ray
def test_asking_an_engine_loads_nothing_heavy(on_engine):
    script = (
        "import sys; from rle.engines.lookup import open_engine\n"
        f"assert open_engine({on_engine.name!r}).is_ready\n"
        "print([m for m in ('ray', 'torch', 'numba', 'mlflow', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_what_cannot_be_started_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check = LocalBackend().check
    check(record())
    with pytest.raises(UnknownNameError, match=r"HIGHMEM_X64_S"):
        check(record().replace(size="HIGHMEM_X64_M"))
    with pytest.raises(DeviceError, match=r"'first' of size GPU_NV_S needs 1 GPU.*shows 0"):
        check(record().replace(size="GPU_NV_S"))
    with pytest.raises(ValidationError, match=r"object_store_mb is 10"):
        check(record().replace(settings=EngineSettings(object_store_mb=10)))


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        asking = record().replace(settings=EngineSettings(dashboard_port=port))
        store = EngineStore()
        store.create(asking)
        folder = store.folder("first")
        for start in (LocalBackend().check, lambda one: LocalBackend().resume(one, folder)):
            with pytest.raises(ValidationError, match=rf"Port {port}, .*'first'.*taken"):
                start(asking)


def test_an_engine_that_was_never_started_can_be_stopped_and_deleted():
    store, backend = EngineStore(), LocalBackend()
    store.create(record())
    folder = store.folder("first")
    assert backend.status(record(), folder).state is EngineState.SUSPENDED
    backend.suspend(record(), folder)
    backend.delete(record(), folder)
    assert ray_node.left_over(folder, None) == []
    assert os.listdir(folder) == ["engine.json"]
